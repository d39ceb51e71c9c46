//! The actors: mailboxes, timers and addresses around the hub core. Each hands its input over and carries out what
//! comes back; nothing is decided here.

pub(crate) mod departures;
pub(crate) mod destination;
pub(crate) mod fan_out;
pub(crate) mod leaving;
mod listener;
pub(crate) mod news;
pub(crate) mod orders;
pub(crate) mod parting;
pub(crate) mod rates;
pub(crate) mod registry;
pub(crate) mod roster;
pub(crate) mod session;
pub(crate) mod worker;
