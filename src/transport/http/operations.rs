//! What those who run the server look at: whether it lives, whether it should be sent newcomers, and what it counts.

use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use topichub_protocol::code::ErrorCode;

use super::caller::permit_admin;
use super::look;
use crate::embed::Hub;
use crate::metrics::exposition::{CONTENT_TYPE, Exposition};
use crate::transport::problem::Problem;

/// How long the registry may take to answer.
const READY_WITHIN: Duration = Duration::from_secs(1);

/// Who may see the metrics. Whether the server lives and is ready, anybody may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Whoever reaches the listener: it is for nobody else.
    Anybody,
    /// Where authentication is configured, those with the admin grant.
    Admins,
}

/// Adds `/healthz`, `/readyz` and `/metrics`, on the main listener or on one of their own.
pub(crate) fn configure(hub: &Hub, readers: Readers, app: &mut web::ServiceConfig) {
    let (ready, metered) = (hub.clone(), hub.clone());
    app.route("/healthz", look().to(healthz));
    app.route("/readyz", look().to(move || readyz(ready.clone())));
    app.route("/metrics", look().to(move |request: HttpRequest| metrics(metered.clone(), readers, request)));
}

fn text(body: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(body)
}

/// See whether the server lives
#[utoipa::path(
    get, path = "/healthz", tag = "operation", security(()),
    responses((status = 200, description = "It lives", body = String, content_type = "text/plain")),
)]
pub(super) async fn healthz() -> HttpResponse {
    text("ok\n")
}

/// See whether newcomers should be sent here
#[utoipa::path(
    get, path = "/readyz", tag = "operation", security(()),
    responses(
        (status = 200, description = "They should", body = String, content_type = "text/plain"),
        (status = 503, description = "The server is being drained, or does not get on"),
    ),
)]
pub(super) async fn readyz(hub: Hub) -> Result<HttpResponse, Problem> {
    if hub.is_draining() {
        return Err(Problem::new(ErrorCode::Unavailable, "the server is being drained"));
    }
    if !hub.is_responsive(READY_WITHIN).await {
        let within = READY_WITHIN.as_secs();
        let detail = format!("the registry has not answered within {within} s");
        return Err(Problem::new(ErrorCode::Unavailable, detail));
    }
    Ok(text("ready\n"))
}

/// See what the server counts
///
/// As OpenMetrics text; for those with the admin grant where authentication is configured.
#[utoipa::path(
    get, path = "/metrics", tag = "operation",
    responses(
        (status = 200, description = "What it counts", body = String, content_type = "application/openmetrics-text"),
        (status = 400, description = "The header `Authorization` is there twice"),
        (status = 401, description = "It is not known who asks, and must be"),
        (status = 403, description = "Who asks may not"),
        (status = 500, description = "The figures could not be written"),
        (status = 503, description = "At present it cannot be found out who asks"),
    ),
)]
pub(super) async fn metrics(
    hub: Hub,
    readers: Readers,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    // Where nobody is asked who they are, nobody is an administrator, and everybody may look.
    if readers == Readers::Admins && !hub.authority().believes_names() {
        permit_admin(&hub, &request).await?;
    }
    let exposition = Exposition {
        posted: hub.board().read(),
        connections: hub.admission().connections() as u64,
        admitted: hub.admission().admitted(),
        refused: hub.admission().refused_by_reason().collect(),
        draining: hub.is_draining(),
    };
    // What is known of the process stands in files.
    let written = web::block(move || exposition.into_text()).await;
    let Ok(Ok(text)) = written else {
        return Err(Problem::new(ErrorCode::Internal, "the metrics could not be written"));
    };
    Ok(HttpResponse::Ok()
        .content_type(CONTENT_TYPE)
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(text))
}
