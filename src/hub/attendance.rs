//! Who is to be told who comes and goes on a topic, and when: at once after a quiet time, else together with all that
//! happens until the interval is over. Who is there is the engine's to know; this keeps what was told last.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use topichub_protocol::message::Payload;
use topichub_protocol::reply::{Member, MemberId, Presence};
use topichub_protocol::topic::Topic;

use super::input::WorkerId;
use crate::engine::Change;

/// What those who watch a topic are to be told, beside how many are there now.
#[derive(Debug, PartialEq)]
pub(crate) struct Due {
    pub(crate) topic: Topic,
    /// `false` if there is too much to be named, now or when they were told last: then `joined` and `left` are empty,
    /// and who watches is best told the state, by name if it can be. Answer with [`Attendance::told`].
    pub(crate) named: bool,
    pub(crate) joined: Vec<Member>,
    pub(crate) left: Vec<MemberId>,
    pub(crate) workers: Vec<WorkerId>,
}

/// What becomes of changes until they are told. Topics that nobody watches take no memory.
#[derive(Debug)]
pub(crate) struct Attendance {
    interval: Duration,
    named_max: usize,
    topics: HashMap<Topic, Watched>,
    /// When which topic is due, for those that have something to tell.
    due: BTreeSet<(Duration, Topic)>,
}

impl Attendance {
    /// Watchers of a topic are told something at most once in `interval`. For each topic at most `named_max` members
    /// and as many changes are kept.
    pub(crate) fn new(interval: Duration, named_max: usize) -> Self {
        Self { interval, named_max, topics: HashMap::new(), due: BTreeSet::new() }
    }

    /// A session of `worker` watches from now on, beside others. It must be told the state: see [`told`](Self::told).
    pub(crate) fn watch(&mut self, topic: &Topic, worker: WorkerId) {
        let watched = self.topics.entry(topic.clone()).or_default();
        match watched.workers.iter_mut().find(|(other, _)| *other == worker) {
            Some((_, sessions)) => *sessions += 1,
            None => watched.workers.push((worker, 1)),
        }
        watched.doubt();
    }

    /// One session less of `worker` watches.
    pub(crate) fn unwatch(&mut self, topic: &Topic, worker: WorkerId) {
        let Some(watched) = self.topics.get_mut(topic) else { return };
        let Some(at) = watched.workers.iter().position(|(other, _)| *other == worker) else { return };
        watched.workers[at].1 -= 1;
        if watched.workers[at].1 == 0 {
            watched.workers.remove(at);
        }
        if watched.workers.is_empty() {
            if let Some(at) = watched.due {
                self.due.remove(&(at, topic.clone()));
            }
            self.topics.remove(topic);
        }
    }

    /// No session of `worker` watches anything any more.
    pub(crate) fn leave_worker(&mut self, worker: WorkerId) {
        self.topics.retain(|_, watched| {
            watched.workers.retain(|(other, _)| *other != worker);
            !watched.workers.is_empty()
        });
        self.due.retain(|(_, topic)| self.topics.contains_key(topic));
    }

    /// The state was told, by name up to `named_max`: to one who watches since just now, or, after something due that
    /// was not `named`, to all.
    ///
    /// From here on it is known who was there before they came or went, so that coming and going within one interval
    /// cancels out. Without it everything is told, and what was told before may be told again.
    pub(crate) fn told(&mut self, topic: &Topic, presence: &Presence) {
        let Some(watched) = self.topics.get_mut(topic) else { return };
        watched.doubt();
        match (&watched.roster, &presence.members) {
            (_, None) => watched.forget_names(),
            // Those who watched before know the same, but for the changes that they will be told.
            (Roster::Known(_), Some(_)) => {}
            // The others have lost count of names, and will be told the state with the next change.
            (Roster::Unnamed, Some(_)) => {}
            (Roster::Unknown, Some(members)) => {
                let members = members.iter().map(|member| (member.id.clone(), member.data.clone()));
                watched.roster = Roster::Known(members.collect());
            }
        }
    }

