//! The counts of one thread. Adding to one is an addition to memory that no other thread touches.

use std::array;
use std::cell::Cell;

use super::figure::Figure;

/// The counts of one thread, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Tally([Cell<u64>; Figure::COUNT]);

/// A copy of them, or the sum of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Figures([u64; Figure::COUNT]);

impl Default for Tally {
    fn default() -> Self {
        Self(array::from_fn(|_| Cell::new(0)))
    }
}

impl Tally {
    #[inline]
    pub(crate) fn add(&self, figure: Figure, count: u64) {
        let cell = &self.0[figure.0];
        cell.set(cell.get().wrapping_add(count));
    }

    #[inline]
    pub(crate) fn subtract(&self, figure: Figure, count: u64) {
        let cell = &self.0[figure.0];
        cell.set(cell.get().wrapping_sub(count));
    }

    pub(crate) fn set(&self, figure: Figure, value: u64) {
        self.0[figure.0].set(value);
    }

    pub(crate) fn figures(&self) -> Figures {
        Figures(array::from_fn(|place| self.0[place].get()))
    }
}

impl Default for Figures {
    fn default() -> Self {
        Self([0; Figure::COUNT])
    }
}

impl Figures {
    pub(crate) fn get(&self, figure: Figure) -> u64 {
        self.0[figure.0]
    }

    pub(crate) fn sum(&self, figures: impl IntoIterator<Item = Figure>) -> u64 {
        figures.into_iter().map(|figure| self.get(figure)).sum()
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(sum, more)| *sum = sum.wrapping_add(*more));
    }

    /// Keeps what only goes up: of a thread that has ended nothing else is left.
    pub(super) fn without_levels(mut self) -> Self {
        for (place, value) in self.0.iter_mut().enumerate() {
            if Figure(place).is_level() {
                *value = 0;
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::figure::{Op, Side};
    use super::*;
    use topichub_protocol::code::{CloseCode, ErrorCode};
    use topichub_protocol::push::GapReason;

    use crate::hub::published::Class;

    #[test]
    fn every_figure_has_a_place_of_its_own() {
        let mut figures: Vec<_> = (0..=Figure::OUTBOX_BYTES.0).map(Figure).collect();
        figures.extend(Class::ALL_ENCODED.map(Figure::sessions));
        figures.extend(Class::ALL_ENCODED.map(Figure::opened));
        figures.extend(Op::ALL.map(Figure::commands));
        figures.extend(ErrorCode::ALL.map(Figure::errors));
        figures.extend(GapReason::ALL.map(Figure::dropped));
        figures.extend(GapReason::ALL.map(Figure::gaps));
        figures.extend(Side::ALL.into_iter().flat_map(Figure::all_closed).map(|(_, figure)| figure));
        let mut places: Vec<_> = figures.iter().map(|figure| figure.0).collect();
        places.sort_unstable();
        assert_eq!(places, (0..Figure::COUNT).collect::<Vec<_>>());
    }

    #[test]
    fn codes_that_peers_make_up_share_one_place() {
        let closed = |code| Figure::closed(code, Side::Client);
        assert_eq!(closed(3000), closed(4999));
        assert_ne!(closed(3000), closed(CloseCode::Normal.as_u16()));
        for (name, figure) in Figure::all_closed(Side::Server) {
            assert_eq!(Figure::closed(name.parse().unwrap_or(4999), Side::Server), figure, "{name}");
        }
    }

    #[test]
    fn of_a_thread_that_has_ended_its_counts_stay_and_its_levels_do_not() {
        let tally = Tally::default();
        tally.add(Figure::DELIVERIES, 7);
        tally.add(Figure::SUBSCRIPTIONS, 3);
        tally.subtract(Figure::SUBSCRIPTIONS, 1);
        assert_eq!(tally.figures().get(Figure::SUBSCRIPTIONS), 2);
        let left = tally.figures().without_levels();
        assert_eq!((left.get(Figure::DELIVERIES), left.get(Figure::SUBSCRIPTIONS)), (7, 0));
    }
}
