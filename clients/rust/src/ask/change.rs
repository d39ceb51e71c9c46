//! A change to be of how a subscription is served.

use std::future::IntoFuture;

use topichub_protocol::SlowPolicy;

use super::Waiting;
use super::subscribe::interval;
use crate::error::Error;
use crate::hub::Hub;
use crate::session::{ReaderId, Served};

/// A change to be: see [`Subscription::change`](crate::Subscription::change). What is not said is as if it had never been said.
#[derive(Debug)]
#[must_use = "nothing is changed before .await"]
pub struct Change {
    hub: Hub,
    reader: ReaderId,
    slow: Option<SlowPolicy>,
    max_rate: Option<f64>,
    echo: bool,
}

impl Change {
    pub(crate) fn new(hub: Hub, reader: ReaderId) -> Self {
        Self { hub, reader, slow: None, max_rate: None, echo: true }
    }

    /// As [`Subscribe::slow`](crate::Subscribe::slow).
    pub fn slow(mut self, policy: SlowPolicy) -> Self {
        self.slow = Some(policy);
        self
    }

    /// As [`Subscribe::max_rate`](crate::Subscribe::max_rate).
    pub fn max_rate(mut self, rate: f64) -> Self {
        self.max_rate = Some(rate);
        self
    }

    /// As [`Subscribe::echo`](crate::Subscribe::echo).
    pub fn echo(mut self, echo: bool) -> Self {
        self.echo = echo;
        self
    }
}

impl IntoFuture for Change {
    type Output = Result<(), Error>;
    type IntoFuture = Waiting<()>;

    /// Changes it, and waits until the server has agreed; without a connection it is asked for so with the next one. If it
    /// does not agree, all is as it was.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let interval = self.max_rate.map(interval).transpose()?;
            self.hub.change(self.reader, Served { echo: self.echo, slow: self.slow, interval }).await
        })
    }
}
