//! Rows that nobody had to run, read off the matrix of all single transfers: what a choice of sources must beat, and what none can
//! pass.

use super::columns::{Column, Role, Score};
use super::evaluation::{Cost, Evaluation};
use super::prediction::{Alike, Likeness, SHOWN};
use super::transfers::{Run, Transfers};
use crate::ml::statistics::{expected_best_of, mean};
use std::collections::{BTreeMap, BTreeSet};

/// Sources drawn at random, as many as other methods try; the source that is best on the other targets; and the oracles.
pub(super) fn columns(transfers: &Transfers<'_>, methods: &[Column]) -> Vec<Column> {
    let prompts = transfers.candidates();
    let chose_among_the_same = |cost: &&Cost| cost.candidates == prompts && cost.tunings < prompts;
    let tried = methods.iter().filter_map(|column| column.cost.as_ref()).filter(chose_among_the_same);
    let ks: BTreeSet<usize> = tried.map(|cost| cost.tunings).chain([1]).collect();
    let costs = Costs::of(transfers);
    let row = |name: String, role: Role, cost: Cost, of: &dyn Fn(&str, &str, &Run<'_>) -> Option<Score>| {
        column(transfers, name, role, cost, of)
    };
    let mut found: Vec<Option<Column>> = Vec::new();
    for k in ks {
        found.push(row(random(k), Role::Chance, costs.random(k), &|_, _, run| best_of_random(k, run)));
    }
    found.push(row("best source on the other targets".to_owned(), Role::Elsewhere, costs.all(), &|target, _, run| {
        Some(Score::of(run.get(transfers.best_elsewhere(target)?)?))
    }));
    found.push(row("oracle, chosen on other seeds".to_owned(), Role::Oracle, costs.all(), &|target, seed, run| {
        Some(Score::of(run.get(transfers.best_by_other_seeds(target, seed)?)?))
    }));
    found.push(row("oracle, the maximum".to_owned(), Role::Maximum, costs.all(), &|_, _, run| maximum(run)));
    found.into_iter().flatten().collect()
}

/// The most similar source, and the best of the first k by similarity, for those k whose regret is shown. The best is chosen on the
/// validation split, or by the reported score where no other is known.
pub(super) fn by_similarity(
    transfers: &Transfers<'_>,
    likeness: &[Likeness],
    embedding_steps: Option<u64>,
) -> Vec<Column> {
    let alike = Alike::of(likeness);
    let costs = Costs::of(transfers);
    let row = |k: usize| {
        let name = if k == 1 { "most similar source".to_owned() } else { format!("best of the {k} most similar") };
        let mut cost = costs.of_tunings(k);
        cost.target_steps = cost.target_steps.and_then(|steps| Some(steps + embedding_steps? as f64));
        column(transfers, name, Role::Method, cost, &|target, _, run| {
            let similar = run.iter().map(|(prompt, e)| Some((alike.mean(target, prompt)?, *e)));
            let mut ranking: Vec<(f64, &Evaluation)> = similar.collect::<Option<_>>()?;
            ranking.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.source.cmp(&b.1.source)));
            let first = ranking.get(..k)?.iter().map(|(_, e)| *e);
            let better = |a: &Evaluation, b: &Evaluation| match (a.validation, b.validation) {
                (Some(a), Some(b)) => b > a,
                _ => b.score > a.score,
            };
            first.reduce(|best, next| if better(best, next) { next } else { best }).map(Score::of)
        })
    };
    let fewest = transfers.targets.iter().flat_map(|target| transfers.runs(target).map(|(_, run)| run.len())).min();
    SHOWN.into_iter().filter(|k| *k < fewest.unwrap_or(0)).filter_map(row).collect()
}

/// Name of the row of k random sources.
fn random(k: usize) -> String {
    if k == 1 { "random source, expected".to_owned() } else { format!("best of {k} random sources, expected") }
}

/// Why there is no row with this name, if it is that of as many random sources as there are or more: nobody chooses among all.
pub(super) fn without_choice(name: &str, transfers: &Transfers<'_>) -> Option<String> {
    let k: usize = name.strip_prefix("best of ")?.strip_suffix(" random sources, expected")?.parse().ok()?;
    let prompts = transfers.candidates();
    (k >= prompts)
        .then(|| format!("a target has {prompts} source prompts to choose from, so that whoever tries {k} tries all"))
}

