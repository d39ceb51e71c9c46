//! A broadcast server as one writes it first: an actor for each connection, a registry that sends every message to each
//! of them, and each encodes it for itself. What a client sends, in JSON, goes to all. `naive PORT`

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use actix::prelude::*;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use actix_web_actors::ws;
use serde_json::Value;

#[derive(Clone, Message)]
#[rtype(result = "()")]
struct Event(Arc<Value>);

#[derive(Message)]
#[rtype(result = "()")]
struct Join(Addr<Session>);

#[derive(Message)]
#[rtype(result = "()")]
struct Leave(Addr<Session>);

#[derive(Default)]
struct Registry(HashSet<Addr<Session>>);

impl Actor for Registry {
    type Context = Context<Self>;
}

impl Handler<Join> for Registry {
    type Result = ();

    fn handle(&mut self, Join(session): Join, _: &mut Self::Context) {
        self.0.insert(session);
    }
}

impl Handler<Leave> for Registry {
    type Result = ();

    fn handle(&mut self, Leave(session): Leave, _: &mut Self::Context) {
        self.0.remove(&session);
    }
}

impl Handler<Event> for Registry {
    type Result = ();

    fn handle(&mut self, event: Event, _: &mut Self::Context) {
        for session in &self.0 {
            session.do_send(event.clone());
        }
    }
}

struct Session(Addr<Registry>);

impl Actor for Session {
    type Context = ws::WebsocketContext<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.0.do_send(Join(context.address()));
    }

    fn stopped(&mut self, context: &mut Self::Context) {
        self.0.do_send(Leave(context.address()));
    }
}

impl Handler<Event> for Session {
    type Result = ();

    fn handle(&mut self, Event(value): Event, context: &mut Self::Context) {
        context.text(value.to_string());
    }
}

impl StreamHandler<Result<ws::Message, ws::ProtocolError>> for Session {
    fn handle(&mut self, message: Result<ws::Message, ws::ProtocolError>, context: &mut Self::Context) {
        match message {
            Ok(ws::Message::Text(text)) => match serde_json::from_str(&text) {
                Ok(value) => self.0.do_send(Event(Arc::new(value))),
                Err(_) => context.close(Some(ws::CloseCode::Invalid.into())),
            },
            Ok(ws::Message::Ping(bytes)) => context.pong(&bytes),
            Ok(ws::Message::Close(reason)) => {
                context.close(reason);
                context.stop();
            }
            Ok(_) => {}
            Err(_) => context.stop(),
        }
    }
}

async fn connect(
    request: HttpRequest,
    stream: web::Payload,
    registry: web::Data<Addr<Registry>>,
) -> actix_web::Result<HttpResponse> {
    ws::start(Session(registry.get_ref().clone()), &request, stream)
}

#[actix_web::main]
async fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    let port: u16 = port.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "usage: naive PORT"))?;
    let registry = web::Data::new(Registry::default().start());
    HttpServer::new(move || App::new().app_data(registry.clone()).route("/", web::get().to(connect)))
        .workers(1)
        .tcp_nodelay(true)
        .max_connections(65_536)
        .backlog(4096)
        .bind(("127.0.0.1", port))?
        .run()
        .await
}
