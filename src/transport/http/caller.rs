//! Who asks over HTTP, and whether they may.

use std::sync::Arc;

use actix_http::header;
use actix_web::HttpRequest;
use topichub_protocol::topic::Topic;

use crate::embed::Hub;
use crate::hub::grants::Action;
use crate::hub::identity::Identity;
use crate::hub::session;
use crate::transport::credential;
use crate::transport::problem::Problem;

/// Who asks; anybody, if the request shows nothing and that is enough.
pub(super) async fn caller(hub: &Hub, request: &HttpRequest) -> Result<Arc<Identity>, Problem> {
    let authority = hub.authority();
    // What changes nothing may be asked for by any page, which cannot read the answer; all else says whose page it is.
    let own_page = request.method().is_safe() || request.headers().contains_key(header::ORIGIN);
    let shown = credential::identify(authority, request.headers(), request.query_string(), own_page).await?;
    shown.or_else(|| authority.anonymous()).ok_or_else(|| {
        Problem::unauthorized("say who asks: send the header Authorization: Bearer and a token or key")
    })
}

/// Whether who asks may do this on a topic.
pub(super) async fn permit(
    hub: &Hub,
    request: &HttpRequest,
    action: Action,
    topic: &Topic,
) -> Result<(), Problem> {
    let caller = caller(hub, request).await?;
    Ok(session::may_on(&caller, action, topic)?)
}

/// Whether who asks may look into the server and act upon it.
pub(super) async fn permit_admin(hub: &Hub, request: &HttpRequest) -> Result<Arc<Identity>, Problem> {
    let caller = caller(hub, request).await?;
    if caller.grants.admin { Ok(caller) } else { Err(Problem::forbidden("this is for administrators")) }
}
