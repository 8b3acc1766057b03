//! How much of a run's memory a job may take: it is divided among the models that may be at work at a time.

use super::jobs::{Id, Jobs};
use super::shared::KEPT;
use crate::engine::stage::Needs;
use std::collections::BTreeSet;

/// The memory of a run in equal parts: one for each model that jobs share and that stays while another is at work, and one for
/// all models that jobs have of their own. A study of one model has all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    part: usize,
    /// Jobs with models of their own that run side by side.
    own: usize,
}

impl Parts {
    /// For these jobs of a plan, this many of them side by side beside those that share a model.
    pub(super) fn of(memory: usize, jobs: &Jobs, wanted: &[Id], side_by_side: usize) -> Self {
        let shared: BTreeSet<Id> = wanted.iter().filter_map(|id| jobs.model_from(*id)).collect();
        let own = wanted.iter().filter(|id| jobs.get(**id).plan.job.needs().own_model).count().min(side_by_side.max(1));
        let parts = shared.len().min(KEPT) + own.min(1);
        Self { part: memory / parts.max(1), own: own.max(1) }
    }

    /// Bytes for a job with these needs; those that share a model have them together.
    pub(super) fn of_job(self, needs: Needs) -> usize {
        if needs.shared_model.is_some() { self.part } else { self.part / self.own }
    }
}
