//! Requests that wait for an answer: who asked, and until when. How a request gets to those who may answer, and what
//! the answer says, is not known here.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use topichub_protocol::command::ReplyTo;

use super::input::Asker;
use super::permit::Permit;

/// The number of a request and its deadline, which comes first: the order in which requests are given up.
type Due = (Duration, u64);

#[derive(Debug)]
struct Waiting {
    due: Due,
    asker: Asker,
    permit: Option<Permit>,
}

/// All requests under way. Each keeps the permit of who asks, so that their limit on what is on its way bounds this too.
#[derive(Debug)]
pub(crate) struct Requests {
    secret: u64,
    opened: u64,
    /// Trees, which shrink as requests are answered.
    waiting: BTreeMap<u64, Waiting>,
    /// The keys of `waiting` by deadline.
    due: BTreeMap<Due, u64>,
}

impl Requests {
    /// `secret` should be random: it keeps those who get one request from answering others in somebody's place.
    pub(crate) fn new(secret: u64) -> Self {
        Self { secret, opened: 0, waiting: BTreeMap::new(), due: BTreeMap::new() }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// `asker` waits from now on, for at most `timeout`.
    pub(crate) fn open(
        &mut self,
        asker: Asker,
        timeout: Duration,
        permit: Option<Permit>,
        now: Duration,
    ) -> ReplyTo {
        let mut reply_to = self.next_number();
        while self.waiting.contains_key(&reply_to) {
            reply_to = self.next_number();
        }
        let due = (now.saturating_add(timeout), self.opened);
        self.due.insert(due, reply_to);
        self.waiting.insert(reply_to, Waiting { due, asker, permit });
        ReplyTo(reply_to)
    }

    /// The first answer has come: to whom it goes. `None` if nobody waits for it, or nobody does any more.
    pub(crate) fn answer(&mut self, reply_to: ReplyTo) -> Option<(Asker, Option<Permit>)> {
        let Waiting { due, asker, permit } = self.waiting.remove(&reply_to.0)?;
        self.due.remove(&due);
        Some((asker, permit))
    }

    /// Somebody who has waited long enough at `now`, and waits no more; who was to be answered first comes first.
    pub(crate) fn overdue(&mut self, now: Duration) -> Option<(Asker, Option<Permit>)> {
        let (_, reply_to) = self.due.first_key_value().filter(|((deadline, _), _)| *deadline <= now)?;
        self.answer(ReplyTo(*reply_to))
    }

    /// When somebody will have waited long enough.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.due.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    /// A number that nobody can guess from others: a keyed SipHash of a counter. The standard one takes no key, so the
    /// secret is hashed along; on both sides, since what comes last could otherwise be taken off again.
    fn next_number(&mut self) -> u64 {
        self.opened += 1;
        let mut hasher = DefaultHasher::new();
        (self.secret, self.opened, self.secret).hash(&mut hasher);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::input::Ticket;
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn caller(number: u64) -> Asker {
        Asker::Caller(Ticket(number))
    }

    /// Opens the request of a caller without a permit.
    fn open(requests: &mut Requests, number: u64, timeout: u64, now: u64) -> ReplyTo {
        requests.open(caller(number), at(timeout), None, at(now))
    }

    fn asker((asker, _): (Asker, Option<Permit>)) -> Asker {
        asker
    }

    fn is_empty(requests: &Requests) -> bool {
        requests.len() == 0 && requests.waiting.is_empty() && requests.due.is_empty()
    }

    #[test]
    fn the_first_answer_goes_to_who_asked_and_a_second_to_nobody() {
        let mut requests = Requests::new(7);
        let first = open(&mut requests, 1, 5, 0);
        let second = open(&mut requests, 2, 5, 0);
        assert_eq!(requests.answer(second).map(asker), Some(caller(2)));
        assert_eq!(requests.answer(second).map(asker), None);
        assert_eq!(requests.answer(first).map(asker), Some(caller(1)));
        assert_eq!(requests.overdue(at(1000)).map(asker), None);
        assert!(is_empty(&requests));
    }

    #[test]
    fn who_waits_too_long_is_told_in_order_of_deadline_and_of_asking() {
        let mut requests = Requests::new(7);
        let late = open(&mut requests, 1, 30, 0);
        open(&mut requests, 2, 5, 1);
        open(&mut requests, 3, 5, 1);
        open(&mut requests, 4, 2, 1);
        assert_eq!(requests.next_due(), Some(at(3)));
        assert_eq!(requests.overdue(at(3) - Duration::from_nanos(1)).map(asker), None);
        let told: Vec<_> = std::iter::from_fn(|| requests.overdue(at(6)).map(asker)).collect();
        assert_eq!(told, [caller(4), caller(2), caller(3)]);
        assert_eq!(requests.next_due(), Some(at(30)));
        assert_eq!(requests.answer(late).map(asker), Some(caller(1)));
        assert_eq!(requests.next_due(), None);
    }

    #[test]
    fn an_answer_after_the_deadline_counts_until_the_asker_has_been_told() {
        let mut requests = Requests::new(7);
        let request = open(&mut requests, 1, 5, 0);
        assert_eq!(requests.answer(request).map(asker), Some(caller(1)), "nobody has looked at the time");
        let request = open(&mut requests, 2, 5, 0);
        assert_eq!(requests.overdue(at(5)).map(asker), Some(caller(2)));
        assert_eq!(requests.answer(request).map(asker), None);
    }

    #[test]
    fn a_million_answered_requests_leave_nothing_behind_though_their_deadlines_are_far() {
        let mut requests = Requests::new(7);
        for number in 0..1_000_000 {
            let request = open(&mut requests, number, 600, 0);
            assert!(requests.answer(request).is_some());
            assert_eq!((requests.waiting.len(), requests.due.len()), (0, 0));
        }
        assert_eq!(requests.next_due(), None);
    }

    #[test]
    fn a_request_holds_its_permit_until_it_is_answered_or_given_up() {
        let mut requests = Requests::new(7);
        let share = Arc::new(());
        let ask = |requests: &mut Requests| {
            requests.open(caller(1), at(5), Some(Permit::holding(Arc::clone(&share))), at(0))
        };
        let answered = ask(&mut requests);
        ask(&mut requests);
        assert_eq!(Arc::strong_count(&share), 3);
        drop(requests.answer(answered));
        assert_eq!(Arc::strong_count(&share), 2);
        drop(requests.overdue(at(5)));
        assert_eq!(Arc::strong_count(&share), 1);
    }

    #[test]
    fn a_timeout_without_end_is_one() {
        let mut requests = Requests::new(7);
        requests.open(caller(1), Duration::MAX, None, at(1));
        assert_eq!(requests.overdue(Duration::MAX - at(1)).map(asker), None);
        assert_eq!(requests.next_due(), Some(Duration::MAX));
    }

    #[test]
    fn where_answers_go_differs_with_each_request_and_each_secret() {
        let numbers = |secret| {
            let mut requests = Requests::new(secret);
            (0..1000).map(|number| open(&mut requests, number, 5, 0).0).collect::<HashSet<_>>()
        };
        let (one, other) = (numbers(0), numbers(1));
        assert_eq!((one.len(), other.len()), (1000, 1000));
        assert!(one.is_disjoint(&other));
        let distances = |numbers: HashSet<u64>| numbers.into_iter().map(u64::leading_zeros).max();
        assert!(distances(one) < Some(32), "small numbers could be tried out");
    }

    #[test]
    fn a_number_that_is_pending_is_not_given_out_again() {
        let mut requests = Requests::new(7);
        let pending = open(&mut requests, 1, 5, 0);
        // As if the hash of the next count were the same.
        requests.opened = 0;
        let next = open(&mut requests, 2, 5, 0);
        assert_ne!(next, pending);
        assert_eq!(requests.answer(pending).map(asker), Some(caller(1)));
        assert_eq!(requests.answer(next).map(asker), Some(caller(2)));
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Open { timeout: u64 },
        Answer { number: usize },
        Wait { seconds: u64 },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..20_u64).prop_map(|timeout| Step::Open { timeout }),
            3 => (0..40_usize).prop_map(|number| Step::Answer { number }),
            2 => (0..8_u64).prop_map(|seconds| Step::Wait { seconds }),
        ];
        proptest::collection::vec(step, 0..100)
    }

