//! Ways to tune a target from source prompts (SPoT, section 3), and the controls that they must beat: each says which sources it
//! takes and what it makes of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is made of a ranking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Strategy {
    /// A tuning from each of the first k; the best on the validation split counts.
    BestOfTopK(usize),
    /// One tuning from the average of the first k, weighted by similarity. Similarities below 0 count as 0; if none is
    /// above, all weigh the same.
    WeightedAverageOfTopK(usize),
    /// A prompt is tuned on the mixture of the data of the first k's tasks and the target's own (examples-proportional); one target
    /// tuning begins from its last checkpoint.
    MixtureOfTopK(usize),
    /// A tuning from every source; the best on the validation split counts. This is what ranking is to save.
    BruteForce,
    /// One tuning from a source drawn at random: what a ranking must beat.
    RandomSource,
    /// A tuning from each of k sources drawn at random, none twice; the best on the validation split counts. Of the same budget
    /// as `best_of_top_k`, without similarity.
    RandomK(usize),
    /// One tuning from the source with the most training examples, by its prompt of the same seed if there is one: the choice of
    /// who knows nothing but sizes.
    LargestSource,
    /// k tunings from scratch, begun as `init` says, of the given seed and k - 1 derived from it; the best on the validation split
    /// counts. Of the same budget as `best_of_top_k`, without any transfer.
    Restarts(usize),
}

/// Which sources a strategy takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The first of the ranking.
    First(usize),
    /// All of them.
    All,
    /// So many, drawn at random.
    Random(usize),
    /// The one with the most training examples.
    Largest,
    /// None.
    Nothing,
}

/// What it makes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// A tuning from each, of which the best counts.
    Each,
    /// A tuning from their average.
    Average,
    /// A tuning from a prompt that is tuned on their data.
    Mixture,
    /// So many tunings from scratch, of which the best counts.
    Scratch(usize),
}

impl Strategy {
    pub(super) fn choice(self) -> Choice {
        match self {
            Self::BestOfTopK(k) | Self::WeightedAverageOfTopK(k) | Self::MixtureOfTopK(k) => Choice::First(k),
            Self::BruteForce => Choice::All,
            Self::RandomSource => Choice::Random(1),
            Self::RandomK(k) => Choice::Random(k),
            Self::LargestSource => Choice::Largest,
            Self::Restarts(_) => Choice::Nothing,
        }
    }

    pub(super) fn makes(self) -> Use {
        match self {
            Self::BestOfTopK(_) | Self::BruteForce | Self::RandomSource | Self::RandomK(_) | Self::LargestSource => {
                Use::Each
            }
            Self::WeightedAverageOfTopK(_) => Use::Average,
            Self::MixtureOfTopK(_) => Use::Mixture,
            Self::Restarts(k) => Use::Scratch(k),
        }
    }
}

impl Choice {
    /// How many sources of so many it takes.
    pub(super) fn of(self, sources: usize) -> usize {
        match self {
            Self::First(k) | Self::Random(k) => k,
            Self::All => sources,
            Self::Largest => 1,
            Self::Nothing => 0,
        }
    }

    /// Whether the sources' examples are looked at.
    pub(super) fn looks_at_data(self) -> bool {
        self == Self::Largest
    }
}

impl Use {
    /// Jobs that it asks for, given so many sources.
    pub(super) fn jobs(self, sources: usize) -> usize {
        match self {
            Self::Each => sources,
            Self::Average => 1,
            Self::Mixture => 2,
            Self::Scratch(k) => k,
        }
    }
}
