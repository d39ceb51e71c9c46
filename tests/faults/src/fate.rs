//! What happens to which connection, and when. No sockets here.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use fastrand::Rng;

/// What is done to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Both ends are closed behind a whole chunk.
    Close,
    /// Both ends are closed within a chunk.
    Truncate,
    /// The client gets a reset.
    Reset,
    /// The client gets no more and sees the end; what it still sends is forwarded for a while.
    HalfClose,
    /// Nothing goes through any more, and after a while comes a reset.
    Silence,
    /// Closed before anything has gone through.
    Refuse,
    /// Nothing goes through for a moment; then all goes on, and another fate follows. It does not count.
    Stall,
}

impl Kind {
    const ALL: [Self; 7] =
        [Self::Close, Self::Truncate, Self::Reset, Self::HalfClose, Self::Silence, Self::Refuse, Self::Stall];

    fn name(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::Truncate => "truncate",
            Self::Reset => "reset",
            Self::HalfClose => "half-close",
            Self::Silence => "silence",
            Self::Refuse => "refuse",
            Self::Stall => "stall",
        }
    }
}

/// What will happen to a connection, and when: after so many bytes in both directions, or so much time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fate {
    pub(crate) kind: Kind,
    pub(crate) after_bytes: u64,
    pub(crate) after: Duration,
    /// How long a stall or a silence lasts, or a half-closed connection goes on.
    pub(crate) lasts: Duration,
}

/// The fates of all connections.
pub(crate) struct Fates {
    rng: RefCell<Rng>,
    wanted: u32,
    done: Cell<u32>,
    mean_bytes: u64,
    mean_ms: u64,
}

impl Fates {
    pub(crate) fn new(seed: u64, wanted: u32, mean_bytes: u64, mean_ms: u64) -> Self {
        let fates = Self {
            rng: RefCell::new(Rng::with_seed(seed)),
            wanted,
            done: Cell::new(0),
            mean_bytes: mean_bytes.max(1),
            mean_ms: mean_ms.max(1),
        };
        if wanted == 0 {
            println!("{{\"done\":0}}");
        }
        fates
    }

    /// What is to happen to a connection next; nothing if enough has happened to all of them.
    pub(crate) fn draw(&self) -> Option<Fate> {
        if self.done.get() >= self.wanted {
            return None;
        }
        let mut rng = self.rng.borrow_mut();
        let kind = Kind::ALL[rng.usize(..Kind::ALL.len())];
        // Twice the mean at most; short ones fall into handshakes.
        let after_bytes = rng.u64(0..=2 * self.mean_bytes);
        let after = Duration::from_millis(rng.u64(0..=2 * self.mean_ms));
        let lasts = Duration::from_millis(match kind {
            Kind::Stall => rng.u64(0..=200),
            _ => rng.u64(0..=300),
        });
        Some(Fate { kind, after_bytes, after, lasts })
    }

    /// Whether a fate that has come may take its course; it is told then, and counts unless it is a stall.
    pub(crate) fn comes(&self, kind: Kind) -> bool {
        if self.done.get() >= self.wanted {
            return false;
        }
        if kind == Kind::Stall {
            println!("{{\"kind\":\"stall\"}}");
            return true;
        }
        let number = self.done.get() + 1;
        self.done.set(number);
        println!("{{\"fault\":{number},\"kind\":\"{}\"}}", kind.name());
        if number == self.wanted {
            println!("{{\"done\":{number}}}");
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_connections_are_cut_and_no_more() {
        let fates = Fates::new(1, 3, 10, 10);
        assert!(
            [Kind::Close, Kind::Stall, Kind::Reset, Kind::Silence].into_iter().all(|kind| fates.comes(kind))
        );
        assert!(!fates.comes(Kind::Close) && fates.draw().is_none());
    }

    #[test]
    fn a_fate_comes_within_twice_the_mean_and_does_not_last() {
        let fates = Fates::new(1, 1, 1_000, 10);
        let drawn: Vec<_> = (0..1_000).filter_map(|_| fates.draw()).collect();
        assert!(
            drawn.iter().all(|fate| fate.after_bytes <= 2_000 && fate.after <= Duration::from_millis(20))
        );
        assert!(drawn.iter().all(|fate| fate.lasts <= Duration::from_millis(300)));
        assert!(
            drawn.iter().any(|fate| fate.after_bytes < 100)
                && drawn.iter().any(|fate| fate.after_bytes > 1_900)
        );
    }

    #[test]
    fn every_kind_of_fate_comes_and_the_seed_decides() {
        let draw = |seed| {
            let fates = Fates::new(seed, 1, 1_000, 10);
            (0..100)
                .filter_map(|_| fates.draw())
                .map(|fate| (fate.kind, fate.after_bytes))
                .collect::<Vec<_>>()
        };
        let drawn = draw(7);
        assert!(Kind::ALL.iter().all(|kind| drawn.iter().any(|(drawn, _)| drawn == kind)));
        assert_eq!(drawn, draw(7));
        assert_ne!(drawn, draw(8));
    }
}