    /// Somebody has come or gone, or only a session of somebody.
    pub(crate) fn changed(&mut self, topic: &Topic, change: Change, now: Duration) {
        let Some(watched) = self.topics.get_mut(topic) else { return };
        match change {
            Change::None => watched.recounted = true,
            Change::Joined(Member { id, data }) => watched.note(id, Standing::Present(data), self.named_max),
            Change::Left(id) => watched.note(id, Standing::Absent, self.named_max),
        }
        match (watched.due, watched.recounted || !watched.changes.is_empty()) {
            (None, true) => {
                let at = now.max(watched.quiet_until);
                watched.due = Some(at);
                self.due.insert((at, topic.clone()));
            }
            (Some(at), false) => {
                watched.due = None;
                self.due.remove(&(at, topic.clone()));
            }
            (None, false) | (Some(_), true) => {}
        }
    }

    /// What is to be told at `now` about one topic; to be asked until there is nothing.
    pub(crate) fn due(&mut self, now: Duration) -> Option<Due> {
        self.due.first().filter(|(at, _)| *at <= now)?;
        let (_, topic) = self.due.pop_first()?;
        let watched = self.topics.get_mut(&topic)?;
        watched.due = None;
        watched.quiet_until = now + self.interval;
        Some(watched.tell(topic, self.named_max))
    }

    /// When there will be something to tell.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.due.first().map(|(at, _)| *at)
    }
}

/// A topic that somebody watches.
#[derive(Debug, Default)]
struct Watched {
    /// With how many sessions that watch.
    workers: Vec<(WorkerId, u32)>,
    roster: Roster,
    /// Since it was told last.
    changes: BTreeMap<MemberId, Pending>,
    /// Whether there may be more or fewer members or sessions than `changes` tells.
    recounted: bool,
    /// The end of the interval in which it was told last.
    quiet_until: Duration,
    due: Option<Duration>,
}

/// Who was there when it was told last.
#[derive(Debug, Default)]
enum Roster {
    /// Nobody said so.
    #[default]
    Unknown,
    Known(BTreeMap<MemberId, Option<Payload>>),
    /// Some who watch do not know it by name, and cannot make sense of changes.
    Unnamed,
}

/// Whether somebody is there, and with what to see.
#[derive(Clone, Debug, PartialEq)]
enum Standing {
    Absent,
    Present(Option<Payload>),
}

/// What has become of one member since it was told last.
#[derive(Debug)]
struct Pending {
    /// `None` if it is not known, or not everybody knows the same.
    before: Option<Standing>,
    after: Standing,
    /// Whether a second session may have come, so that the counts differ even if nothing else does.
    recounted: bool,
}

impl Pending {
    fn is_seen(&self) -> bool {
        self.before.as_ref() != Some(&self.after)
    }

    /// Whether it is all as if nothing had happened.
    fn is_void(&self) -> bool {
        !self.is_seen() && (self.after == Standing::Absent || !self.recounted)
    }
}

impl Watched {
    fn note(&mut self, id: MemberId, after: Standing, named_max: usize) {
        let before = match &self.roster {
            Roster::Unnamed => return self.recounted = true,
            Roster::Unknown => None,
            Roster::Known(members) => Some(match members.get(&id) {
                Some(data) => Standing::Present(data.clone()),
                None => Standing::Absent,
            }),
        };
        let still_there = |then: &Standing| *then != Standing::Absent && after != Standing::Absent;
        match self.changes.entry(id) {
            Entry::Vacant(entry) => {
                let recounted = before.as_ref().is_some_and(still_there);
                let pending = Pending { before, after, recounted };
                if !pending.is_void() {
                    entry.insert(pending);
                }
            }
            Entry::Occupied(mut entry) => {
                let pending = entry.get_mut();
                pending.recounted |= still_there(&pending.after);
                pending.after = after;
                if pending.is_void() {
                    entry.remove();
                }
            }
        }
        if self.changes.len() > named_max {
            self.forget_names();
        }
    }

    /// Somebody has been told the state as it is amid the changes, so none of them may cancel out.
    fn doubt(&mut self) {
        self.changes.values_mut().for_each(|pending| pending.before = None);
    }

    fn forget_names(&mut self) {
        self.recounted |= !self.changes.is_empty();
        self.changes.clear();
        self.roster = Roster::Unnamed;
    }

