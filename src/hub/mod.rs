//! The hub core: what happens to a command and to a message, as pure functions of an input and the time.
//! No sockets, clock, tasks, locks or logs live here; `actors/` carries out what these types decide.

pub(crate) mod attendance;
pub(crate) mod backlog;
pub(crate) mod catch_up;
pub(crate) mod explanation;
pub(crate) mod fan_out;
pub(crate) mod grants;
pub(crate) mod group;
pub(crate) mod identity;
pub(crate) mod input;
pub(crate) mod joined;
pub(crate) mod lane;
pub(crate) mod outbox;
pub(crate) mod pattern_index;
pub(crate) mod permit;
pub(crate) mod published;
pub(crate) mod pulse;
pub(crate) mod queue_group;
pub(crate) mod registry;
pub(crate) mod requests;
pub(crate) mod seat;
pub(crate) mod session;
#[cfg(test)]
mod simulator;
pub(crate) mod turn;
