//! Door A: the server binary's port. WebSockets become raw sockets of our own; everything else is an ordinary
//! actix-web `App`.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_codec::Framed;
use actix_http::{ConnectionType, HttpService, Protocol, Request, h1};
use actix_server::Server;
use actix_service::{Service, ServiceFactory, fn_factory, fn_service, map_config};
use actix_web::dev::AppConfig;
use actix_web::web::ServiceConfig;
use actix_web::{App, Error, HttpMessage, HttpResponse, ResponseError, web};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use super::arrival::{Arrival, Stream};
use super::credential;
use super::entrance::Entrance;
use super::handshake::{Accepted, negotiate};
use super::link::Link;
use super::listener::{Bound, Expected, Listener};
use super::origin::{self, Site};
use super::problem::Problem;
use super::proxies;
use super::request_head::head_bytes;
use super::socket::Socket;
use super::source::Source;
use super::tls::Tls;
use super::turnstile::Turnstile;
use crate::actors::session::{Session, Visitor};
use crate::embed::Hub;

/// Where WebSockets are at home.
const WEBSOCKET_PATH: &str = "/ws";

/// A server: WebSockets at `/ws`, the HTTP API, and whatever `pages` adds, on each of the listeners.
///
/// # Errors
/// If a listener cannot be used, or there is none.
pub fn serve(
    hub: Hub,
    listeners: Vec<Listener>,
    workers: usize,
    pages: fn(&mut ServiceConfig),
) -> io::Result<Server> {
    if listeners.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a server needs a listener"));
    }
    let mut server = Server::build()
        .workers(workers)
        .backlog(4096)
        // Admission counts, and answers instead of letting newcomers wait.
        .max_concurrent_connections(usize::MAX)
        .shutdown_timeout(2)
        .disable_signals();
    for Listener { bound, expected } in listeners {
        expected.tls.iter().for_each(Tls::watch);
        let hub = hub.clone();
        server = match bound {
            Bound::Tcp(tcp) => server.listen("topichub", tcp, move || {
                http_service::<TcpStream>(hub.clone(), expected.clone(), pages)
            }),
            #[cfg(unix)]
            Bound::Unix(unix) => server.listen_uds("topichub", unix, move || {
                http_service::<UnixStream>(hub.clone(), expected.clone(), pages)
            }),
        }?;
    }
    Ok(server.run())
}

fn http_service<Accepted: Into<Socket> + 'static>(
    hub: Hub,
    expected: Expected,
    pages: fn(&mut ServiceConfig),
) -> impl ServiceFactory<
    Accepted,
    Config = (),
    Response = (),
    Error = actix_http::error::DispatchError,
    InitError = (),
