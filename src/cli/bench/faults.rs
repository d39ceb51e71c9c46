//! What went wrong with messages and connections: how often, and the first of each in words.
//! It is noticed by the `ledger`; what it does to the exit code is the command's.

/// The most that are told in words.
const TOLD_MAX: usize = 10;

/// Everything that must not happen.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Messages that were passed over and have not come since, or had not come at the end.
    pub(super) lost: u64,
    pub(super) doubled: u64,
    /// Messages that came after a later one.
    pub(super) out_of_order: u64,
    /// Messages whose content, topic or offset is not what was published.
    pub(super) altered: u64,
    /// Errors and other things said to subscribers unasked.
    pub(super) unexpected: u64,
    /// Connections that ended or could not be opened.
    pub(super) disconnected: u64,
    told: Vec<String>,
}

impl Faults {
    /// Puts one in words, if there is room.
    pub(super) fn tell(&mut self, text: impl FnOnce() -> String) {
        if self.told.len() < TOLD_MAX {
            self.told.push(text());
        }
    }

    /// Takes in what went wrong elsewhere.
    pub(super) fn add(&mut self, other: Self) {
        let Self { lost, doubled, out_of_order, altered, unexpected, disconnected, told } = other;
        self.lost += lost;
        self.doubled += doubled;
        self.out_of_order += out_of_order;
        self.altered += altered;
        self.unexpected += unexpected;
        self.disconnected += disconnected;
        told.into_iter().for_each(|text| self.tell(|| text));
    }

    pub(super) fn told(&self) -> &[String] {
        &self.told
    }

    pub(super) fn is_none(&self) -> bool {
        self.counts().iter().all(|(_, _, count)| *count == 0)
    }

    /// Each kind: its key, its name for people, how often.
    pub(super) fn counts(&self) -> [(&'static str, &'static str, u64); 6] {
        [
            ("lost_messages", "lost", self.lost),
            ("doubled_messages", "doubled", self.doubled),
            ("out_of_order_messages", "out of order", self.out_of_order),
            ("altered_messages", "altered", self.altered),
            ("unexpected_messages", "unexpected", self.unexpected),
            ("disconnected_connections", "disconnected", self.disconnected),
        ]
    }
}
