//! Ways to tune a target from source prompts (SPoT, section 3), and the controls that they must beat: each says which sources it
//! takes and what it makes of them. A new one is a value here, and what is new about it a file beside this one.

use super::average::Average;
use super::choice::{All, Choice, First, Largest, Nothing, Random};
use super::each::Each;
use super::making::Making;
use super::mixture::Mixture;
use super::restarts::Restarts;
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

impl Strategy {
    /// Which sources it takes, and what it makes of them.
    pub(super) fn parts(self) -> (Box<dyn Choice>, Box<dyn Making>) {
        match self {
            Self::BestOfTopK(k) => (Box::new(First(k)), Box::new(Each)),
            Self::WeightedAverageOfTopK(k) => (Box::new(First(k)), Box::new(Average)),
            Self::MixtureOfTopK(k) => (Box::new(First(k)), Box::new(Mixture)),
            Self::BruteForce => (Box::new(All), Box::new(Each)),
            Self::RandomSource => (Box::new(Random(1)), Box::new(Each)),
            Self::RandomK(k) => (Box::new(Random(k)), Box::new(Each)),
            Self::LargestSource => (Box::new(Largest), Box::new(Each)),
            Self::Restarts(k) => (Box::new(Nothing), Box::new(Restarts(k))),
        }
    }

    pub(super) fn choice(self) -> Box<dyn Choice> {
        self.parts().0
    }

    pub(super) fn making(self) -> Box<dyn Making> {
        self.parts().1
    }
}
