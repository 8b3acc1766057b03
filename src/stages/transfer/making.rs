//! What a strategy makes of its sources.

use super::target::{Fields, Source, Target, Tuned};
use crate::engine::stage::{Issue, Spec};

/// A way to tune a target.
pub(super) trait Making {
    /// Jobs that it asks for, given this many sources.
    fn jobs(&self, sources: usize) -> usize;

    /// The jobs that it asks for, those that tune the target last.
    ///
    /// # Errors
    /// If an input is missing or damaged, or sources cannot be combined.
    fn expand(&self, target: &Target<'_>, sources: Vec<Source>) -> anyhow::Result<Vec<Spec>>;

    /// What a manifest must give for it, or must not.
    ///
    /// # Errors
    /// The first field that is missing, or that this strategy does not use.
    fn check(&self, fields: &Fields<'_>) -> Result<(), Issue> {
        fields.check_sources()
    }

    /// Whether the sources' examples are learned together with the target's.
    fn mixes(&self) -> bool {
        false
    }

    /// How many of its jobs do not tune the target; they come first.
    fn before(&self) -> usize {
        0
    }

    /// Which target tuning a source was tried in, by its place.
    fn tuning_of(&self, source: usize) -> usize {
        source
    }

    /// The seed of a target tuning.
    fn seed(&self, seed: u64, _tuning: usize) -> u64 {
        seed
    }

    /// The prompt of the best tuning as that of the transfer.
    fn prompt(&self, _seed: u64, best: Tuned) -> Vec<u8> {
        best.bytes
    }
}
