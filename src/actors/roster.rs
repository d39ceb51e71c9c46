//! The sessions of one worker thread by name: who they are, where they come from and since when.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use slotmap::{Key, SecondaryMap};

use crate::hub::identity::Identity;
use crate::hub::input::SubscriberKey;

/// One session.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) identity: Option<Arc<Identity>>,
    pub(crate) address: Option<IpAddr>,
    /// On the hub's clock.
    pub(crate) since: Duration,
    /// Counted among those of its user, where that is limited.
    _counted: Option<Box<Counted>>,
}

impl Guest {
    pub(crate) fn user(&self) -> Option<&str> {
        self.identity.as_ref()?.user.as_deref()
    }
}

/// Whom something is meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    Session(SubscriberKey),
    User(Box<str>),
    /// Whoever came with the token of this id.
    Token(Box<str>),
}

/// The sessions of one thread.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    guests: SecondaryMap<SubscriberKey, Guest>,
}

impl Roster {
    pub(crate) fn enter(&mut self, key: SubscriberKey, address: Option<IpAddr>, since: Duration) {
        self.guests.insert(key, Guest { identity: None, address, since, _counted: None });
    }

    pub(crate) fn leave(&mut self, key: SubscriberKey) {
        self.guests.remove(key);
    }

    pub(crate) fn get(&self, key: SubscriberKey) -> Option<&Guest> {
        self.guests.get(key)
    }

    /// Who this is has been found out.
    ///
    /// # Errors
    /// If its user has as many sessions as one may have: `max`.
    pub(crate) fn identify(
        &mut self,
        key: SubscriberKey,
        identity: &Arc<Identity>,
        users: &Arc<Users>,
    ) -> Result<(), usize> {
        let Some(guest) = self.guests.get_mut(key) else { return Ok(()) };
        let changed = guest.user() != identity.user.as_deref();
        guest.identity = Some(Arc::clone(identity));
        if changed {
            guest._counted = None;
            if let Some(user) = &identity.user {
                guest._counted = users.count(user)?.map(Box::new);
            }
        }
        Ok(())
    }

    /// The sessions that are meant.
    pub(crate) fn find(&self, whom: &Whom) -> Vec<SubscriberKey> {
        let is_meant = |guest: &Guest| match whom {
            Whom::Session(_) => false,
            Whom::User(user) => guest.user() == Some(user),
            Whom::Token(id) => {
                guest.identity.as_ref().is_some_and(|identity| identity.token_id.as_ref() == Some(id))
            }
        };
        match whom {
            Whom::Session(key) => self.guests.get(*key).map(|_| *key).into_iter().collect(),
            _ => self.guests.iter().filter(|(_, guest)| is_meant(guest)).map(|(key, _)| key).collect(),
        }
    }

    /// Sessions in the order of their seats, from behind `after`.
    pub(crate) fn page(
        &self,
        after: Option<SubscriberKey>,
        user: Option<&str>,
        limit: usize,
    ) -> Vec<(SubscriberKey, &Guest)> {
        let place = |key: SubscriberKey| key.data().as_ffi() & u64::from(u32::MAX);
        let after = after.map(place);
        self.guests
            .iter()
            .filter(|(key, guest)| {
                after.is_none_or(|after| place(*key) > after)
                    && user.is_none_or(|user| guest.user() == Some(user))
            })
            .take(limit)
            .collect()
    }
}

/// How many sessions each user has, over all threads; empty where that is not limited.
#[derive(Debug)]
pub(crate) struct Users {
    max: usize,
    sessions: Mutex<HashMap<Box<str>, usize>>,
}

/// One session of a user, for as long as this lives.
#[derive(Debug)]
struct Counted {
    users: Arc<Users>,
    user: Box<str>,
}

impl Users {
    /// `max` sessions for each; 0 is no limit.
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, sessions: Mutex::default() })
    }

    fn count(self: &Arc<Self>, user: &str) -> Result<Option<Counted>, usize> {
        if self.max == 0 {
            return Ok(None);
        }
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let count = sessions.entry(user.into()).or_default();
        if *count >= self.max {
            return Err(self.max);
        }
        *count += 1;
        Ok(Some(Counted { users: Arc::clone(self), user: user.into() }))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut sessions = self.users.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = sessions.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                sessions.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;

    fn identity(user: &str, token: &str) -> Arc<Identity> {
        let (user, token_id) = (Some(user.into()), Some(token.into()));
        Arc::new(Identity { user, token_id, ..Identity::default() })
    }

    #[test]
    fn sessions_are_found_by_who_they_are_and_listed_by_seat() {
        let mut seats: SlotMap<SubscriberKey, ()> = SlotMap::with_key();
        let keys: Vec<_> = (0..5).map(|_| seats.insert(())).collect();
        let (mut roster, users) = (Roster::default(), Users::new(0));
        for (key, user) in keys.iter().zip(["ada", "bob", "ada", "ada", "cyd"]) {
            roster.enter(*key, None, Duration::ZERO);
            roster.identify(*key, &identity(user, "t1"), &users).unwrap();
        }
        roster.identify(keys[3], &identity("ada", "t2"), &users).unwrap();
        roster.leave(keys[4]);
        assert_eq!(roster.find(&Whom::User("ada".into())), [keys[0], keys[2], keys[3]]);
        assert_eq!(roster.find(&Whom::Token("t1".into())), [keys[0], keys[1], keys[2]]);
        assert_eq!(roster.find(&Whom::Session(keys[1])), [keys[1]]);
        assert_eq!(roster.find(&Whom::Session(keys[4])), []);
        let page = |after: Option<usize>, user, limit| {
            let page = roster.page(after.map(|after| keys[after]), user, limit);
            page.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        assert_eq!(page(None, None, 2), [keys[0], keys[1]]);
        assert_eq!(page(Some(1), None, 9), [keys[2], keys[3]]);
        assert_eq!(page(Some(0), Some("ada"), 1), [keys[2]]);
    }

    #[test]
    fn a_user_has_so_many_sessions_until_one_goes_or_takes_another_name() {
        let mut seats: SlotMap<SubscriberKey, ()> = SlotMap::with_key();
        let (mut here, mut there, users) = (Roster::default(), Roster::default(), Users::new(2));
        let mut enter = |roster: &mut Roster, user| {
            let key = seats.insert(());
            roster.enter(key, None, Duration::ZERO);
            (key, roster.identify(key, &identity(user, "t"), &users))
        };
        let (first, _) = enter(&mut here, "ada");
        let (second, _) = enter(&mut there, "ada");
        assert_eq!(enter(&mut here, "ada").1, Err(2));
        assert_eq!(enter(&mut here, "bob").1, Ok(()));
        here.leave(first);
        assert_eq!(enter(&mut here, "ada").1, Ok(()));
        assert_eq!(there.identify(second, &identity("ada", "new"), &users), Ok(()), "it has its place");
        there.identify(second, &identity("cyd", "t"), &users).unwrap();
        assert_eq!(enter(&mut here, "ada").1, Ok(()));
        drop((here, there));
        assert!(users.sessions.lock().unwrap().is_empty());
    }
}
