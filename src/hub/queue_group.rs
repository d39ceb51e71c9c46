//! Who of a queue group gets the next message: the member with the least on its way, among equals in turn. Which
//! groups a topic or pattern has is kept here too; which topics there are, and how a message gets there, is not.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::input::{SessionRef, WorkerId};

/// How many members are looked at for one message. The best of so many is next to never a bad choice, and since the
/// next look begins behind the one chosen, nobody stays out of sight; so a message costs the same in a group of any size.
const SCANNED_MAX: usize = 32;

/// How many messages a member was handed since last nothing waited for its peer: a figure of its backlog that costs
/// neither side a word to the other. Messages that are between the two when it is set back are not counted.
#[derive(Debug, Default)]
pub(crate) struct Load(AtomicU32);

impl Load {
    /// The registry has handed out one message more.
    pub(crate) fn handed(&self) {
        // Where it can count no further it stays, instead of beginning anew as the least loaded.
        _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |load| load.checked_add(1));
    }

    /// Nothing waits for the peer.
    pub(crate) fn cleared(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The sessions that share the messages of one topic or pattern.
#[derive(Debug, Default)]
pub(crate) struct QueueGroup {
    members: Vec<(SessionRef, Arc<Load>)>,
    /// Where in `members` each of them is: thousands may come and go at once.
    places: HashMap<SessionRef, Place>,
    /// Where the next look begins.
    next: usize,
}

#[derive(Debug)]
struct Place {
    at: usize,
    /// How often it has joined: who leaves and joins again at once may be heard to join first.
    joins: u32,
}

impl QueueGroup {
    /// Adds a member; one that is there already has another load from now on, and leaves with its last
    /// [`leave`](Self::leave).
    pub(crate) fn join(&mut self, session: SessionRef, load: Arc<Load>) {
        match self.places.get_mut(&session) {
            Some(place) => {
                place.joins += 1;
                self.members[place.at].1 = load;
            }
            None => {
                self.places.insert(session, Place { at: self.members.len(), joins: 1 });
                self.members.push((session, load));
            }
        }
    }

    pub(crate) fn leave(&mut self, session: SessionRef) {
        let Some(place) = self.places.get_mut(&session) else { return };
        place.joins -= 1;
        if place.joins > 0 {
            return;
        }
        let at = place.at;
        self.places.remove(&session);
        self.members.swap_remove(at);
        if let Some(place) = self.members.get(at).and_then(|(moved, _)| self.places.get_mut(moved)) {
            place.at = at;
        }
    }

    /// All members of a worker leave.
    pub(crate) fn leave_worker(&mut self, worker: WorkerId) {
        self.members.retain(|(session, _)| session.worker != worker);
        self.places.retain(|session, _| session.worker != worker);
        for (at, (session, _)) in self.members.iter().enumerate() {
            if let Some(place) = self.places.get_mut(session) {
                place.at = at;
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Who gets the next message, and has it counted; `None` if nobody is there.
    pub(crate) fn pick(&mut self) -> Option<SessionRef> {
        let members = self.members.len();
        let places = (0..members.min(SCANNED_MAX)).map(|step| (self.next + step) % members);
        // Of equals the first.
        let place = places.min_by_key(|place| self.members[*place].1.get())?;
        let (session, load) = &self.members[place];
        load.handed();
        self.next = place + 1;
        Some(*session)
    }
}

/// The queue groups of one topic or pattern, by name. As few as they are, a list will do: each gets every message.
#[derive(Debug, Default)]
pub(crate) struct QueueGroups(Vec<(Box<str>, QueueGroup)>);

impl QueueGroups {
    /// Adds a member to the group of that name, the first of which makes it.
    pub(crate) fn join(&mut self, name: &str, session: SessionRef, load: Arc<Load>) {
        let place = self.place(name).unwrap_or_else(|| {
            self.0.push((name.into(), QueueGroup::default()));
            self.0.len() - 1
        });
        self.0[place].1.join(session, load);
    }

    /// Takes a member out of the group of that name, which ends with its last.
    pub(crate) fn leave(&mut self, name: &str, session: SessionRef) {
        let Some(place) = self.place(name) else { return };
        self.0[place].1.leave(session);
        if self.0[place].1.is_empty() {
            self.0.swap_remove(place);
        }
    }

    /// All members of a worker leave.
    pub(crate) fn leave_worker(&mut self, worker: WorkerId) {
        self.0.retain_mut(|(_, group)| {
            group.leave_worker(worker);
            !group.is_empty()
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many groups there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Who of the group of that name gets the next message.
    pub(crate) fn pick(&mut self, name: &str) -> Option<SessionRef> {
        let place = self.place(name)?;
        self.0[place].1.pick()
    }

    /// Tells `picked` for each group who gets the next message.
    pub(crate) fn pick_each(&mut self, picked: &mut impl FnMut(&str, SessionRef)) {
        for (name, group) in &mut self.0 {
            if let Some(session) = group.pick() {
                picked(name, session);
            }
        }
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|(other, _)| **other == *name)
    }
}

#[cfg(test)]
mod tests {
    use slotmap::KeyData;

    use super::super::input::SubscriberKey;
    use super::*;

    /// Every third session is on the same worker.
    fn session(number: usize) -> SessionRef {
        let subscriber = SubscriberKey::from(KeyData::from_ffi(number as u64 | 1 << 32));
        SessionRef { worker: WorkerId(number as u32 % 3), subscriber }
    }

    /// A group of sessions 0, 1, … and their loads.
    fn group(members: usize) -> (QueueGroup, Vec<Arc<Load>>) {
        let mut group = QueueGroup::default();
        let loads: Vec<Arc<Load>> = (0..members).map(|_| Arc::default()).collect();
        for (number, load) in loads.iter().enumerate() {
            group.join(session(number), Arc::clone(load));
        }
        (group, loads)
    }

    fn picks(group: &mut QueueGroup, messages: usize) -> Vec<SessionRef> {
        (0..messages).filter_map(|_| group.pick()).collect()
    }

    fn sessions(numbers: impl IntoIterator<Item = usize>) -> Vec<SessionRef> {
        numbers.into_iter().map(session).collect()
    }

    #[test]
    fn members_that_keep_up_take_turns() {
        let (mut group, loads) = group(3);
        let mut picked = Vec::new();
        for _ in 0..6 {
            picked.extend(group.pick());
            loads.iter().for_each(|load| load.cleared());
        }
        assert_eq!(picked, sessions([0, 1, 2, 0, 1, 2]));
    }

    #[test]
    fn members_that_all_lag_take_turns() {
        let (mut group, loads) = group(3);
        assert_eq!(picks(&mut group, 6), sessions([0, 1, 2, 0, 1, 2]));
        assert!(loads.iter().all(|load| load.get() == 2));
    }

    #[test]
    fn a_member_that_does_not_read_gets_one_message_and_then_none_until_it_has() {
        let (mut group, loads) = group(3);
        let mut to_stalled = 0;
        for _ in 0..300 {
            to_stalled += usize::from(group.pick() == Some(session(1)));
            loads[0].cleared();
            loads[2].cleared();
        }
        assert_eq!(to_stalled, 1);
        loads[1].cleared();
        assert!(picks(&mut group, 3).contains(&session(1)));
    }

    #[test]
    fn who_comes_late_is_given_messages_until_it_is_as_loaded_as_the_others() {
        let (mut group, _) = group(2);
        assert_eq!(picks(&mut group, 8).len(), 8);
        group.join(session(2), Arc::default());
        assert_eq!(picks(&mut group, 4), [session(2); 4]);
        let mut next = picks(&mut group, 3);
        next.sort_by_key(|session| session.subscriber);
        assert_eq!(next, sessions([0, 1, 2]));
    }

    #[test]
    fn joining_again_brings_another_load_and_no_second_share() {
        let (mut group, loads) = group(2);
        let load: Arc<Load> = Arc::default();
        group.join(session(0), Arc::clone(&load));
        assert_eq!(picks(&mut group, 4), sessions([0, 1, 0, 1]));
        assert_eq!((load.get(), loads[0].get(), loads[1].get()), (2, 0, 2));
        group.leave(session(0));
        assert_eq!(picks(&mut group, 2), sessions([0, 1]), "it has joined once more than it has left");
        group.leave(session(0));
        assert_eq!(picks(&mut group, 2), [session(1); 2]);
    }

    #[test]
    fn who_has_left_gets_nothing_and_everybody_else_stays() {
        let (mut group, _) = group(9);
        [8, 0, 4, 4].into_iter().for_each(|number| group.leave(session(number)));
        let mut picked = picks(&mut group, 6);
        picked.sort_by_key(|session| session.subscriber);
        assert_eq!(picked, sessions([1, 2, 3, 5, 6, 7]));

        group.leave_worker(WorkerId(1));
        let mut picked = picks(&mut group, 4);
        picked.sort_by_key(|session| session.subscriber);
        assert_eq!(picked, sessions([2, 3, 5, 6]));

        [2, 3, 5, 6].into_iter().for_each(|number| group.leave(session(number)));
        assert!(group.is_empty() && group.places.is_empty());
        assert_eq!(group.pick(), None);
    }

    #[test]
    fn five_thousand_members_share_alike_and_the_stalled_among_them_are_spared() {
        let (mut group, loads) = group(5000);
        let stalled = |number: usize| number.is_multiple_of(3);
        let numbers: HashMap<_, _> = (0..5000).map(|number| (session(number), number)).collect();
        let mut got = vec![0; 5000];
        for _ in 0..50_000 {
            let number = numbers[&group.pick().unwrap()];
            got[number] += 1;
            if !stalled(number) {
                loads[number].cleared();
            }
        }
        for (number, messages) in got.into_iter().enumerate() {
            let expected = if stalled(number) { 1..=1 } else { 13..=15 };
            assert!(expected.contains(&messages), "session {number} got {messages}");
        }
    }

    #[test]
    fn a_load_that_can_count_no_further_stays_the_largest() {
        let load = Load(AtomicU32::new(u32::MAX));
        load.handed();
        assert_eq!(load.get(), u32::MAX);
    }

    #[test]
    fn each_group_of_a_topic_gets_a_message_once_and_ends_with_its_last_member() {
        let mut groups = QueueGroups::default();
        groups.join("billing", session(0), Arc::default());
        groups.join("billing", session(1), Arc::default());
        groups.join("mail", session(1), Arc::default());
        let picked = |groups: &mut QueueGroups| {
            let mut picked = Vec::new();
            groups.pick_each(&mut |name, session| picked.push((name.to_owned(), session)));
            picked
        };
        let told = |entries: &[(&str, usize)]| -> Vec<_> {
            entries.iter().map(|(name, number)| ((*name).to_owned(), session(*number))).collect()
        };
        assert_eq!(picked(&mut groups), told(&[("billing", 0), ("mail", 1)]));
        assert_eq!(picked(&mut groups), told(&[("billing", 1), ("mail", 1)]));

        groups.leave("mail", session(0));
        groups.leave("nobody", session(0));
        groups.leave_worker(WorkerId(0));
        assert_eq!(picked(&mut groups), told(&[("billing", 1), ("mail", 1)]));
        groups.leave("billing", session(1));
        assert_eq!(picked(&mut groups), told(&[("mail", 1)]));
        groups.leave_worker(WorkerId(1));
        assert!(groups.is_empty());
        assert_eq!(picked(&mut groups), []);
    }
}
