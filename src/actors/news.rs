//! Who has come and who has gone since the last second, for `$sys.sessions` (SPEC.md §20). Collected on each thread while
//! anybody watches, and put together by the registry.

use std::net::IpAddr;

use serde::Serialize;
use uuid::Uuid;

/// The most of each kind that are named in one second; the others are counted.
const NAMED_MAX: usize = 200;

/// A session, as it is told.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Described {
    pub(crate) session: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<Box<str>>,
    pub(crate) protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<IpAddr>,
    pub(crate) since_ms: u64,
}

/// A session that has ended.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Ended {
    #[serde(flatten)]
    pub(crate) session: Described,
    pub(crate) code: u16,
    pub(crate) by: &'static str,
}

/// What has happened.
#[derive(Debug, Default, Serialize)]
pub(crate) struct News {
    connected: Vec<Described>,
    /// Who has said anew who they are.
    identified: Vec<Described>,
    ended: Vec<Ended>,
    /// How many more there were.
    omitted: u64,
}

impl News {
    pub(crate) fn connected(&mut self, session: Described) {
        push(&mut self.connected, session, &mut self.omitted);
    }

    pub(crate) fn identified(&mut self, session: Described) {
        push(&mut self.identified, session, &mut self.omitted);
    }

    pub(crate) fn ended(&mut self, ended: Ended) {
        push(&mut self.ended, ended, &mut self.omitted);
    }

    /// Takes what another thread has to tell.
    pub(crate) fn add(&mut self, other: Self) {
        self.omitted += other.omitted;
        other.connected.into_iter().for_each(|session| self.connected(session));
        other.identified.into_iter().for_each(|session| self.identified(session));
        other.ended.into_iter().for_each(|ended| self.ended(ended));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.connected.is_empty() && self.identified.is_empty() && self.ended.is_empty() && self.omitted == 0
    }
}

fn push<T>(named: &mut Vec<T>, item: T, omitted: &mut u64) {
    if named.len() < NAMED_MAX {
        named.push(item);
    } else {
        *omitted += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_a_limit_sessions_are_counted_only() {
        let described = |number| Described {
            session: Uuid::from_u128(number),
            user: (number == 0).then(|| "ada".into()),
            protocol: "pubsub.json",
            address: None,
            since_ms: 5,
        };
        let (mut news, mut other) = (News::default(), News::default());
        assert!(news.is_empty());
        (0..150).for_each(|number| news.connected(described(number)));
        (0..150).for_each(|number| other.connected(described(number)));
        other.ended(Ended { session: described(0), code: 4201, by: "server" });
        news.add(other);
        let told = serde_json::to_value(&news).unwrap();
        assert_eq!((told["connected"].as_array().unwrap().len(), &told["omitted"]), (NAMED_MAX, &100.into()));
        let ended = r#"[{"session":"00000000-0000-0000-0000-000000000000","user":"ada","protocol":"pubsub.json","since_ms":5,"code":4201,"by":"server"}]"#;
        assert_eq!(told["ended"], serde_json::from_str::<serde_json::Value>(ended).unwrap());
    }
}
