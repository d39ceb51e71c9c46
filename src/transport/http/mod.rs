//! The HTTP side of the hub: publishing, looking at what was published and at who is there, and health. The same topics
//! and limits as on WebSockets.

mod caller;
mod history;
mod presence;
mod publishing;
mod representation;
mod request;

use actix_web::{HttpRequest, HttpResponse, guard, web};

use super::problem::Problem;
use crate::embed::Hub;

/// Adds the HTTP API to an `App`.
pub(crate) fn configure(hub: &Hub, app: &mut web::ServiceConfig) {
    let (publishing, batches, histories, presences) = (hub.clone(), hub.clone(), hub.clone(), hub.clone());
    app.service(
        web::resource("/topics/{topic}")
            .route(
                web::post().to(move |request, body| publishing::publish(publishing.clone(), request, body)),
            )
            .default_service(web::to(|| only("POST"))),
    );
    app.service(
        web::resource("/topics/{topic}/messages")
            .route(look().to(move |request: HttpRequest| history::messages(histories.clone(), request)))
            .default_service(web::to(|| only("GET, HEAD"))),
    );
    app.service(
        web::resource("/topics/{topic}/presence")
            .route(look().to(move |request: HttpRequest| presence::presence(presences.clone(), request)))
            .default_service(web::to(|| only("GET, HEAD"))),
    );
    app.service(
        web::resource("/publish")
            .route(
                web::post()
                    .to(move |request, body| publishing::publish_batch(batches.clone(), request, body)),
            )
            .default_service(web::to(|| only("POST"))),
    );
    app.route("/healthz", look().to(|| async { HttpResponse::Ok().content_type("text/plain").body("ok\n") }));
}

/// A route that changes nothing.
fn look() -> actix_web::Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

async fn only(methods: &'static str) -> Result<HttpResponse, Problem> {
    Err(Problem::method_not_allowed(methods))
}