> {
    let (handshake_timeout, drained) = (hub.settings().handshake_timeout, hub.clone());
    let header_bytes_max = hub.settings().header_bytes_max;
    let for_operators = expected.for_operators;
    let app = App::new()
        .configure(|app| {
            if for_operators {
                hub.configure_operations(app);
            } else {
                hub.configure(app);
                pages(app);
            }
        })
        .default_service(web::to(|| async {
            Err::<HttpResponse, _>(Problem::not_found("there is nothing at this address"))
        }))
        .wrap_fn(move |request, app| {
            let arrival = request.request().conn_data::<Rc<Arrival>>().cloned();
            arrival.iter().for_each(|arrival| arrival.end_handshake());
            let is_too_long = head_bytes(request.uri(), request.headers()) > header_bytes_max;
            let answer = if is_too_long { Err(request) } else { Ok(app.call(request)) };
            let hub = drained.clone();
            async move {
                let mut answer = match answer {
                    Ok(answer) => answer.await?.map_into_left_body(),
                    Err(request) => {
                        let problem = Problem::head_too_long(header_bytes_max);
                        request.into_response(problem.error_response()).map_into_right_body()
                    }
                };
                arrival.iter().for_each(|arrival| arrival.has_answer());
                if hub.is_draining() {
                    // Whoever goes on is to find another server.
                    answer.response_mut().head_mut().set_connection_type(ConnectionType::Close);
                }
                Ok(answer)
            }
        });
    let admission = Arc::clone(hub.admission());
    let entrance = Entrance {
        admission,
        turnstile: Turnstile::new(),
        expected,
        timeout: handshake_timeout,
        header_bytes_max,
    };
    let upgrade = move |(request, framed): (Request, Framed<Stream, h1::Codec>)| {
        let hub = hub.clone();
        async move {
            let mut parts = framed.into_parts();
            let Stream { socket, arrival, .. } = parts.io;
            arrival.end_handshake();
            let Some(mut socket) = socket else { return Ok(()) };
            // Answers to requests that came just before this one.
            if socket.write_all_buf(&mut parts.write_buf).await.is_ok() {
                if for_operators {
                    refuse(socket, &Problem::not_found("there are no WebSockets at this address")).await;
                } else {
                    upgrade(&hub, &request, (socket, &arrival), &parts.read_buf).await;
                }
            }
            Ok::<_, Error>(())
        }
    };
    let http = HttpService::build()
        // The stream sees to it, for every request.
        .client_request_timeout(Duration::ZERO)
        // Who sends no more has hung up: nothing is kept waiting for them.
        .h1_allow_half_closed(false)
        .on_connect_ext(|stream: &Stream, connection| _ = connection.insert(Rc::clone(&stream.arrival)))
        .upgrade(fn_service(upgrade))
        .finish(map_config(app, |()| AppConfig::default()));
    let (http, entrance) = (Rc::new(http), Rc::new(entrance));
    fn_factory(move || {
        let (http, entrance) = (Rc::clone(&http), Rc::clone(&entrance));
        async move {
            let http = Rc::new(http.new_service(()).await?);
            Ok(fn_service(move |accepted: Accepted| {
                let (http, entrance) = (Rc::clone(&http), Rc::clone(&entrance));
                // Here all who have come at once are counted, one after the other; what takes longer waits its turn.
                let newcomer = entrance.count(accepted.into());
                async move {
                    let Some(stream) = entrance.enter(newcomer).await else { return Ok(()) };
                    let address = stream.arrival.address;
                    // Kilobytes, and not yet there while a newcomer waits for its turn.
                    Box::pin(http.call((stream, Protocol::Http1, address))).await
                }
            }))
        }
    })
}

/// Answers a handshake on a socket that is ours now, and starts its session.
async fn upgrade(hub: &Hub, request: &Request, (socket, arrival): (Socket, &Arrival), early: &[u8]) {
    match accept(hub, request, arrival).await {
        Ok((accepted, visitor)) => begin(hub, &accepted, visitor, socket, early),
        Err(problem) => refuse(socket, &problem).await,
    }
}

async fn refuse(mut socket: Socket, problem: &Problem) {
    let _ = socket.write_all(&problem.to_response_bytes()).await;
    let _ = socket.shutdown().await;
}

async fn accept(hub: &Hub, request: &Request, arrival: &Arrival) -> Result<(Accepted, Visitor), Problem> {
    let max = hub.settings().header_bytes_max;
    if head_bytes(request.uri(), request.headers()) > max {
        return Err(Problem::head_too_long(max));
    }
    if request.path() != WEBSOCKET_PATH {
        return Err(Problem::not_found(format!("WebSockets are at {WEBSOCKET_PATH}")));
    }
    hub.takes_newcomers()?;
    let (settings, headers, admission) = (hub.settings(), request.headers(), hub.admission());
    let accepted = negotiate(request.method(), request.version(), headers, &settings)?;
    let peer = arrival.address.map(|address| address.ip());
    let forwarded = proxies::forwarded(&settings.trusted_proxies, peer, headers)?;
    let client = forwarded.as_ref().and_then(|forwarded| forwarded.client);
    origin::check(headers, &Site::new(headers, forwarded, arrival.is_secure), &settings)?;
    let query = request.uri().query().unwrap_or_default();
    let identity = credential::identify(hub.authority(), headers, query, true).await?;
    let mut ticket = arrival.take_ticket().ok_or_else(|| Problem::bad_request("one handshake is enough"))?;
    if let Some(client) = client {
        admission.attribute(&mut ticket, client).map_err(|refusal| admission.problem(refusal))?;
    }
    Ok((accepted, Visitor { ticket: Some(ticket), address: client.or(peer), identity }))
}

fn begin(hub: &Hub, accepted: &Accepted, visitor: Visitor, socket: Socket, early: &[u8]) {
    let (worker, settings) = (hub.worker(), hub.settings());
    let link = Link::socket(socket, &accepted.terms(&settings), Rc::clone(&worker.outboxes));
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
    Session::begin(worker, link, Source::socket(early), visitor, Default::default());
}