    fn tell(&mut self, topic: Topic, named_max: usize) -> Due {
        let (mut joined, mut left) = (Vec::new(), Vec::new());
        for (id, pending) in std::mem::take(&mut self.changes) {
            if !pending.is_seen() {
                continue;
            }
            if let Roster::Known(members) = &mut self.roster {
                match &pending.after {
                    Standing::Absent => members.remove(&id),
                    Standing::Present(data) => members.insert(id.clone(), data.clone()),
                };
            }
            match pending.after {
                Standing::Absent => left.push(id),
                Standing::Present(data) => joined.push(Member { id, data }),
            }
        }
        self.recounted = false;
        let named = match &self.roster {
            Roster::Unknown => true,
            Roster::Known(members) => members.len() <= named_max,
            Roster::Unnamed => false,
        };
        if !named {
            (joined, left) = (Vec::new(), Vec::new());
            self.roster = Roster::Unknown;
        }
        let workers = self.workers.iter().map(|(worker, _)| *worker).collect();
        Due { topic, named, joined, left, workers }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn topic(name: &str) -> Topic {
        Topic::parse(name).unwrap()
    }

    fn user(name: &str) -> MemberId {
        MemberId::User(name.into())
    }

    /// Somebody who shows a number.
    fn member(name: &str, number: u32) -> Member {
        Member { id: user(name), data: Some(Payload::of(&number).unwrap()) }
    }

    fn joined(name: &str, number: u32) -> Change {
        Change::Joined(member(name, number))
    }

    fn left(name: &str) -> Change {
        Change::Left(user(name))
    }

    fn state(topic: &Topic, members: &[Member]) -> Presence {
        let count = members.len() as u64;
        Presence { topic: topic.clone(), count, sessions: count, members: Some(members.to_vec()) }
    }

    /// A lobby that worker 1 watches, and who was there when it began to.
    fn lobby(named_max: usize, there: &[Member]) -> (Attendance, Topic) {
        let (mut attendance, lobby) = (Attendance::new(INTERVAL, named_max), topic("lobby"));
        attendance.watch(&lobby, WorkerId(1));
        attendance.told(&lobby, &state(&lobby, there));
        (attendance, lobby)
    }

    /// The same in the midst of an interval: it was told just now that somebody called doorman came.
    fn busy_lobby(there: &[Member]) -> (Attendance, Topic) {
        let (mut attendance, lobby) = lobby(100, there);
        attendance.changed(&lobby, joined("doorman", 0), at(0));
        assert!(attendance.due(at(0)).is_some());
        (attendance, lobby)
    }

    fn due(topic: &Topic, joined: &[Member], left: &[&str]) -> Option<Due> {
        Some(Due {
            topic: topic.clone(),
            named: true,
            joined: joined.to_vec(),
            left: left.iter().map(|name| user(name)).collect(),
            workers: vec![WorkerId(1)],
        })
    }

    fn is_empty(attendance: &Attendance) -> bool {
        attendance.topics.is_empty() && attendance.due.is_empty()
    }

    #[test]
    fn ten_thousand_join_within_one_interval_and_are_told_once_at_once_and_once_at_its_end() {
        let (mut attendance, lobby) = lobby(10_000, &[]);
        let mut told = Vec::new();
        for number in 0..10_000_u64 {
            let now = at(5000) + INTERVAL * number as u32 / 10_000;
            attendance.changed(&lobby, joined(&format!("{number:04}"), 0), now);
            told.extend(attendance.due(now).map(|due| (now, due.joined.len())));
        }
        assert_eq!(attendance.next_due(), Some(at(6000)));
        told.extend(attendance.due(at(6000)).map(|due| (at(6000), due.joined.len())));
        assert_eq!(told, [(at(5000), 1), (at(6000), 9999)]);
        assert_eq!((attendance.next_due(), attendance.due(at(60_000))), (None, None));
    }

    #[test]
    fn too_many_to_be_named_are_told_as_counts_and_take_no_memory() {
        let (mut attendance, lobby) = lobby(1000, &[]);
        for number in 0..10_000 {
            attendance.changed(&lobby, joined(&number.to_string(), 0), at(0));
            assert!(attendance.topics[&lobby].changes.len() <= 1000);
        }
        let told = attendance.due(at(0)).unwrap();
        assert!(!told.named && told.joined.is_empty());
        attendance.told(&lobby, &Presence { members: None, count: 10_000, ..state(&lobby, &[]) });

        // One of so many goes: whoever watches could not say who is left.
        attendance.changed(&lobby, left("1"), at(100));
        assert_eq!(attendance.next_due(), Some(at(1000)));
        let told = attendance.due(at(1000)).unwrap();
        assert!(!told.named && told.left.is_empty());

        // Then nearly all: the state is told, and from there on changes.
        attendance.told(&lobby, &state(&lobby, &[member("2", 0), member("3", 0)]));
        attendance.changed(&lobby, left("2"), at(5000));
        assert_eq!(attendance.due(at(5000)), due(&lobby, &[], &["2"]));
    }

    #[test]
    fn more_members_than_can_be_named_are_not_though_the_changes_are_few() {
        let (mut attendance, lobby) = lobby(2, &[member("ann", 1), member("bob", 1)]);
        attendance.changed(&lobby, joined("eve", 1), at(0));
        assert!(attendance.due(at(0)).is_some_and(|due| !due.named && due.joined.is_empty()));
    }

    #[test]
    fn who_comes_and_goes_within_an_interval_was_never_there() {
        let (mut attendance, lobby) = busy_lobby(&[]);
        attendance.changed(&lobby, joined("ann", 1), at(100));
        assert_eq!(attendance.next_due(), Some(at(1000)));
        attendance.changed(&lobby, joined("ann", 2), at(200));
        attendance.changed(&lobby, left("ann"), at(300));
        assert_eq!((attendance.next_due(), attendance.due(at(60_000))), (None, None));
    }

    #[test]
    fn who_goes_and_comes_back_as_before_never_went() {
        let (mut attendance, lobby) = busy_lobby(&[member("ann", 1)]);
        attendance.changed(&lobby, left("ann"), at(100));
        attendance.changed(&lobby, joined("ann", 1), at(200));
        assert_eq!((attendance.next_due(), attendance.due(at(60_000))), (None, None));
    }

    #[test]
    fn who_goes_and_comes_back_otherwise_is_told_as_they_are_now() {
        let (mut attendance, lobby) = busy_lobby(&[member("ann", 1)]);
        attendance.changed(&lobby, left("ann"), at(100));
        attendance.changed(&lobby, joined("ann", 2), at(200));
        attendance.changed(&lobby, joined("ann", 3), at(300));
        assert_eq!(attendance.due(at(1000)), due(&lobby, &[member("ann", 3)], &[]));

        // That is what is known from now on.
        attendance.changed(&lobby, left("ann"), at(1100));
        attendance.changed(&lobby, joined("ann", 3), at(1200));
        assert_eq!(attendance.next_due(), None);
    }

    #[test]
    fn who_was_there_and_goes_is_told_though_they_showed_something_else_meanwhile() {
        let (mut attendance, lobby) = busy_lobby(&[member("ann", 1)]);
        attendance.changed(&lobby, joined("ann", 2), at(100));
        attendance.changed(&lobby, left("ann"), at(200));
        assert_eq!(attendance.due(at(1000)), due(&lobby, &[], &["ann"]));
    }

    #[test]
    fn a_number_of_sessions_is_told_even_if_everybody_shows_what_they_showed() {
        let (mut attendance, lobby) = busy_lobby(&[member("ann", 1)]);
        attendance.changed(&lobby, Change::None, at(100));
        assert_eq!(attendance.due(at(1000)), due(&lobby, &[], &[]));
        // A second session shows something else, and then what the first does.
        attendance.changed(&lobby, joined("ann", 2), at(1100));
        attendance.changed(&lobby, joined("ann", 1), at(1200));
        assert_eq!(attendance.due(at(2000)), due(&lobby, &[], &[]));
        // The same after all had gone.
        attendance.changed(&lobby, left("ann"), at(2100));
        attendance.changed(&lobby, joined("ann", 2), at(2200));
        attendance.changed(&lobby, joined("ann", 1), at(2300));
        assert_eq!(attendance.due(at(3000)), due(&lobby, &[], &[]));
        // Of two sessions one goes, so that the other is seen, then that too; one comes back as the first.
        attendance.changed(&lobby, joined("ann", 2), at(3100));
        attendance.changed(&lobby, left("ann"), at(3200));
        attendance.changed(&lobby, joined("ann", 1), at(3300));
        assert_eq!(attendance.due(at(4000)), due(&lobby, &[], &[]));
    }

    #[test]
    fn who_watches_since_the_midst_of_an_interval_is_told_what_cancels_out_for_others() {
        let (mut attendance, lobby) = busy_lobby(&[member("bob", 1)]);
        attendance.changed(&lobby, joined("ann", 1), at(100));
        attendance.changed(&lobby, left("bob"), at(100));
        attendance.watch(&lobby, WorkerId(1));
        attendance.told(&lobby, &state(&lobby, &[member("ann", 1), member("doorman", 0)]));
        attendance.changed(&lobby, left("ann"), at(200));
        attendance.changed(&lobby, joined("bob", 1), at(200));
        assert_eq!(attendance.due(at(1000)), due(&lobby, &[member("bob", 1)], &["ann"]));
    }

    #[test]
    fn without_a_word_on_who_was_there_everything_is_told() {
        let (mut attendance, lobby) = (Attendance::new(INTERVAL, 100), topic("lobby"));
        attendance.watch(&lobby, WorkerId(1));
        attendance.changed(&lobby, joined("ann", 2), at(0));
        attendance.changed(&lobby, left("ann"), at(0));
        attendance.changed(&lobby, left("bob"), at(0));
        attendance.changed(&lobby, joined("bob", 1), at(0));
        assert_eq!(attendance.due(at(0)), due(&lobby, &[member("bob", 1)], &["ann"]));
    }

    #[test]
    fn a_topic_that_nobody_watches_takes_no_memory() {
        let (mut attendance, lobby) = lobby(100, &[]);
        let hall = topic("hall");
        attendance.changed(&hall, joined("ann", 1), at(0));
        assert_eq!(attendance.due(at(0)), None);

        attendance.watch(&lobby, WorkerId(1));
        attendance.watch(&hall, WorkerId(2));
        attendance.changed(&lobby, joined("ann", 1), at(0));
        attendance.changed(&hall, joined("ann", 1), at(0));
        attendance.unwatch(&lobby, WorkerId(1));
        attendance.unwatch(&lobby, WorkerId(2));
        attendance.unwatch(&topic("yard"), WorkerId(1));
        assert_eq!((attendance.topics.len(), attendance.due.len()), (2, 2), "a session watches yet");
        attendance.unwatch(&lobby, WorkerId(1));
        assert_eq!((attendance.topics.len(), attendance.due.len()), (1, 1));
        attendance.leave_worker(WorkerId(2));
        assert!(is_empty(&attendance));
    }

    #[test]
    fn each_worker_that_watches_is_told_once() {
        let (mut attendance, lobby) = lobby(100, &[]);
        [3, 2, 3, 1].into_iter().for_each(|worker| attendance.watch(&lobby, WorkerId(worker)));
        attendance.changed(&lobby, joined("ann", 1), at(0));
        assert_eq!(attendance.due(at(0)).unwrap().workers, [1, 3, 2].map(WorkerId));
        attendance.unwatch(&lobby, WorkerId(3));
        attendance.leave_worker(WorkerId(1));
        attendance.unwatch(&lobby, WorkerId(2));
        attendance.changed(&lobby, joined("bob", 1), at(5000));
        assert_eq!(attendance.due(at(5000)).unwrap().workers, [WorkerId(3)]);
    }

    #[test]
    fn topics_come_in_the_order_in_which_they_are_due() {
        let mut attendance = Attendance::new(INTERVAL, 100);
        let topics = ["c", "a", "b"].map(topic);
        for (number, topic) in (0..).zip(&topics) {
            attendance.watch(topic, WorkerId(1));
            for name in ["ann", "bob"] {
                attendance.changed(topic, joined(name, 1), at(number * 100));
                _ = attendance.due(at(number * 100));
            }
        }
        assert_eq!(attendance.due(at(999)), None);
        let order: Vec<_> = std::iter::from_fn(|| attendance.due(at(9000)).map(|due| due.topic)).collect();
        assert_eq!(order, topics);
    }

    /// Who is there, by what stands for an engine: users with their sessions, of which the last shows what is seen.
    #[derive(Debug, Default)]
    struct There(BTreeMap<usize, Vec<(u32, u32)>>);

    impl There {
        fn shown(&self, name: usize) -> Option<Member> {
            let (_, number) = self.0.get(&name)?.last()?;
            Some(member(&name.to_string(), *number))
        }

        fn holds(&self, name: usize, session: u32) -> bool {
            self.0.get(&name).is_some_and(|sessions| sessions.iter().any(|(other, _)| *other == session))
        }

        /// A session leaves, or shows a number.
        fn change(&mut self, name: usize, session: u32, number: Option<u32>) -> Change {
            let before = self.shown(name);
            let sessions = self.0.entry(name).or_default();
            sessions.retain(|(other, _)| *other != session);
            sessions.extend(number.map(|number| (session, number)));
            self.0.retain(|_, sessions| !sessions.is_empty());
            match (before, self.shown(name)) {
                (before, after) if before == after => Change::None,
                (_, Some(member)) => Change::Joined(member),
                (_, None) => Change::Left(user(&name.to_string())),
            }
        }

        fn presence(&self, topic: &Topic, named_max: usize) -> Presence {
            let sessions = self.0.values().map(|sessions| sessions.len() as u64).sum();
            let members = self.0.keys().filter_map(|name| self.shown(*name)).collect();
            let members = Some(members).filter(|members: &Vec<Member>| members.len() <= named_max);
            Presence { topic: topic.clone(), count: self.0.len() as u64, sessions, members }
        }
    }

    /// What one who watches makes of what it is told.
    #[derive(Debug)]
    struct View {
        counts: (u64, u64),
        members: Option<BTreeMap<MemberId, Option<Payload>>>,
    }

    impl View {
        fn of(presence: &Presence) -> Self {
            let members = presence.members.as_ref();
            let members =
                members.map(|members| members.iter().map(|m| (m.id.clone(), m.data.clone())).collect());
            Self { counts: (presence.count, presence.sessions), members }
        }

        fn apply(&mut self, due: &Due, presence: &Presence) {
            self.counts = (presence.count, presence.sessions);
            let Some(members) = &mut self.members else { return };
            due.left.iter().for_each(|id| _ = members.remove(id));
            members.extend(due.joined.iter().map(|member| (member.id.clone(), member.data.clone())));
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Change { name: usize, session: u32, number: Option<u32> },
        Watch,
        Wait { millis: u64 },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let change = (0..4_usize, 0..3_u32, proptest::option::of(0..2_u32));
        let step = prop_oneof![
            8 => change.prop_map(|(name, session, number)| Step::Change { name, session, number }),
            1 => Just(Step::Watch),
            3 => (0..700_u64).prop_map(|millis| Step::Wait { millis }),
        ];
        proptest::collection::vec(step, 0..120)
    }

    proptest! {
        #[test]
        fn all_who_watch_know_who_is_there_at_the_end_of_each_interval(steps in steps(), named_max in 0..6_usize) {
            let (mut attendance, lobby) = (Attendance::new(INTERVAL, named_max), topic("lobby"));
            let (mut there, mut views): (There, Vec<View>) = Default::default();
            let (mut now, mut last_told) = (at(0), None);
            for step in steps.into_iter().chain([Step::Wait { millis: 1000 }]) {
                match step {
                    Step::Change { name, session, number } => {
                        if number.is_none() && !there.holds(name, session) {
                            continue;
                        }
                        let change = there.change(name, session, number);
                        attendance.changed(&lobby, change, now);
                    }
                    Step::Watch => {
                        let presence = there.presence(&lobby, named_max);
                        attendance.watch(&lobby, WorkerId(1));
                        attendance.told(&lobby, &presence);
                        views.push(View::of(&presence));
                    }
                    Step::Wait { millis } => now += at(millis),
                }
                while let Some(due) = attendance.due(now) {
                    prop_assert!(last_told.is_none_or(|last| last + INTERVAL <= now), "told too soon");
                    last_told = Some(now);
                    let presence = there.presence(&lobby, named_max);
                    if due.named && presence.members.is_some() {
                        views.iter_mut().for_each(|view| view.apply(&due, &presence));
                    } else {
                        attendance.told(&lobby, &presence);
                        views.iter_mut().for_each(|view| *view = View::of(&presence));
                    }
                }
                if attendance.next_due().is_none() {
                    let expected = View::of(&there.presence(&lobby, named_max));
                    for view in &views {
                        prop_assert_eq!(view.counts, expected.counts);
                        prop_assert_eq!(&view.members, &expected.members);
                    }
                }
            }
            prop_assert_eq!(attendance.next_due(), None);
            views.iter().for_each(|_| attendance.unwatch(&lobby, WorkerId(1)));
            prop_assert!(is_empty(&attendance));
        }
    }
}
