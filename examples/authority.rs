//! A hub that asks the program around it who somebody is: here two tokens from a list, one of them an operator's. The
//! pages of this repository come along, so that the operator's dashboard can be looked at.
//!
//! ```sh
//! cargo run --example authority -- 127.0.0.1:8082
//! ```
//!
//! Open <http://127.0.0.1:8082/admin/> and sign in with `operator`. With `reader` one may watch `news.>` and nothing else.

use std::future::Future;
use std::path::{Component, Path};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header;
use actix_web::{App, HttpResponse, HttpServer, get, web};
use topichub::protocol::code::ErrorCode;
use topichub::protocol::command::CommandError;
use topichub::{Action, Authority, Filter, Grants, Hub, Identified, Identity, Settings};

const PAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/web");

/// What the pages may load: the same as where the server itself serves them.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; object-src 'none'; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Who has which token.
struct List(Vec<(&'static str, Arc<Identity>)>);

impl List {
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let mut news = Grants::default();
        for action in [Action::Subscribe, Action::History] {
            news.allow(action, Filter::parse("news.>")?);
        }
        let identity = |user: &str, grants| {
            Arc::new(Identity {
                user: Some(user.into()),
                grants,
                origin: "list".into(),
                ..Identity::default()
            })
        };
        let operator = identity("olga", Grants::everything());
        Ok(Self(vec![("operator", operator), ("reader", identity("rita", news))]))
    }
}

impl Authority for List {
    /// Whoever shows nothing gets nothing.
    fn anonymous(&self) -> Option<Arc<Identity>> {
        None
    }

    fn identify<'a>(&'a self, token: &'a str) -> Pin<Box<dyn Future<Output = Identified> + Send + 'a>> {
        let known =
            self.0.iter().find(|(known, _)| *known == token).map(|(_, identity)| Arc::clone(identity));
        let unknown = || CommandError::new(ErrorCode::Unauthorized, "nobody has this token");
        Box::pin(std::future::ready(known.ok_or_else(unknown)))
    }
}

/// A file of the pages.
#[get("/{path:.*}")]
async fn page(path: web::Path<String>) -> HttpResponse {
    let mut path = path.into_inner();
    if path.is_empty() || path.ends_with('/') {
        path.push_str("index.html");
    }
    let within = Path::new(&path).components().all(|part| matches!(part, Component::Normal(_)));
    let Some(bytes) = within.then(|| std::fs::read(Path::new(PAGES).join(&path)).ok()).flatten() else {
        return HttpResponse::NotFound().finish();
    };
    let kind = match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/javascript; charset=utf-8",
    };
    HttpResponse::Ok()
        .content_type(kind)
        .insert_header((header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY))
        .body(bytes)
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8082".to_owned());
    let hub = Hub::start_with(Settings::default(), Arc::new(List::new()?))?;
    let server =
        HttpServer::new(move || App::new().configure(|app| hub.configure(app)).service(page)).workers(2);
    let server = server.client_disconnect_timeout(Duration::ZERO).bind(address)?;
    println!("listening at http://{}", server.addrs()[0]);
    Ok(server.run().await?)
}
