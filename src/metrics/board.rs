//! Where the threads of a hub post their counts once a second, and where they are read. Nobody waits here for longer than
//! it takes to copy them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::delays::Delays;
use super::tally::Figures;
use crate::hub::input::WorkerId;

/// What one thread has counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) figures: Figures,
    /// How late its timers fire; of the registry, how long what is sent to it waits.
    pub(crate) delays: Delays,
}

/// What all threads have counted.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<Posted>);

#[derive(Clone, Debug, Default)]
pub(crate) struct Posted {
    pub(crate) registry: Sample,
    pub(crate) workers: BTreeMap<WorkerId, Sample>,
    /// What threads have counted that are no more.
    gone: Figures,
}

impl Board {
    pub(crate) fn post(&self, worker: WorkerId, sample: Sample) {
        self.posted().workers.insert(worker, sample);
    }

    pub(crate) fn post_registry(&self, sample: Sample) {
        self.posted().registry = sample;
    }

    /// A thread ends, with these last words.
    pub(crate) fn retire(&self, worker: WorkerId, last: Figures) {
        let mut posted = self.posted();
        posted.workers.remove(&worker);
        posted.gone.add(&last.without_levels());
    }

    /// A copy of all that is posted.
    pub(crate) fn read(&self) -> Posted {
        self.posted().clone()
    }

    fn posted(&self) -> MutexGuard<'_, Posted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Posted {
    /// Over all threads.
    pub(crate) fn total(&self) -> Figures {
        let mut total = self.gone.clone();
        total.add(&self.registry.figures);
        self.workers.values().for_each(|sample| total.add(&sample.figures));
        total
    }
}
