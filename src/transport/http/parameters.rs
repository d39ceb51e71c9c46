//! What a request says in its query, read into a type; and how much a page holds.

use actix_web::HttpRequest;
use actix_web::web::Query;
use serde::de::DeserializeOwned;

use crate::transport::problem::Problem;

/// How many entries a page has if nothing is said, and at most.
pub(super) const PAGE: usize = 100;
pub(super) const PAGE_MAX: usize = 1000;

/// The query, or what is wrong with it. Who asks may be said there too, and has been read before.
pub(super) fn parameters<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, Problem> {
    let said = request.query_string().split('&').filter(|parameter| !parameter.starts_with("token="));
    let query = Query::from_query(&said.collect::<Vec<_>>().join("&"));
    query.map(Query::into_inner).map_err(|error| Problem::bad_request(format!("the query: {error}")))
}

/// How many entries are wanted.
pub(super) fn page_limit(limit: Option<usize>) -> Result<usize, Problem> {
    match limit {
        None => Ok(PAGE),
        Some(limit @ 1..=PAGE_MAX) => Ok(limit),
        Some(limit) => {
            Err(Problem::bad_request(format!("\"limit\" must be from 1 to {PAGE_MAX}, got {limit}")))
        }
    }
}