/// The expected score of the best by validation of k random sources; by the reported score where no validation is known.
fn best_of_random(k: usize, run: &Run<'_>) -> Option<Score> {
    if k > run.len() {
        return None;
    }
    let of = |value: fn(&Evaluation) -> f64| run.values().map(|e| value(e)).collect::<Vec<f64>>();
    let (scores, illegal) = (of(|e| e.score), of(|e| e.illegal));
    let validation: Option<Vec<f64>> = run.values().map(|e| e.validation).collect();
    let chosen_by = validation.unwrap_or_else(|| scores.clone());
    Some(Score {
        value: expected_best_of(k, &chosen_by, &scores),
        illegal: expected_best_of(k, &chosen_by, &illegal),
        // What several prompts said stands in no single cell.
        only_label: None,
        from: run.values().map(|e| e.digest.clone()).collect(),
    })
}

/// The best source prompt of all, known only afterwards: the highest of so many noisy scores, so that nothing can be expected to
/// reach it.
fn maximum(run: &Run<'_>) -> Option<Score> {
    run.values().copied().reduce(|best, next| if next.score > best.score { next } else { best }).map(Score::of)
}

/// A score for every target and seed; none at all if one is missing.
fn column(
    transfers: &Transfers<'_>,
    name: String,
    role: Role,
    cost: Cost,
    of: &dyn Fn(&str, &str, &Run<'_>) -> Option<Score>,
) -> Option<Column> {
    let scores = transfers.targets.iter().map(|target| {
        let runs = transfers.runs(target).map(|(seed, run)| Some((seed.to_owned(), of(target, seed, run)?)));
        Some(((*target).to_owned(), runs.collect::<Option<BTreeMap<_, _>>>()?))
    });
    Some(Column { name, role, cost: Some(cost), controls: Vec::new(), scores: scores.collect::<Option<_>>()? })
}

/// What transfers cost, as far as they say.
struct Costs {
    /// Source prompts that a target can choose among.
    prompts: usize,
    /// All source prompts.
    library_size: usize,
    /// Steps of a target tuning.
    tuning: Option<f64>,
    /// Steps of all source prompts.
    library: Option<f64>,
}

impl Costs {
    fn of(transfers: &Transfers<'_>) -> Self {
        let runs = || transfers.targets.iter().flat_map(|target| transfers.runs(target).map(|(_, run)| run));
        let all: Vec<&Evaluation> = runs().flat_map(|run| run.values().copied()).collect();
        let steps: Option<Vec<f64>> = all.iter().map(|e| e.steps.map(|steps| steps as f64)).collect();
        let sources: BTreeMap<_, Option<u64>> = all.iter().map(|e| (&e.source, e.source_steps)).collect();
        let library: Option<u64> = sources.into_values().sum();
        Self {
            prompts: transfers.candidates(),
            library_size: transfers.prompts.len(),
            tuning: steps.map(|steps| mean(&steps)),
            library: library.map(|steps| steps as f64),
        }
    }

    /// Of k random sources, the same for all targets.
    fn random(&self, k: usize) -> Cost {
        let source_steps = self.library.map(|all| all * k as f64 / self.library_size as f64);
        Cost { source_steps, ..self.of_tunings(k) }
    }

    /// Of trying every source on every target.
    fn all(&self) -> Cost {
        self.of_tunings(self.prompts)
    }

    fn of_tunings(&self, tunings: usize) -> Cost {
        Cost {
            tunings,
            candidates: self.prompts,
            target_steps: self.tuning.map(|steps| steps * tunings as f64),
            tuning_steps: self.tuning,
            source_steps: self.library,
            library_steps: self.library,
        }
    }
}

/// Methods that chose among other source prompts than the transfers are from: their gains are right, but no share of an oracle
/// would be.
pub(super) fn other_candidates(transfers: &Transfers<'_>, methods: &[Column]) -> Option<String> {
    let prompts = transfers.candidates();
    let candidates = |column: &Column| column.cost.map_or(0, |cost| cost.candidates);
    let others: Vec<String> = methods
        .iter()
        .filter(|column| ![0, prompts].contains(&candidates(column)))
        .map(|column| format!("`{}` of {}", column.name, candidates(column)))
        .collect();
    (!others.is_empty()).then(|| {
        format!(
            "Chance and the oracles know {prompts} source prompts, those of `pairs`; {} chose among others, so that they may \
             pass an oracle and have no share of it.",
            others.join(", ")
        )
    })
}
