//! The public ids of sessions. An id is the session's seat in disguise, so that none need be kept and each leads back
//! to its session; who may know an id, and whether somebody still sits there, is decided elsewhere.

use slotmap::{Key, KeyData};

use super::input::{SessionRef, SubscriberKey, WorkerId};

/// What a UUID leaves free: all but 4 bits of version and 2 of variant.
const FREE_BITS: u32 = 122;
const FREE: u128 = (1 << FREE_BITS) - 1;
/// Half of the free bits: shifting down by so much and combining undoes itself.
const HALF_BITS: u32 = FREE_BITS / 2;

/// Multiplication brings each bit to all above it, the shift brings the upper half back to the lower: two rounds take
/// each bit everywhere, and two more leave no pattern in the ids of sessions that came one after the other.
const ROUNDS: u32 = 4;

/// Odd, so that multiplying by it has an inverse modulo a power of two; digits of the golden ratio otherwise.
const MULTIPLIER: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835 & FREE;
const INVERSE: u128 = inverse(MULTIPLIER);

/// RFC 9562 §5.8: version 8 is for ids whose bits mean what their maker likes; §4.1: the variant is 10.
const VERSION: u128 = 8 << 76;
const VARIANT: u128 = 0b10 << 62;
const MARKS: u128 = (0xf << 76) | (0b11 << 62);

/// Turns seats into public ids and back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seats {
    salt: u128,
}

impl Seats {
    /// `salt` should be random, so that ids of one hub are strange to another.
    pub(crate) fn new(salt: u128) -> Self {
        Self { salt }
    }

    /// A UUID as a number; each session has another. It looks arbitrary, but it is no secret and proves nothing.
    pub(crate) fn id(self, session: SessionRef) -> u128 {
        // The 26 bits above these two stay zero: the check.
        let seat = u128::from(session.worker.0) << 64 | u128::from(session.subscriber.data().as_ffi());
        spread(self.mix(seat))
    }

    /// Whose id this is, be they still there or not. `None` if it was not made here; one in 2^27 that were not is taken
    /// for one that was.
    pub(crate) fn session(self, id: u128) -> Option<SessionRef> {
        let seat = self.unmix(gather(id)?);
        let worker = WorkerId(u32::try_from(seat >> 64).ok()?);
        let key = seat as u64;
        let data = KeyData::from_ffi(key);
        // slotmap makes a key of any number; only what it would give out itself is one.
        (data.as_ffi() == key).then(|| SessionRef { worker, subscriber: SubscriberKey::from(data) })
    }

    fn mix(self, seat: u128) -> u128 {
        (0..ROUNDS).fold(seat, |bits, round| {
            let product = (bits ^ self.round_salt(round)).wrapping_mul(MULTIPLIER) & FREE;
            product ^ (product >> HALF_BITS)
        })
    }

    fn unmix(self, bits: u128) -> u128 {
        (0..ROUNDS).rev().fold(bits, |bits, round| {
            let product = bits ^ (bits >> HALF_BITS);
            (product.wrapping_mul(INVERSE) & FREE) ^ self.round_salt(round)
        })
    }

    fn round_salt(self, round: u32) -> u128 {
        self.salt.rotate_left(round * 31) & FREE
    }
}

/// Free bits around version and variant.
fn spread(bits: u128) -> u128 {
    let (high, middle, low) = (bits >> 74, (bits >> 62) & 0xfff, bits & ((1 << 62) - 1));
    high << 80 | VERSION | middle << 64 | VARIANT | low
}

/// The reverse of [`spread`]; `None` for a UUID of another kind.
fn gather(id: u128) -> Option<u128> {
    let (high, middle, low) = (id >> 80, (id >> 64) & 0xfff, id & ((1 << 62) - 1));
    (id & MARKS == VERSION | VARIANT).then_some(high << 74 | middle << 62 | low)
}

