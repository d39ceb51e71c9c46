//! `POST /drain`: clients are sent away, as at SIGTERM.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::caller::permit_admin;
use super::parameters::parameters;
use crate::embed::Hub;
use crate::transport::problem::Problem;

/// Over which time clients are sent away if nothing is said.
const OVER: Duration = Duration::from_secs(30);

/// Nobody waits longer for a server to stop.
const OVER_MS_MAX: u64 = 3_600_000;

/// How it is to be done.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Over which time, in milliseconds, at most an hour; 30,000 if it is not said.
    #[param(maximum = 3_600_000)]
    over_ms: Option<u64>,
}

/// What has begun.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Draining {
    /// How many sessions are sent away.
    sessions: u64,
    /// Over which time, in milliseconds; that of the first request, if there was one before.
    over_ms: u64,
}

/// Drain the server
///
/// Newcomers are refused from now on, and `/readyz` says so. Each session is told to come back (`goodbye` with 4201) at a
/// moment of its own. When all have gone the server ends, as at SIGTERM; a program that embeds the hub goes on.
#[utoipa::path(
    post, path = "/drain", tag = "administration", params(Wanted),
    responses(
        (status = 202, description = "It has begun", body = Draining),
    ),
)]
pub(super) async fn drain(hub: Hub, request: HttpRequest) -> Result<HttpResponse, Problem> {
    permit_admin(&hub, &request).await?;
    let Wanted { over_ms } = parameters(&request)?;
    if let Some(over_ms) = over_ms.filter(|over_ms| *over_ms > OVER_MS_MAX) {
        let message = format!("\"over_ms\" must be at most {OVER_MS_MAX}, got {over_ms}");
        return Err(Problem::bad_request(message));
    }
    let sessions = hub.sessions() as u64;
    // It goes on whether anybody waits for its end or not.
    actix_rt::spawn(hub.drain(over_ms.map_or(OVER, Duration::from_millis)));
    let over = hub.drain_begun().await;
    Ok(HttpResponse::Accepted().json(Draining { sessions, over_ms: over.as_millis() as u64 }))
}
