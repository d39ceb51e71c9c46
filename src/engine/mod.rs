//! Where topics live beyond the registry: the port through which every published message gets its position.
//! The memory engine answers at once; a durable or distributed one may answer later.

pub(crate) mod memory;

use std::time::Duration;

use topichub_protocol::message::Position;
use topichub_protocol::topic::Topic;

use crate::hub::input::Publication;

/// A publication and the position it got.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) publication: Publication,
    pub(crate) position: Position,
}

/// Assigns positions and remembers topics. `now` is the time since the hub began.
pub(crate) trait Engine: Send {
    /// Takes a publication. Per topic they come back in order and with offsets that rise by one, either in `stored`
    /// before this returns, or later from the actor that owns the engine's I/O.
    fn append(&mut self, publication: Publication, now: Duration, stored: &mut Vec<Stored>);

    /// Where `topic` stands: its epoch and the offset of its last message, 0 before the first.
    fn position(&mut self, topic: &Topic, now: Duration) -> Position;

    /// Whether anybody subscribes to `topic` now. A topic that nobody uses may be forgotten.
    fn set_in_use(&mut self, topic: &Topic, in_use: bool, now: Duration);

    /// Time has passed.
    fn tick(&mut self, now: Duration);
}
