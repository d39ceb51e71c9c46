//! The comparison with other servers; `../peers.rs` is its beginning.

pub(crate) mod dialect;
pub(crate) mod launch;
pub(crate) mod line;
pub(crate) mod load;
pub(crate) mod report;
pub(crate) mod target;
pub(crate) mod turn;
