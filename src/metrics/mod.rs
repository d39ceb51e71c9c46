//! What the hub counts about itself: plain cells on each thread, copied to a board once a second, and shown from there.
//! What is shown never names a topic, a user or an address.

pub(crate) mod board;
pub(crate) mod delays;
pub(crate) mod exposition;
pub(crate) mod figure;
mod process;
pub(crate) mod stats;
pub(crate) mod tally;
pub(crate) mod top_topics;
