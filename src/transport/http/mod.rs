//! The HTTP side of the hub: publishing, looking at what was published and at who is there, and health. The same topics
//! and limits as on WebSockets.

mod caller;
mod drain;
mod events;
mod explain;
mod history;
mod openapi;
pub(crate) mod operations;
mod parameters;
mod presence;
mod publishing;
mod representation;
mod request;
mod sessions;
mod topics;

use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, HttpResponse, guard, web};

use super::cors::cross_origin;
use super::problem::Problem;
use crate::embed::Hub;

/// Adds the HTTP API to an `App`.
pub(crate) fn configure(hub: &Hub, app: &mut web::ServiceConfig) {
    let from_elsewhere = |hub: &Hub| {
        let hub = hub.clone();
        from_fn(move |request, next| cross_origin(hub.clone(), request, next))
    };
    let purges = hub.clone();
    let (publishing, batches, histories, presences) = (hub.clone(), hub.clone(), hub.clone(), hub.clone());
    app.service(
        web::resource("/topics/{topic}")
            .route(
                web::post().to(move |request, body| publishing::publish(publishing.clone(), request, body)),
            )
            .default_service(web::to(|| only("POST")))
            .wrap(from_elsewhere(hub)),
    );
    app.service(
        web::resource("/topics/{topic}/messages")
            .route(look().to(move |request: HttpRequest| history::messages(histories.clone(), request)))
            .route(web::delete().to(move |request: HttpRequest| topics::purge(purges.clone(), request)))
            .default_service(web::to(|| only("GET, HEAD, DELETE")))
            .wrap(from_elsewhere(hub)),
    );
    app.service(
        web::resource("/topics/{topic}/presence")
            .route(look().to(move |request: HttpRequest| presence::presence(presences.clone(), request)))
            .default_service(web::to(|| only("GET, HEAD")))
            .wrap(from_elsewhere(hub)),
    );
    app.service(
        web::resource("/publish")
            .route(
                web::post()
                    .to(move |request, body| publishing::publish_batch(batches.clone(), request, body)),
            )
            .default_service(web::to(|| only("POST")))
            .wrap(from_elsewhere(hub)),
    );
    let (streams, chosen) = (hub.clone(), hub.clone());
    app.service(
        web::resource("/events")
            .route(web::get().to(move |request: HttpRequest| events::stream(streams.clone(), request)))
            .route(web::post().to(move |request, body| events::stream_of(chosen.clone(), request, body)))
            .default_service(web::to(|| only("GET, POST")))
            .wrap(from_elsewhere(hub)),
    );
    administration(hub, app);
    app.route("/openapi.json", look().to(openapi::document));
    operations::configure(hub, operations::Readers::Admins, app);
}

/// What administrators may see and do.
fn administration(hub: &Hub, app: &mut web::ServiceConfig) {
    let (topics, list, one, all, some, token) =
        (hub.clone(), hub.clone(), hub.clone(), hub.clone(), hub.clone(), hub.clone());
    let from_elsewhere = || {
        let hub = hub.clone();
        from_fn(move |request, next| cross_origin(hub.clone(), request, next))
    };
    app.service(
        web::resource("/topics")
            .route(look().to(move |request: HttpRequest| topics::list(topics.clone(), request)))
            .default_service(web::to(|| only("GET, HEAD")))
            .wrap(from_elsewhere()),
    );
    app.service(
        web::resource("/sessions")
            .route(look().to(move |request: HttpRequest| sessions::list(list.clone(), request)))
            .default_service(web::to(|| only("GET, HEAD")))
            .wrap(from_elsewhere()),
    );
    let act = |path: &str, route: actix_web::Route| {
        web::resource(path).route(route).default_service(web::to(|| only("POST"))).wrap(from_elsewhere())
    };
    app.service(act(
        "/sessions/{session}/disconnect",
        web::post().to(move |request, session| sessions::disconnect(one.clone(), request, session)),
    ));
    app.service(act(
        "/users/{user}/disconnect",
        web::post().to(move |request, user| sessions::disconnect_user(all.clone(), request, user)),
    ));
    app.service(act(
        "/users/{user}/unsubscribe",
        web::post()
            .to(move |request, user, body| sessions::unsubscribe_user(some.clone(), request, user, body)),
    ));
    let (drained, explained) = (hub.clone(), hub.clone());
    app.service(act("/drain", web::post().to(move |request| drain::drain(drained.clone(), request))));
    app.service(
        web::resource("/explain")
            .route(look().to(move |request: HttpRequest| explain::explain(explained.clone(), request)))
            .default_service(web::to(|| only("GET, HEAD")))
            .wrap(from_elsewhere()),
    );
    app.service(act(
        "/tokens/{token_id}/revoke",
        web::post().to(move |request, token_id| sessions::revoke(token.clone(), request, token_id)),
    ));
}

/// A route that changes nothing.
fn look() -> actix_web::Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

async fn only(methods: &'static str) -> Result<HttpResponse, Problem> {
    Err(Problem::method_not_allowed(methods))
}
