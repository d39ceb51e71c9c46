//! The order in which the sessions of a thread are sent away: evenly over the time there is, each at a moment of its own,
//! so that those who come back do not all come at once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use uuid::Uuid;

use crate::hub::input::SubscriberKey;

/// How long a reader may take to get what it is still owed, before it is sent away all the same.
const PATIENCE: Duration = Duration::from_secs(2);

/// When it is looked again whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The most who should come back in a second: where the drain is faster, they are told to wait.
const RETURNS_PER_SECOND: u32 = 1000;

/// The least time over which they come back.
const RETURN_SPREAD_MIN: Duration = Duration::from_millis(100);

/// Numbers that nobody can foresee well enough to come back all at once.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new() -> Self {
        Self(Uuid::new_v4().as_u64_pair().0)
    }

    /// splitmix64 (Steele, Lea, Flood 2014).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to 1, which it never is.
    pub(crate) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Who is to leave, and when.
pub(crate) struct Leaving {
    /// When to look, at whom, and since when its time has come.
    due: BinaryHeap<Reverse<(Duration, SubscriberKey, Duration)>>,
    end: Duration,
    /// Over which time they come back.
    spread: Duration,
    chance: Chance,
}

impl Leaving {
    pub(crate) fn new(
        mut keys: Vec<SubscriberKey>,
        now: Duration,
        over: Duration,
        mut chance: Chance,
    ) -> Self {
        let count = keys.len();
        for last in (1..count).rev() {
            keys.swap(last, (chance.share() * (last + 1) as f64) as usize);
        }
        let slot = over.as_secs_f64() / count.max(1) as f64;
        let moments = keys.into_iter().enumerate().map(|(number, key)| {
            let moment = now + Duration::from_secs_f64(slot * (number as f64 + chance.share()));
            Reverse((moment, key, moment))
        });
        let due = moments.collect();
        let returns = Duration::from_secs(1) * count as u32 / RETURNS_PER_SECOND;
        let spread = returns.saturating_sub(over).max(RETURN_SPREAD_MIN);
        Self { due, end: now + over, spread, chance }
    }

    /// Whose time has come, and when that was.
    pub(crate) fn next(&mut self, now: Duration) -> Option<(SubscriberKey, Duration)> {
        let Reverse((_, key, due)) = *self.due.peek().filter(|Reverse((look, ..))| *look <= now)?;
        self.due.pop();
        Some((key, due))
    }

    /// Whether one whose time came at `due`, and who has yet to get something, may stay for it. If so it comes again.
    pub(crate) fn stays(&mut self, key: SubscriberKey, due: Duration, now: Duration) -> bool {
        let stays = now < (due + PATIENCE).min(self.end);
        if stays {
            self.due.push(Reverse((now + LOOK_AGAIN, key, due)));
        }
        stays
    }

    /// Whether everybody has been sent away.
    pub(crate) fn is_over(&self) -> bool {
        self.due.is_empty()
    }

    /// How long one who leaves should wait before coming back.
    pub(crate) fn after(&mut self) -> Duration {
        self.spread.mul_f64(self.chance.share())
    }
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;

    const BEGIN: Duration = Duration::from_secs(100);

    fn keys(count: usize) -> Vec<SubscriberKey> {
        let mut seats = SlotMap::with_key();
        (0..count).map(|_| seats.insert(())).collect()
    }

    fn leaving(count: usize, over: Duration) -> Leaving {
        Leaving::new(keys(count), BEGIN, over, Chance(7))
    }

    #[test]
    fn they_leave_evenly_over_the_time_each_once() {
        let over = Duration::from_secs(10);
        let mut leaving = leaving(1000, over);
        assert!(leaving.next(BEGIN - Duration::from_millis(1)).is_none());
        let mut left = Vec::new();
        for second in 1..=10 {
            let before = left.len();
            while let Some((key, _)) = leaving.next(BEGIN + Duration::from_secs(second)) {
                left.push(key);
            }
            assert!(
                (95..=105).contains(&(left.len() - before)),
                "{} in second {second}",
                left.len() - before
            );
        }
        assert_ne!(left, keys(1000), "not in the order in which they came");
        left.sort_unstable();
        assert_eq!(left, keys(1000));
    }

    #[test]
    fn without_time_all_leave_at_once_and_come_back_one_after_the_other() {
        let mut leaving = leaving(5000, Duration::ZERO);
        let mut afters = Vec::new();
        while leaving.next(BEGIN).is_some() {
            afters.push(leaving.after());
        }
        assert_eq!(afters.len(), 5000);
        for second in 0..5 {
            let within = Duration::from_secs(second)..Duration::from_secs(second + 1);
            let returning = afters.iter().filter(|after| within.contains(*after)).count();
            assert!((800..1200).contains(&returning), "{returning} in second {second}");
        }
        assert!(afters.iter().all(|after| *after < Duration::from_secs(5)));
    }

    #[test]
    fn who_is_still_owed_something_is_waited_for_but_not_for_long() {
        let mut leaving = leaving(1, Duration::ZERO);
        let (key, due) = leaving.next(BEGIN).unwrap();
        assert!(!leaving.stays(key, due, BEGIN), "without time there is no patience");
        leaving.end = BEGIN + Duration::from_secs(60);
        let mut now = BEGIN;
        while leaving.stays(key, due, now) {
            assert!(!leaving.is_over() && leaving.next(now).is_none());
            now += LOOK_AGAIN;
            assert_eq!(leaving.next(now), Some((key, due)));
        }
        assert_eq!(now, BEGIN + PATIENCE);
        assert!(leaving.is_over());
    }
}
