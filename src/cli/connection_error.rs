//! Why there is no connection to a server, or no longer, in the words of the terminal: the client's own errors, with the
//! flags of this program in the advice.

use std::borrow::Cow;

use topichub_client::Error;

use super::{Exit, Failure};

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error {
            Error::Refused(_) | Error::Unsubscribed { .. } | Error::TooLong { .. } => Exit::Refused,
            _ => Exit::NoConnection,
        };
        Failure::new(exit, &error, advice(&error).as_deref())
    }
}

fn advice(error: &Error) -> Option<Cow<'static, str>> {
    match error {
        Error::Full { after: Some(after), .. } => Some(format!("try again in {} s", after.as_secs()).into()),
        Error::NotLetIn { .. } | Error::Unauthorized(_) => {
            Some("show a token or an API key: --token, or TOPICHUB_TOKEN".into())
        }
        Error::TooLong { .. } => None,
        other => other.advice().map(Cow::Borrowed),
    }
}
