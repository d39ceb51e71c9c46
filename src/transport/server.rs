//! Door A: the server binary's port. WebSockets become raw sockets of our own; everything else is an ordinary
//! actix-web `App`.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;

use actix_codec::Framed;
use actix_http::{HttpService, Request, h1};
use actix_server::Server;
use actix_service::{Service, ServiceFactory, fn_factory, fn_service, map_config};
use actix_web::dev::AppConfig;
use actix_web::web::ServiceConfig;
use actix_web::{App, Error, HttpMessage, HttpResponse, web};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::admission::Handshake;
use super::credential;
use super::handshake::{Accepted, negotiate};
use super::link::Link;
use super::problem::Problem;
use super::source::Source;
use super::turnstile::Turnstile;
use crate::actors::session::Session;
use crate::embed::Hub;
use crate::hub::identity::Identity;

/// Where WebSockets are at home.
const WEBSOCKET_PATH: &str = "/ws";

/// A server on one port: WebSockets at `/ws`, the HTTP API, and whatever `pages` adds.
///
/// # Errors
/// If the listener cannot be used.
pub fn serve(
    hub: Hub,
    listener: TcpListener,
    workers: usize,
    pages: fn(&mut ServiceConfig),
) -> io::Result<Server> {
    let server = Server::build()
        .workers(workers)
        .backlog(4096)
        // Admission counts, and answers instead of letting newcomers wait.
        .max_concurrent_connections(usize::MAX)
        .shutdown_timeout(2)
        .disable_signals()
        .listen("topichub", listener, move || http_service(hub.clone(), pages))?
        .run();
    Ok(server)
}

fn http_service(
    hub: Hub,
    pages: fn(&mut ServiceConfig),
) -> impl ServiceFactory<
    TcpStream,
    Config = (),
    Response = (),
    Error = actix_http::error::DispatchError,
    InitError = (),
> {
    let handshake_timeout = hub.settings().handshake_timeout;
    let app = App::new()
        .configure(|app| hub.configure(app))
        .configure(pages)
        .default_service(web::to(|| async {
            Err::<HttpResponse, _>(Problem::not_found("there is nothing at this address"))
        }))
        .wrap_fn(|request, app| {
            request.request().conn_data::<Handshake>().into_iter().for_each(Handshake::end);
            app.call(request)
        });
    let (admission, knocked_at) = (Arc::clone(hub.admission()), Arc::clone(hub.admission()));
    let upgrade = move |(request, framed): (Request, Framed<TcpStream, h1::Codec>)| {
        let hub = hub.clone();
        async move {
            request.conn_data::<Handshake>().into_iter().for_each(Handshake::end);
            let mut parts = framed.into_parts();
            // Answers to requests that came just before this one.
            if parts.io.write_all_buf(&mut parts.write_buf).await.is_ok() {
                upgrade(&hub, &request, parts.io, &parts.read_buf).await;
            }
            Ok::<_, Error>(())
        }
    };
    let http = HttpService::build()
        .client_request_timeout(handshake_timeout)
        .tcp_nodelay(true)
        // Who sends no more has hung up: nothing is kept waiting for them.
        .h1_allow_half_closed(false)
        .on_connect_ext(move |_: &TcpStream, connection| _ = connection.insert(knocked_at.begin_handshake()))
        .upgrade(fn_service(upgrade))
        .finish(map_config(app, |()| AppConfig::default()))
        .tcp();
    let (http, turnstile) = (Rc::new(http), Turnstile::new());
    fn_factory(move || {
        let (http, admission, turnstile) = (Rc::clone(&http), Arc::clone(&admission), Rc::clone(&turnstile));
        async move {
            let http = Rc::new(http.new_service(()).await?);
            Ok(fn_service(move |stream: TcpStream| {
                let (http, turnstile) = (Rc::clone(&http), Rc::clone(&turnstile));
                let admission = Arc::clone(&admission);
                // Here all who have come at once are counted, one after the other; what takes longer waits its turn.
                let admitted = admission.admit(stream.peer_addr().ok().map(|address| address.ip()));
                async move {
                    match admitted {
                        Ok(_ticket) => {
                            let handshake = admission.begin_handshake();
                            turnstile.pass().await;
                            drop(handshake);
                            http.call(stream).await
                        }
                        Err(refusal) => {
                            admission.refuse(stream, refusal).await;
                            Ok(())
                        }
                    }
                }
            }))
        }
    })
}

/// Answers a handshake on a socket that is ours now, and starts its session.
async fn upgrade(hub: &Hub, request: &Request, mut stream: TcpStream, early: &[u8]) {
    match accept(hub, request).await {
        Ok((accepted, identity)) => begin(hub, request, &accepted, identity, stream, early),
        Err(problem) => {
            let _ = stream.write_all(&problem.to_response_bytes()).await;
            let _ = stream.shutdown().await;
        }
    }
}

async fn accept(hub: &Hub, request: &Request) -> Result<(Accepted, Option<Arc<Identity>>), Problem> {
    if request.path() != WEBSOCKET_PATH {
        return Err(Problem::not_found(format!("WebSockets are at {WEBSOCKET_PATH}")));
    }
    let (headers, query) = (request.headers(), request.uri().query().unwrap_or_default());
    let accepted = negotiate(request.method(), request.version(), headers, hub.settings())?;
    // That a page may ask at all was checked before.
    Ok((accepted, credential::identify(hub.authority(), headers, query, true).await?))
}

fn begin(
    hub: &Hub,
    request: &Request,
    accepted: &Accepted,
    identity: Option<Arc<Identity>>,
    stream: TcpStream,
    early: &[u8],
) {
    let (worker, settings) = (hub.worker(), hub.settings());
    let link = Link::socket(stream, &accepted.terms(settings), Rc::clone(&worker.outboxes));
    let mut head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-accept: {}\r\n",
        accepted.accept
    );
    if let Some(subprotocol) = accepted.subprotocol {
        head.push_str("sec-websocket-protocol: ");
        head.push_str(subprotocol);
        head.push_str("\r\n");
    }
    if let Some(agreed) = accepted.deflate {
        head.push_str("sec-websocket-extensions: ");
        head.push_str(&agreed.to_string());
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    link.send(head.as_bytes());
    let source = if early.is_empty() { Source::Socket } else { Source::Early(Box::new(early.into())) };
    // The connection was let in when it came; from here on it is the session that counts.
    let address = request.peer_addr().map(|address| address.ip());
    let ticket = hub.admission().count(address);
    Session::begin(worker, link, source, ticket, address, identity);
}
