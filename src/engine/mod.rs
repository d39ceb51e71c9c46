//! Where topics live beyond the registry: the port through which every published message gets its position, and that
//! remembers what was published and who is there. What any engine must do is in `conformance`.

#[cfg(test)]
mod conformance;
pub(crate) mod memory;

use std::sync::Arc;
use std::time::Duration;

use topichub_protocol::command::CommandError;
use topichub_protocol::message::Position;
use topichub_protocol::reply::{Member, MemberId, Presence};
use topichub_protocol::topic::{Pattern, Topic};

use crate::hub::input::{Asker, Publication, SessionRef};
use crate::hub::permit::Permit;
use crate::hub::published::Published;
use crate::settings::Settings;

/// What has become of a publication.
#[derive(Debug)]
pub(crate) enum Appended {
    /// It has its place in the topic.
    Stored { published: Arc<Published>, asker: Asker, subscribers: u32, permit: Option<Permit> },
    /// It was published before, under the same `dedup`: its place then, and whom it reached.
    Duplicate { topic: Topic, position: Position, subscribers: u32, asker: Asker },
    /// What it takes for granted is not so; nothing was published.
    Refused { asker: Asker, error: CommandError },
}

/// Where a topic's log begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Its epoch, and the offset of its last message, 0 before the first.
    pub(crate) end: Position,
    /// The offset of the oldest message that is retained; one more than that of the last if none is.
    pub(crate) oldest: u64,
}

/// How much is read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageLimits {
    pub(crate) messages: usize,
    /// Of payloads; one message is read whatever its length.
    pub(crate) bytes: usize,
}

/// What a session's coming or going means to those who watch: members are users, with any number of sessions.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// Nothing that is to be seen but a number of sessions.
    None,
    /// Somebody has come, or shows other data now.
    Joined(Member),
    /// The last session of somebody has gone.
    Left(MemberId),
}

/// Assigns positions and remembers topics. `now` is the time since the hub began.
pub(crate) trait Engine: Send {
    /// Takes a publication. Per topic they come back in order and with offsets that rise by one, either in `appended`
    /// before this returns, or later from the actor that owns the engine's I/O.
    fn append(&mut self, publication: Publication, now: Duration, appended: &mut Vec<Appended>);

    /// Where `topic` stands and how far back its history reaches.
    fn extent(&mut self, topic: &Topic, now: Duration) -> Extent;

    /// Appends to `page` the retained messages with offsets above `behind`, oldest first, without those whose time is
    /// over. Returns how far it has read: everything up to that offset is on the page, or is no more.
    fn read(
        &mut self,
        topic: &Topic,
        behind: u64,
        limits: PageLimits,
        now: Duration,
        page: &mut Vec<Arc<Published>>,
    ) -> u64;

    /// The same backward: the newest messages with offsets below `before`, but on the page the oldest comes first.
    /// Returns how far back it has read: everything from that offset on is on the page, or is no more.
    fn read_back(
        &mut self,
        topic: &Topic,
        before: u64,
        limits: PageLimits,
        now: Duration,
        page: &mut Vec<Arc<Published>>,
    ) -> u64;

    /// The offset behind which the messages are that were published at `since` or later.
    fn behind(&mut self, topic: &Topic, since: Duration, now: Duration) -> u64;

    /// All topics that match and exist.
    ///
    /// # Errors
    /// If they are more than `max`: how many it found until it knew, since there may be a million.
    fn matching(&mut self, pattern: &Pattern, max: usize) -> Result<Vec<Topic>, usize>;

    /// Topics in the order of their names, from behind `after`, at most `limit`; with a pattern those that match. The
    /// second is where to go on, if there may be more: a page may be short, even empty, since no more than so many topics
    /// are looked at for one.
    fn list(
        &self,
        pattern: Option<&Pattern>,
        after: Option<&Topic>,
        limit: usize,
    ) -> (Vec<Topic>, Option<Topic>);

    /// Forgets the messages of a topic; offsets go on from where they are. Returns how many there were.
    fn purge(&mut self, topic: &Topic, now: Duration) -> usize;

    /// Whether there is such a topic.
    fn exists(&self, topic: &Topic) -> bool;

    /// How many topics there are.
    fn topics(&self) -> usize;

    /// How many topics there have ever been: as long as that is the same, no topic has appeared.
    fn topics_made(&self) -> u64;

    /// Whether anybody subscribes to `topic` now. A topic that nobody uses may be forgotten.
    fn set_in_use(&mut self, topic: &Topic, in_use: bool, now: Duration);

    /// A session shows itself on a topic, or shows other data. A topic on which somebody is, is in use. Nothing, or one
    /// change; two if the session had another name before and was the last of it.
    fn join(&mut self, topic: &Topic, session: SessionRef, member: Member, now: Duration) -> Vec<Change>;

    /// A session shows itself no more.
    fn leave(&mut self, topic: &Topic, session: SessionRef, now: Duration) -> Change;

    /// Who is on a topic; by name if they are no more than `named_max`. Does not create the topic.
    fn presence(&self, topic: &Topic, named_max: usize) -> Presence;

    /// Other rules, and other limits of history, hold from now on: for topics that exist as well.
    fn reload(&mut self, settings: &Settings, now: Duration);

    /// Time has passed.
    fn tick(&mut self, now: Duration);

    /// How much memory messages of the past and their topics take, in bytes.
    fn history_bytes(&self) -> usize;
}
