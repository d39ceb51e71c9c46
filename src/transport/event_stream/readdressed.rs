//! A batch of messages with the ids of a stream of several topics. Most who have the same topics stand at the same places:
//! what was put together for one of them serves the next. So bursts take 1.05 times the processor time of a WebSocket, and
//! 1.46 times without (`cargo bench --bench events`).

use std::cell::RefCell;

use super::places::Places;
use crate::hub::joined::Joined;
use crate::hub::outbox::Part;

/// More than this is not kept from one batch to the next, in bytes.
const SPARE_BYTES_MAX: usize = 256 * 1024;

thread_local! {
    /// In use within a call only.
    static LATEST: RefCell<Readdressed> = RefCell::default();
}

/// The latest batch on this thread.
#[derive(Default)]
struct Readdressed {
    before: Places,
    /// The events as they are for everybody.
    events: Vec<u8>,
    own: Joined,
    after: Places,
}

/// Sends messages with the ids of a stream that stands at `places`. `send` says how many of them count: so far the stream
/// has come then.
pub(in crate::transport) fn send<E>(
    places: &mut Places,
    parts: &[Part<'_>],
    send: impl FnOnce(&Joined) -> Result<usize, E>,
) -> Result<usize, E> {
    LATEST.with_borrow_mut(|latest| {
        if latest.before != *places || !latest.is_of(parts) {
            latest.renew(places, parts);
        }
        let sent = send(&latest.own)?;
        if sent == latest.own.messages() {
            places.clone_from(&latest.after);
        } else {
            for event in parts.iter().flat_map(Part::each).take(sent) {
                places.follow(event);
            }
        }
        Ok(sent)
    })
}

impl Readdressed {
    fn is_of(&self, parts: &[Part<'_>]) -> bool {
        let mut parts = parts.iter();
        let rest = parts.try_fold(self.events.as_slice(), |rest, part| rest.strip_prefix(part.bytes()));
        rest.is_some_and(<[u8]>::is_empty)
    }

    fn renew(&mut self, places: &Places, parts: &[Part<'_>]) {
        if self.own.len() > SPARE_BYTES_MAX {
            *self = Self::default();
        }
        let Self { before, events, own, after } = self;
        before.clone_from(places);
        after.clone_from(places);
        events.clear();
        own.renew(0);
        for part in parts {
            events.extend_from_slice(part.bytes());
            part.each().for_each(|event| own.push_with(|out| after.readdress(event, out)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;
    use crate::hub::outbox::{Outbox, OutboxLimits, Outboxes};

    fn joined(messages: &[(usize, u64)]) -> Joined {
        let mut joined = Joined::default();
        for (topic, offset) in messages {
            joined.push(format!("id: t{topic} 7:{offset}\ndata: {offset}\n\n").as_bytes());
        }
        joined
    }

    fn places(pairs: &[(usize, u64)]) -> Places {
        let mut places = Places::default();
        pairs.iter().for_each(|(topic, offset)| {
            places.note(format!("t{topic}").as_bytes(), format!("7:{offset}").as_bytes());
        });
        places
    }

    fn pairs(len: usize) -> impl Strategy<Value = Vec<(usize, u64)>> {
        proptest::collection::vec((0..3_usize, 0..3_u64), 0..len)
    }

    proptest! {
        #[test]
        fn each_stream_gets_what_it_would_get_alone(
            starts in proptest::collection::vec(pairs(3), 4),
            batches in proptest::collection::vec(pairs(3), 3),
            turns in proptest::collection::vec((0..4_usize, 0..3_usize, 0..3_usize, 0..6_usize), 1..40),
        ) {
            let batches: Vec<_> = batches.iter().map(|pairs| joined(pairs)).collect();
            let mut streams: Vec<_> = starts.iter().map(|pairs| places(pairs)).collect();
            let mut alone = streams.clone();
            for (stream, one, other, sent) in turns {
                let parts = [Part::whole(&batches[one]), Part::whole(&batches[other])];
                let mut expected = Vec::new();
                let (mut after, before) = (alone[stream].clone(), alone[stream].clone());
                let events = || parts.iter().flat_map(Part::each);
                events().for_each(|event| after.readdress(event, &mut expected));
                let sent = sent.min(events().count());
                let mut got = Vec::new();
                let said = send(&mut streams[stream], &parts, |own| {
                    got.extend_from_slice(own.bytes());
                    Ok::<_, Infallible>(sent)
                });
                prop_assert_eq!((said, got), (Ok(sent), expected));
                alone[stream] = before;
                for event in events().take(sent) {
                    alone[stream].follow(event);
                }
                prop_assert!(streams[stream] == alone[stream]);
            }
        }
    }

    #[test]
    fn those_who_stand_at_the_same_places_share_what_waits_for_them() {
        let outboxes = Outboxes::new(OutboxLimits { bytes: 1 << 20, messages: 100 });
        let mut holders: [Outbox; 50] = std::array::from_fn(|_| Outbox::default());
        let batch = joined(&[(1, 1); 40]);
        let hold = |holder: &mut Outbox| {
            send(&mut places(&[(0, 7)]), &[Part::whole(&batch)], |own| {
                holder.hold(Part::whole(own), &outboxes).map(|()| own.messages())
            })
        };
        hold(&mut holders[0]).unwrap();
        let (one, bytes) = (outboxes.memory(), holders[0].bytes());
        for holder in &mut holders[1..] {
            hold(holder).unwrap();
        }
        assert!(
            outboxes.memory() < one + 49 * bytes / 4,
            "{} bytes for 50, {one} for one",
            outboxes.memory()
        );
        drop(holders);
        assert_eq!(outboxes.memory(), 0, "what nobody holds is gone");
    }
}
