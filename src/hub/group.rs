//! Who on one worker thread is subscribed to one topic or pattern: a dense list to walk at every message, from which
//! a member can be taken in constant time.

use topichub_protocol::topic::Filter;

use super::input::SubscriberKey;
use super::published::Class;

slotmap::new_key_type! {
    /// A group at the fan-out of a worker thread.
    pub(crate) struct GroupKey;
}

/// One subscriber in a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) subscriber: SubscriberKey,
    pub(crate) class: Class,
}

/// All subscribers of one topic or pattern on this thread.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) filter: Filter,
    members: Vec<Member>,
    /// How many have subscribed who still get what was published before.
    pub(crate) catching_up: u32,
    of_class: [u32; Class::COUNT],
    /// Where the turn under way has messages for it: for a topic's own group the place, for a pattern's the last.
    pub(crate) in_turn: Option<u32>,
}

impl Group {
    pub(crate) fn new(filter: Filter) -> Self {
        Self { filter, members: Vec::new(), catching_up: 0, of_class: [0; Class::COUNT], in_turn: None }
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.catching_up == 0
    }

    /// Whether anybody here takes messages in this form.
    pub(crate) fn wants(&self, class: Class) -> bool {
        self.of_class[class as usize] > 0
    }

    /// Adds a member and returns its place.
    pub(crate) fn add(&mut self, member: Member) -> u32 {
        self.of_class[member.class as usize] += 1;
        // Most topics have one subscriber or few: a vector that grows by itself begins with room for four.
        self.members.reserve_exact(usize::from(self.members.is_empty()));
        self.members.push(member);
        (self.members.len() - 1) as u32
    }

    /// Takes out the member at `place`. If another moved into that place, it is returned, so that it can be told.
    pub(crate) fn remove(&mut self, place: u32) -> Option<SubscriberKey> {
        let removed = self.members.swap_remove(place as usize);
        self.of_class[removed.class as usize] -= 1;
        self.members.get(place as usize).map(|moved| moved.subscriber)
    }
}
