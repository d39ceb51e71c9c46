//! Who is present on a topic: members are users with any number of sessions, or sessions that have named no user.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use topichub_protocol::message::Payload;
use topichub_protocol::reply::{Member, MemberId, Presence};
use topichub_protocol::topic::Topic;

use super::super::Change;
use crate::hub::input::SessionRef;

/// The members of one topic, by session and by name.
#[derive(Debug, Default)]
pub(super) struct Roster {
    sessions: HashMap<SessionRef, MemberId>,
    members: BTreeMap<MemberId, Shown>,
}

/// What is known of a member.
#[derive(Debug)]
struct Shown {
    sessions: usize,
    /// The newest that any of its sessions has shown.
    data: Option<Payload>,
}

impl Roster {
    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    pub(super) fn join(&mut self, session: SessionRef, member: Member) -> Vec<Change> {
        let mut changes = Vec::new();
        let is_new = match self.sessions.entry(session) {
            Entry::Occupied(known) if *known.get() == member.id => false,
            Entry::Occupied(mut known) => {
                let former = known.insert(member.id.clone());
                changes.extend(take_session(&mut self.members, former));
                true
            }
            Entry::Vacant(vacant) => {
                vacant.insert(member.id.clone());
                true
            }
        };
        match self.members.get_mut(&member.id) {
            Some(shown) => {
                shown.sessions += usize::from(is_new);
                // Another session that shows nothing leaves what one of the same user has shown.
                if (member.data.is_some() || !is_new) && shown.data != member.data {
                    shown.data.clone_from(&member.data);
                    changes.push(Change::Joined(member));
                } else if is_new {
                    changes.push(Change::None);
                }
            }
            None => {
                let data = member.data.clone();
                self.members.insert(member.id.clone(), Shown { sessions: 1, data });
                changes.push(Change::Joined(member));
            }
        }
        changes
    }

    pub(super) fn leave(&mut self, session: SessionRef) -> Change {
        let id = self.sessions.remove(&session);
        id.and_then(|id| take_session(&mut self.members, id)).unwrap_or(Change::None)
    }

    pub(super) fn presence(&self, topic: &Topic, named_max: usize) -> Presence {
        let member = |(id, shown): (&MemberId, &Shown)| Member { id: id.clone(), data: shown.data.clone() };
        Presence {
            topic: topic.clone(),
            count: self.members.len() as u64,
            sessions: self.sessions.len() as u64,
            members: (self.members.len() <= named_max).then(|| self.members.iter().map(member).collect()),
        }
    }
}

/// Takes one session from a member, who has left if it was the last.
fn take_session(members: &mut BTreeMap<MemberId, Shown>, id: MemberId) -> Option<Change> {
    let shown = members.get_mut(&id)?;
    shown.sessions -= 1;
    if shown.sessions > 0 {
        return None;
    }
    members.remove(&id);
    Some(Change::Left(id))
}