    proptest! {
        /// Beside a naive list of all that were ever asked.
        #[test]
        fn each_request_ends_once_by_its_first_answer_or_at_its_deadline(steps in steps()) {
            let (mut requests, mut now) = (Requests::new(7), 0);
            let mut asked: Vec<ReplyTo> = Vec::new();
            let mut deadlines: HashMap<usize, u64> = HashMap::new();
            for step in steps {
                match step {
                    Step::Open { timeout } => {
                        deadlines.insert(asked.len(), now + timeout);
                        asked.push(open(&mut requests, asked.len() as u64, timeout, now));
                    }
                    Step::Answer { number } => {
                        let Some(request) = asked.get(number) else { continue };
                        let expected = deadlines.remove(&number).map(|_| caller(number as u64));
                        prop_assert_eq!(requests.answer(*request).map(asker), expected);
                    }
                    Step::Wait { seconds } => {
                        now += seconds;
                        let mut over: Vec<_> = deadlines
                            .iter()
                            .filter(|(_, deadline)| **deadline <= now)
                            .map(|(number, deadline)| (*deadline, *number))
                            .collect();
                        over.sort_unstable();
                        for (_, number) in over {
                            deadlines.remove(&number);
                            prop_assert_eq!(requests.overdue(at(now)).map(asker), Some(caller(number as u64)));
                        }
                        prop_assert_eq!(requests.overdue(at(now)).map(asker), None);
                    }
                }
                prop_assert_eq!(requests.len(), deadlines.len());
                prop_assert_eq!(requests.next_due(), deadlines.values().min().copied().map(at));
            }
        }
    }
}
