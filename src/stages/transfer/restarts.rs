//! A number of tunings from scratch, of which the best counts.

use super::super::tune::Init;
use super::making::Making;
use super::target::{Fields, Source, Target, Tuned};
use crate::engine::stage::{Issue, Spec};
use crate::ml::random::seed_about;
use anyhow::Context;

pub(super) struct Restarts(pub(super) usize);

impl Making for Restarts {
    fn jobs(&self, _: usize) -> usize {
        self.0
    }

    fn expand(&self, target: &Target<'_>, _: Vec<Source>) -> anyhow::Result<Vec<Spec>> {
        let init = target.init.context("`init` is missing")?;
        let restart = |restart: usize| {
            let tune = target.tune(init.clone(), self.seed(target.seed, restart));
            target.tuning(format!("restart {restart}"), tune, Vec::new())
        };
        (0..self.0).map(restart).collect()
    }

    fn check(&self, fields: &Fields<'_>) -> Result<(), Issue> {
        if self.0 == 0 {
            return Err(Issue::new("strategy", "is 0 restarts, expected at least 1"));
        }
        let idle = [
            ("ranking", fields.ranking),
            ("prompts", fields.prompts),
            ("source_data", fields.source_data),
            ("mixture", fields.mixture),
        ];
        if let Some((field, _)) = idle.into_iter().find(|(_, given)| *given) {
            return Err(Issue::new(field, "has no use beside `restarts`, which begin from scratch; leave it out"));
        }
        match fields.init {
            None => Err(Issue::new("strategy", "needs `init`, which says where a tuning from scratch begins")),
            Some(Init::Prompt(_) | Init::Average(_)) => {
                Err(Issue::new("init", "names tuned prompts, but `restarts` begin from scratch"))
            }
            Some(_) => Ok(()),
        }
    }

    /// The first has the given one.
    fn seed(&self, seed: u64, restart: usize) -> u64 {
        if restart == 0 { seed } else { seed_about(seed, format!("restart {restart}").as_bytes()) }
    }

    /// As one of the given seed, which is the seed of the choice among them.
    fn prompt(&self, seed: u64, best: Tuned) -> Vec<u8> {
        let mut file = best.file;
        file.about.restart_seed = file.about.seed.replace(seed);
        file.to_bytes()
    }
}
