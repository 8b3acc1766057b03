//! Which sources a strategy takes.

use super::target::{Target, size};
use crate::data::Ranked;
use crate::engine::stage::Issue;
use crate::ml::random::Stream;
use anyhow::Context;
use std::cmp::Reverse;

/// A way to take sources of a ranking.
pub(super) trait Choice {
    /// Whether it takes any.
    ///
    /// # Errors
    /// An issue in the field that makes it take none.
    fn check(&self) -> Result<(), Issue> {
        Ok(())
    }

    /// How many of this number of sources it takes.
    fn count(&self, sources: usize) -> usize;

    /// The sources that it takes of a ranking that has as many.
    ///
    /// # Errors
    /// If the ranking or what it is chosen by is damaged, or lacks a source.
    fn of(&self, target: &Target<'_>, ranking: Vec<Ranked>) -> anyhow::Result<Vec<Ranked>>;

    /// Whether similarity decides, so that the embeddings of the target are spent for it.
    fn compares(&self) -> bool {
        false
    }

    /// Whether all sources must have been tuned before it can choose.
    fn knows_all(&self) -> bool {
        false
    }

    /// Whether the sources' examples are looked at.
    fn looks_at_data(&self) -> bool {
        false
    }
}

fn some(k: usize) -> Result<(), Issue> {
    if k == 0 { Err(Issue::new("strategy", "k is 0, expected at least 1")) } else { Ok(()) }
}

/// The first of the ranking.
pub(super) struct First(pub(super) usize);

impl Choice for First {
    fn check(&self) -> Result<(), Issue> {
        some(self.0)
    }

    fn count(&self, _: usize) -> usize {
        self.0
    }

    fn of(&self, _: &Target<'_>, mut ranking: Vec<Ranked>) -> anyhow::Result<Vec<Ranked>> {
        ranking.truncate(self.0);
        Ok(ranking)
    }

    fn compares(&self) -> bool {
        true
    }

    fn knows_all(&self) -> bool {
        true
    }
}

/// All of them.
pub(super) struct All;

impl Choice for All {
    fn count(&self, sources: usize) -> usize {
        sources
    }

    fn of(&self, _: &Target<'_>, ranking: Vec<Ranked>) -> anyhow::Result<Vec<Ranked>> {
        Ok(ranking)
    }

    fn knows_all(&self) -> bool {
        true
    }
}

/// A number of them, drawn at random.
pub(super) struct Random(pub(super) usize);

impl Choice for Random {
    fn check(&self) -> Result<(), Issue> {
        some(self.0)
    }

    fn count(&self, _: usize) -> usize {
        self.0
    }

    fn of(&self, target: &Target<'_>, ranking: Vec<Ranked>) -> anyhow::Result<Vec<Ranked>> {
        let (task, _) = size(target.cx.one("data")?).context("`data`")?;
        let drawn = Stream::new(target.seed, &format!("random source of {task}")).sample(ranking.len(), self.0);
        Ok(drawn.into_iter().map(|at| ranking[at].clone()).collect())
    }
}

/// The one with the most training examples, of equal ones the first by name; its prompt of the target's seed if there is one.
pub(super) struct Largest;

impl Choice for Largest {
    fn count(&self, _: usize) -> usize {
        1
    }

    fn of(&self, target: &Target<'_>, mut ranking: Vec<Ranked>) -> anyhow::Result<Vec<Ranked>> {
        let sizes = target.cx.many("source_data").into_iter().map(|artifact| {
            let (task, examples) = size(artifact).context("`source_data`")?;
            Ok((Reverse(examples), task))
        });
        let sizes = sizes.collect::<anyhow::Result<Vec<_>>>()?;
        let (_, largest) = sizes.into_iter().min().context("`source_data` names no data set")?;
        let of_seed = ranking.iter().position(|source| source.task == largest && source.seed == target.seed);
        let at = of_seed.or_else(|| ranking.iter().position(|source| source.task == largest));
        let at = at.with_context(|| format!("`ranking` has no prompt of `{largest}`, the largest source"))?;
        Ok(vec![ranking.swap_remove(at)])
    }

    fn looks_at_data(&self) -> bool {
        true
    }
}

/// None.
pub(super) struct Nothing;

impl Choice for Nothing {
    fn count(&self, _: usize) -> usize {
        0
    }

    fn of(&self, _: &Target<'_>, _: Vec<Ranked>) -> anyhow::Result<Vec<Ranked>> {
        Ok(Vec::new())
    }
}
