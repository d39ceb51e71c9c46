//! `GET /explain`: why somebody may or may not do something.

use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use topichub_protocol::topic::Filter;
use utoipa::{IntoParams, ToSchema};

use super::caller::permit_admin;
use super::openapi::TopicName;
use super::parameters::parameters;
use crate::embed::Hub;
use crate::hub::explanation::Explanation;
use crate::hub::grants::Action;
use crate::transport::problem::Problem;

/// Who, and what.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// The user's name. One who is connected is asked about as their session is; of any other, what the roles say.
    user: Option<String>,
    /// The topic or pattern.
    #[param(value_type = TopicName)]
    topic: String,
    /// `subscribe`, `publish`, `presence` or `history`; all of them if it is not said.
    #[param(value_type = Option<Deed>)]
    action: Option<String>,
    /// The roles that such a user would have, with commas between them. Then nobody who is connected is asked about.
    roles: Option<String>,
}

/// What can be allowed.
#[derive(ToSchema)]
#[expect(dead_code, reason = "`Action` reads it")]
#[schema(as = Action, rename_all = "lowercase")]
pub(super) enum Deed {
    Subscribe,
    Publish,
    Presence,
    History,
}

/// Why somebody may or may not do something.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Explained {
    /// Whether somebody with this name is connected, and it is about them.
    connected: bool,
    /// One for each action.
    #[schema(value_type = Vec<ExplanationDocument>)]
    explanations: Vec<Explanation>,
}

/// Why one thing is allowed, or is not.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the hub writes it")]
struct ExplanationDocument {
    allowed: bool,
    action: String,
    topic: String,
    user: Option<String>,
    /// Where the permissions come from.
    origin: String,
    roles: Vec<String>,
    /// The reason in a sentence.
    why: String,
    /// What grants it, or if nothing does what comes nearest.
    patterns: Vec<ConsideredDocument>,
}

/// A pattern that grants something, or does not.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the hub writes it")]
struct ConsideredDocument {
    source: String,
    pattern: String,
    why: String,
}

/// Explain a permission
#[utoipa::path(
    get, path = "/explain", tag = "administration", params(Wanted),
    responses(
        (status = 200, description = "Why", body = Explained),
    ),
)]
pub(super) async fn explain(hub: Hub, request: HttpRequest) -> Result<HttpResponse, Problem> {
    permit_admin(&hub, &request).await?;
    let Wanted { user, topic, action, roles } = parameters(&request)?;
    let filter = Filter::parse(&topic).map_err(Problem::invalid_topic)?;
    let actions = match &action {
        None => Action::ALL.to_vec(),
        Some(word) => {
            let known = Action::ALL.into_iter().find(|action| action.as_str() == word);
            let known = known.ok_or_else(|| {
                let words = Action::ALL.map(Action::as_str).join(", ");
                Problem::bad_request(format!("\"action\" must be one of {words}, got {word:?}"))
            })?;
            vec![known]
        }
    };
    let connected = match (&user, &roles) {
        (Some(user), None) => hub.identity_of(user).await,
        _ => None,
    };
    let roles: Vec<_> =
        roles.iter().flat_map(|roles| roles.split(',')).filter(|role| !role.is_empty()).collect();
    let authority = hub.authority();
    let presumed = || authority.presumed(user.as_deref(), &roles).into();
    let identity = connected.clone().unwrap_or_else(presumed);
    let explanations =
        actions.into_iter().map(|action| authority.explain(&identity, action, &filter)).collect();
    Ok(HttpResponse::Ok().json(Explained { connected: connected.is_some(), explanations }))
}
