//! What a program can ask of a Hub, each with its options. Nothing is done before `.await` or `.start()`.

mod change;
mod history;
mod name;
mod publish;
mod request;
mod subscribe;

use std::future::Future;
use std::pin::Pin;

pub use self::change::Change;
pub use self::history::History;
pub use self::name::Name;
pub use self::publish::{IntoPayload, Publish};
pub use self::request::Request;
pub use self::subscribe::Subscribe;
use crate::error::Error;

/// What is awaited.
pub(crate) type Waiting<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;