/// The inverse of an odd number modulo 2^128, by Newton: an odd number is its own inverse in 3 bits, and each step
/// doubles how many are right.
const fn inverse(odd: u128) -> u128 {
    let mut inverse = odd;
    let mut right_bits = 3;
    while right_bits < u128::BITS {
        inverse = inverse.wrapping_mul(2_u128.wrapping_sub(odd.wrapping_mul(inverse)));
        right_bits *= 2;
    }
    inverse
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;
    use slotmap::SlotMap;
    use uuid::{Uuid, Variant};

    use super::*;

    fn session(worker: u32, key: u64) -> SessionRef {
        SessionRef { worker: WorkerId(worker), subscriber: SubscriberKey::from(KeyData::from_ffi(key)) }
    }

    /// The sessions of four workers: each seat is taken, left and taken again.
    fn sessions() -> Vec<SessionRef> {
        let mut sessions = Vec::new();
        for worker in 0..4 {
            let mut seats: SlotMap<SubscriberKey, ()> = SlotMap::with_key();
            for _ in 0..3 {
                let keys: Vec<_> = (0..500).map(|_| seats.insert(())).collect();
                keys.iter().for_each(|key| _ = seats.remove(*key));
                sessions.extend(
                    keys.into_iter().map(|subscriber| SessionRef { worker: WorkerId(worker), subscriber }),
                );
            }
        }
        sessions
    }

    proptest! {
        #[test]
        fn an_id_leads_back_to_its_session(salt: u128, worker: u32, key: u64) {
            let (seats, session) = (Seats::new(salt), session(worker, key));
            prop_assert_eq!(seats.session(seats.id(session)), Some(session));
        }

        #[test]
        fn an_id_is_a_uuid_of_version_8(salt: u128, worker: u32, key: u64) {
            let uuid = Uuid::from_u128(Seats::new(salt).id(session(worker, key)));
            prop_assert_eq!((uuid.get_version_num(), uuid.get_variant()), (8, Variant::RFC4122));
        }

        #[test]
        fn what_is_taken_for_an_id_is_the_id_of_its_session(salt: u128, number: u128) {
            let seats = Seats::new(salt);
            if let Some(session) = seats.session(number) {
                prop_assert_eq!(seats.id(session), number);
            }
            // The same where few numbers of the above get to: all free bits mean something else when changed.
            let near = seats.id(session(1, 1)) ^ (1 << (number % 128));
            prop_assert!(seats.session(near).is_none_or(|session| seats.id(session) == near));
        }
    }

    #[test]
    fn no_two_sessions_share_an_id() {
        let seats = Seats::new(7);
        let ids: HashSet<_> = sessions().into_iter().map(|session| seats.id(session)).collect();
        assert_eq!(ids.len(), 6000);
    }

    #[test]
    fn another_hub_refuses_an_id_even_if_its_salt_differs_in_one_bit() {
        for session in sessions() {
            let id = Seats::new(7).id(session);
            for bit in 0..u128::BITS {
                assert_eq!(Seats::new(7 ^ (1 << bit)).session(id), None, "bit {bit} of the salt");
            }
        }
    }

    #[test]
    fn uuids_of_others_are_refused() {
        let seats = Seats::new(7);
        let id = seats.id(session(1, 1));
        let version_4 = id & !(0xf << 76) | (4 << 76);
        let variant_of_microsoft = id | (0b11 << 62);
        for other in [0, u128::MAX, version_4, variant_of_microsoft, id ^ 1, id ^ (1 << 127)] {
            assert_eq!(seats.session(other), None, "{other:032x}");
        }
    }

    #[test]
    fn what_would_be_a_seat_that_no_worker_gives_out_is_refused() {
        let seats = Seats::new(7);
        let seat = |bits| seats.session(spread(seats.mix(bits)));
        assert_eq!(seat(1 << 64 | 3 << 32 | 5), Some(session(1, 3 << 32 | 5)));
        assert_eq!(seat(1 << 64 | 2 << 32 | 5), None, "an even version is that of an empty slot");
        assert_eq!(seat(1 << 96 | 3 << 32 | 5), None, "the check is not zero");
        assert_eq!(seat(1 << 121 | 3 << 32 | 5), None, "the check is not zero");
    }

    #[test]
    fn ids_of_sessions_that_came_one_after_the_other_have_nothing_in_common() {
        let seats = Seats::new(0);
        let ids: Vec<_> = sessions().into_iter().map(|session| seats.id(session)).collect();
        let pairs = ids.len() as u32 - 1;
        for bit in (0..u128::BITS).filter(|bit| MARKS & (1 << bit) == 0) {
            let changes = ids.windows(2).filter(|pair| (pair[0] ^ pair[1]) & (1 << bit) != 0).count() as u32;
            assert!((pairs * 2 / 5..pairs * 3 / 5).contains(&changes), "bit {bit}: {changes} of {pairs}");
        }
    }
}
