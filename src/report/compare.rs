//! From evaluations to what a study found out: every method beside the baseline on the seeds that all of them have, the matrix of
//! sources and targets, and how well similarity foretold it.

use super::basis::Basis;
use super::choices;
use super::columns::{BySeed, Column, Role, Score, over_targets, spread, values};
use super::derived;
use super::embeddings::Embeddings;
use super::evaluation::{Cost, Evaluation};
use super::leaks::{self, Data};
use super::methods::{comparisons, hardly_an_error, methods, too_few_targets};
use super::prediction::{Likeness, Prediction, Reliability};
use super::results::{Cell, Choice, Matrix, Point, Results, Suite, Target, VERSION};
use super::transfer::{Findings, Scores};
use super::transfers::Transfers;
use crate::data::Candidates;
use crate::ml::statistics::{mean, relative_error_reduction};
use anyhow::{Context, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};

/// A way to learn the targets.
#[derive(Clone, Debug, Default)]
pub struct Strategy {
    /// Name.
    pub name: String,
    /// Its evaluations.
    pub evaluations: Vec<Evaluation>,
    /// What it spent, as its transfers say.
    pub cost: Option<Cost>,
    /// Names of the rows of the same budget that it has to beat.
    pub controls: Vec<String>,
    /// The prompts among which it chose, choice by choice.
    pub choices: Vec<Candidates>,
}

/// All that a study measured.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Prompt tuning without transfer.
    pub baseline: Vec<Evaluation>,
    /// Everything that is compared with it.
    pub strategies: Vec<Strategy>,
    /// Single transfers from one source prompt.
    pub pairs: Vec<Evaluation>,
    /// Names of groups of targets.
    pub suites: Vec<(String, Vec<String>)>,
    /// The embeddings of sources and targets.
    pub embeddings: Option<Embeddings>,
    /// What their data sets say.
    pub data: Option<Data>,
}

/// Name of the first row.
const BASELINE: &str = "prompt tuning";

impl Evidence {
    /// What it says.
    ///
    /// # Errors
    /// If scores cannot be compared: of different splits or examples, missing, twice, no numbers, or without a seed in common.
    pub fn results(&self) -> anyhow::Result<Results> {
        let split = self.baseline.first().context("`baseline` names no evaluation")?.split.clone();
        self.check(&split)?;
        let mut columns = vec![self.column(BASELINE, Role::Baseline, &self.baseline)?];
        for strategy in &self.strategies {
            let mut column = self.column(&strategy.name, Role::Method, &strategy.evaluations)?;
            column.cost = strategy.cost.or_else(|| Cost::of(&strategy.evaluations));
            column.controls.clone_from(&strategy.controls);
            columns.push(column);
        }
        columns[0].cost = Cost::of(&self.baseline);
        let basis = Basis::of(&columns, &self.pairs)?;
        columns.iter_mut().for_each(|column| basis.restrict(column));
        let transfers = self.transfers(&columns[0], &basis)?;
        let mut warnings = basis.notes.clone();
        if let Some(transfers) = &transfers {
            let derived = derived::columns(transfers, &columns);
            warnings.extend(derived::other_candidates(transfers, &columns));
            columns.extend(derived);
        }
        let likeness = self.embeddings.as_ref().map_or_else(Vec::new, Embeddings::likeness);
        let foretold = |all: &Transfers<'_>| Prediction::of(all, &likeness, Reliability::of_runs(all));
        let prediction = transfers.as_ref().map_or_else(Prediction::default, foretold);
        let baseline = &columns[0];
        let majority: BTreeMap<&str, f64> =
            self.baseline.iter().filter_map(|e| Some((e.task.as_str(), e.majority?))).collect();
        let target = |task: &String| Target {
            task: task.clone(),
            majority: majority.get(task.as_str()).copied(),
            cells: columns.iter().map(|column| cell(column, baseline, task)).collect(),
        };
        let targets: Vec<Target> = baseline.scores.keys().map(target).collect();
        warnings.extend(hardly_an_error(baseline));
        warnings.extend(too_few_targets(&columns));
        warnings.extend(optimism(&split));
        let leaks = self.data.as_ref().map(Data::leaks);
        warnings.extend(leaks::warnings(leaks.as_deref().unwrap_or_default()));
        warnings.extend(self.data.iter().flat_map(|data| data.missing(self.everything())));
        warnings.extend(beaten_by_majority(&targets));
        let (controls, left_out) = comparisons(&columns, transfers.as_ref())?;
        warnings.extend(left_out);
        Ok(Results {
            version: VERSION,
            seeds: basis.count(),
            methods: methods(&columns, transfers.as_ref()),
            controls,
            choices: self.choices(&columns)?,
            suites: self.suites(&columns)?,
            matrix: transfers.as_ref().map(|all| matrix(all, baseline)),
            similarity: self.embeddings.as_ref().map(Embeddings::by_task),
            separation: self.embeddings.as_ref().map(Embeddings::separation),
            points: transfers.as_ref().map_or_else(Vec::new, |all| points(all, baseline, &likeness)),
            prediction,
            leaks,
            warnings,
            targets,
            split,
        })
    }

    fn everything(&self) -> impl Iterator<Item = &Evaluation> {
        let strategies = self.strategies.iter().flat_map(|strategy| &strategy.evaluations);
        self.baseline.iter().chain(strategies).chain(&self.pairs)
    }

    /// Scores can be compared only if they are numbers on the same examples.
    fn check(&self, split: &str) -> anyhow::Result<()> {
        let mut examples: BTreeMap<&str, &Evaluation> = BTreeMap::new();
        for e in self.everything() {
            ensure!(e.split == split, "scores on the {} split stand beside scores on the {split} split", e.split);
            ensure!(e.score.is_finite(), "the score of `{}`, seed {}, is not a number", e.task, e.seed);
            let first = examples.entry(&e.task).or_insert(e);
            ensure!(
                first.examples == e.examples,
                "scores of `{}` are of different examples ({:.12} and {:.12}); a report compares scores on the same ones",
                e.task,
                first.examples,
                e.examples
            );
        }
        Ok(())
    }

    /// The scores of a method, on the targets of the baseline.
    fn column(&self, name: &str, role: Role, evaluations: &[Evaluation]) -> anyhow::Result<Column> {
        let mut seen = BTreeSet::new();
        for e in evaluations {
            let twice = !seen.insert((&e.task, &e.seed));
            ensure!(!twice, "`{name}` has two evaluations of `{}`, seed {}", e.task, e.seed);
        }
        let mut column = Column::of_runs(name, role, evaluations);
        let targets: BTreeSet<&String> = self.baseline.iter().map(|e| &e.task).collect();
        for task in &targets {
            ensure!(column.scores.contains_key(*task), "`{name}` has no scores for `{task}`");
        }
        column.scores.retain(|task, _| targets.contains(task));
        Ok(column)
    }

    /// The single transfers under the seeds that all rows have.
    fn transfers(&self, baseline: &Column, basis: &Basis) -> anyhow::Result<Option<Transfers<'_>>> {
        if self.pairs.is_empty() {
            return Ok(None);
        }
        for e in &self.pairs {
            ensure!(!e.source.0.is_empty(), "`pairs` has an evaluation of `{}` that comes from no source", e.task);
            ensure!(baseline.scores.contains_key(&e.task), "`baseline` has no scores for `{}`", e.task);
        }
        let known = self.pairs.iter().filter(|e| basis.has(&e.task, &e.seed));
        let mut transfers = Transfers::of(known).map_err(|twice| anyhow::anyhow!("`pairs` has {twice}"))?;
        transfers.sort();
        if let Some((target, seed, (source, source_seed))) = transfers.gap() {
            bail!("`pairs` lacks `{target}`, seed {seed}, from `{source},{source_seed}`");
        }
        Ok(Some(transfers))
    }

    /// What the strategies chose; their columns stand behind that of the baseline.
    fn choices(&self, columns: &[Column]) -> anyhow::Result<Vec<Choice>> {
        let chosen = self.strategies.iter().zip(&columns[1..]);
        let rows = chosen.map(|(strategy, column)| choices::rows(column, &strategy.choices));
        Ok(rows.collect::<anyhow::Result<Vec<_>>>()?.concat())
    }

    fn suites(&self, columns: &[Column]) -> anyhow::Result<Vec<Suite>> {
        let suite = |(name, tasks): &(String, Vec<String>)| {
            for task in tasks {
                let known = columns[0].scores.contains_key(task);
                ensure!(known, "`suites` puts `{task}` into `{name}`, but `baseline` has no such target");
            }
            let tasks_of = |task: &String| tasks.contains(task);
            let scores = columns.iter().map(|column| over_targets(column, tasks_of)).collect();
            Ok(Suite { name: name.clone(), targets: tasks.clone(), scores })
        };
        self.suites.iter().map(suite).collect()
    }
}

fn cell(column: &Column, baseline: &Column, task: &str) -> Cell {
    let scores = &column.scores[task];
    let score = spread(scores);
    let base = mean(&values(&baseline.scores[task]));
    Cell {
        relative_error_reduction: match column.role {
            Role::Baseline => None,
            _ => relative_error_reduction(score.mean, base),
        },
        illegal: mean(&scores.values().map(|score| score.illegal).collect::<Vec<_>>()),
        note: note(scores),
        score,
    }
}

/// Percentage of answers that are none from which on a reader is told.
const MANY_ILLEGAL: f64 = 20.0;

/// What is odd about the answers: one label to everything, or many that are none.
fn note(scores: &BySeed) -> Option<String> {
    let odd = |score: &Score| match &score.only_label {
        _ if score.illegal >= MANY_ILLEGAL => Some(format!("{:.0} % of the answers are none", score.illegal)),
        Some(label) => Some(format!("every answer is `{label}`")),
        None => None,
    };
    let notes: Vec<String> = scores
        .iter()
        .filter_map(|(seed, score)| {
            let note = odd(score)?;
            Some(if seed.is_empty() { note } else { format!("seed {seed}: {note}") })
        })
        .collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}

fn matrix(transfers: &Transfers<'_>, baseline: &Column) -> Matrix {
    let baselines = transfers.targets.iter().map(|target| spread(&baseline.scores[*target])).collect();
    let scores = Scores::of(transfers, Some(baselines));
    Matrix { findings: Findings::of(&scores), scores }
}

/// What every source prompt gained on every target, and how alike the two are.
fn points(transfers: &Transfers<'_>, baseline: &Column, likeness: &[Likeness]) -> Vec<Point> {
    let mut points = Vec::new();
    for target in &transfers.targets {
        let base = mean(&values(&baseline.scores[*target]));
        for prompt in &transfers.prompts {
            let alike = likeness.iter().filter(|l| l.target.0 == *target && l.source == **prompt);
            let alike: Vec<f64> = alike.map(|l| l.value).collect();
            let tried = transfers.scores(target, prompt);
            let score = mean(&tried.iter().map(|e| e.score).collect::<Vec<_>>());
            let reduction = relative_error_reduction(score, base);
            if let (Some(relative_error_reduction), false) = (reduction, alike.is_empty()) {
                points.push(Point {
                    target: (*target).to_owned(),
                    source: prompt.0.clone(),
                    source_seed: prompt.1.clone(),
                    similarity: mean(&alike),
                    relative_error_reduction,
                    from: tried.iter().map(|e| e.digest.clone()).collect(),
                });
            }
        }
    }
    points
}

fn optimism(split: &str) -> Option<String> {
    let message = "The scores are optimistic: checkpoints were chosen on the validation split, on which they are reported; \
                   `hold_out` of `ingest` keeps a part of it apart.";
    (split == "validation").then(|| message.to_owned())
}

fn beaten_by_majority(targets: &[Target]) -> impl Iterator<Item = String> {
    targets.iter().filter_map(|target| {
        let (task, floor) = (&target.task, target.majority?);
        let beaten = target.cells.iter().all(|cell| cell.score.mean <= floor);
        beaten.then(|| format!("On {task} no method beats always giving the most common answer ({floor:.1})."))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::prompt::similarity::Similarity;
    use crate::ml::statistics::tests::near;
    use crate::report::embeddings::Run;

    fn evaluation(task: &str, seed: &str, source: &str, score: f64) -> Evaluation {
        Evaluation {
            task: task.to_owned(),
            split: "test".to_owned(),
            seed: seed.to_owned(),
            source: (source.to_owned(), if source.is_empty() { String::new() } else { "0".to_owned() }),
            score,
            validation: Some(score),
            digest: format!("{task}{seed}{source}"),
            ..Evaluation::default()
        }
    }

    fn row(source: &str, scores: [f64; 4]) -> Vec<Evaluation> {
        let places = [("a", "0"), ("a", "1"), ("b", "0"), ("b", "1")];
        places.iter().zip(scores).map(|((t, seed), score)| evaluation(t, seed, source, score)).collect()
    }

    fn evidence() -> Evidence {
        let run = |task: &str, seed: &str| Run { task: task.to_owned(), seed: seed.to_owned(), digest: String::new() };
        let runs = vec![run("x", "0"), run("y", "0"), run("a", "0"), run("a", "1"), run("b", "0"), run("b", "1")];
        let like = |i: usize, j: usize| match (runs[i].task.as_str(), runs[j].task.as_str()) {
            ("x", "a" | "b") | ("a" | "b", "x") => 0.2,
            ("y", "a" | "b") | ("a" | "b", "y") => 0.9,
            (a, b) => f64::from(u8::from(a == b)),
        };
        let values = (0..6).map(|i| (0..6).map(|j| like(i, j)).collect()).collect();
        Evidence {
            baseline: row("", [50.0, 54.0, 80.0, 80.0]),
            strategies: vec![Strategy {
                name: "best of top 1".to_owned(),
                evaluations: row("x", [60.0, 64.0, 80.0, 84.0]),
                cost: Some(Cost {
                    tunings: 1,
                    candidates: 2,
                    target_steps: Some(100.0),
                    tuning_steps: Some(90.0),
                    source_steps: Some(400.0),
                    library_steps: Some(400.0),
                }),
                controls: vec!["random source, expected".to_owned()],
                choices: Vec::new(),
            }],
            pairs: [row("x", [60.0, 64.0, 80.0, 84.0]), row("y", [70.0, 50.0, 70.0, 74.0])].concat(),
            suites: vec![("only b".to_owned(), vec!["b".to_owned()])],
            embeddings: Some(Embeddings { metric: Similarity::AverageTokens, runs, sources: 2, values }),
            data: None,
        }
    }

    #[test]
    fn a_method_is_compared_as_in_the_papers_table_3() {
        let results = evidence().results().unwrap();
        let names: Vec<&str> = results.methods.iter().map(|method| method.name.as_str()).collect();
        let derived = [
            "random source, expected",
            "best source on the other targets",
            "oracle, chosen on other seeds",
            "oracle, the maximum",
        ];
        assert_eq!(names, [["prompt tuning", "best of top 1"].as_slice(), &derived].concat());
        let best = &results.methods[1];
        // Gains of 10 on a, of 2 on b.
        assert_eq!(best.change.as_ref().unwrap().mean, 6.0);
        near(best.change.as_ref().unwrap().deviation.unwrap(), 2.0_f64.sqrt() * 2.0, 1e-12);
        assert_eq!(best.score.mean, 72.0);
        let reductions = (100.0 * 10.0 / 48.0, 100.0 * 2.0 / 20.0);
        near(best.relative_error_reduction.as_ref().unwrap().mean, (reductions.0 + reductions.1) / 2.0, 1e-12);
        // Of two targets: t with one degree of freedom, and one of four assignments of signs with its mirror image.
        let [low, high] = best.change_interval.unwrap();
        near(high - 6.0, 12.706_204_736 * 4.0, 1e-6);
        near(6.0 - low, high - 6.0, 1e-12);
        assert_eq!((best.p, best.p_holm), (Some(0.5), Some(0.5)));
        assert_eq!(results.suites[0].scores[1].mean, 82.0);
        assert_eq!(results.targets[0].cells[1].score.from, ["a0x", "a1x"]);
        assert_eq!(results.seeds, 2);
    }

    #[test]
    fn ceilings_are_the_maximum_and_what_other_seeds_choose() {
        let results = evidence().results().unwrap();
        let score = |name: &str| results.methods.iter().find(|method| method.name == name).unwrap().score.mean;
        // On a the best source by the other seed is the worse one both times.
        assert_eq!(score("oracle, chosen on other seeds"), (60.0 + 50.0 + 80.0 + 84.0) / 4.0);
        assert_eq!(score("oracle, the maximum"), (70.0 + 64.0 + 80.0 + 84.0) / 4.0);
        assert_eq!(score("random source, expected"), (61.0 + 77.0) / 2.0);
        // On b `x` is better, so it is taken for a; on a `x` is, so it is taken for b.
        assert_eq!(score("best source on the other targets"), 72.0);
        let best = &results.methods[1];
        near(best.maximum_share.unwrap(), 100.0 * 6.0 / 8.5, 1e-12);
        near(best.oracle_share.unwrap(), 100.0 * 6.0 / 2.5, 1e-12);
    }

    #[test]
    fn what_is_skipped_counts_the_sources_and_the_targets_own_runs() {
        let results = evidence().results().unwrap();
        // 400 + 2 * 100 steps instead of 400 + 2 * 2 * 90.
        near(results.methods[1].search_skipped.unwrap(), 100.0 * (1.0 - 600.0 / 760.0), 1e-12);
        assert_eq!(results.methods[0].search_skipped, None, "there was nothing to search");
    }

    #[test]
    fn a_method_stands_beside_rows_of_the_same_budget() {
        let results = evidence().results().unwrap();
        let [comparison] = results.controls.as_slice() else { panic!("{:?}", results.controls) };
        // 1 on a, 5 on b.
        assert_eq!((comparison.difference, comparison.p), (3.0, Some(0.5)));
        let mut unknown = evidence();
        unknown.strategies[0].controls = vec!["luck".to_owned()];
        let error = unknown.results().unwrap_err().to_string();
        assert!(error.contains("names the control `luck`, which is no row; rows are `prompt tuning`"), "{error}");
    }

    #[test]
    fn a_control_that_would_try_all_sources_is_left_out_and_said() {
        let mut evidence = evidence();
        evidence.strategies[0].controls.push("best of 2 random sources, expected".to_owned());
        let results = evidence.results().unwrap();
        assert_eq!(results.controls.len(), 1);
        let said = "`best of top 1` is not compared with `best of 2 random sources, expected`: a target has 2 source prompts to choose \
                    from, so that whoever tries 2 tries all.";
        assert!(results.warnings.iter().any(|warning| warning == said), "{:?}", results.warnings);
        evidence.strategies[0].controls.push("best of 1 random sources, expected".to_owned());
        assert!(evidence.results().is_err(), "there is another name for that");
    }

    #[test]
    fn rows_are_compared_on_the_seeds_that_all_of_them_have() {
        let mut evidence = evidence();
        evidence.pairs.retain(|e| e.seed == "0");
        let results = evidence.results().unwrap();
        assert_eq!(results.seeds, 1);
        // Everything is of seed 0: the baseline, the method and what is read off the pairs.
        let means: Vec<f64> = results.methods.iter().map(|method| method.score.mean).collect();
        assert_eq!(means, [65.0, 70.0, 70.0, 65.0, 75.0]);
        assert!(
            results.methods.iter().all(|method| method.role != Role::Oracle),
            "there is no other seed to choose on"
        );
        let best = &results.methods[1];
        assert_eq!(best.change.as_ref().unwrap().mean, 5.0);
        near(best.relative_error_reduction.as_ref().unwrap().mean, (20.0 + 0.0) / 2.0, 1e-12);
        let note = "All rows are compared on the seeds that all of them have: `pairs` lacks seed 1.";
        assert_eq!(results.warnings[0], note);
        // An ensemble is of no single seed.
        let ensemble = ["a", "b"].map(|task| evaluation(task, "", "", 82.0));
        evidence.strategies.push(Strategy {
            name: "ensemble".to_owned(),
            evaluations: ensemble.into(),
            ..Strategy::default()
        });
        assert_eq!(evidence.results().unwrap().methods[2].change.as_ref().unwrap().mean, 17.0);
        evidence.strategies[0].evaluations.retain(|e| e.seed == "1");
        let error = evidence.results().unwrap_err().to_string();
        assert_eq!(
            error,
            "rows cannot be compared on `a`: no seed is in all of them; `prompt tuning` has seeds 0, 1, `best of top 1` has \
             seed 1, `pairs` has seed 0"
        );
    }

    #[test]
    fn methods_that_chose_among_other_prompts_have_no_share_of_the_oracle() {
        let mut evidence = evidence();
        evidence.strategies[0].cost = Some(Cost { tunings: 1, candidates: 6, ..Cost::default() });
        let results = evidence.results().unwrap();
        let best = &results.methods[1];
        assert_eq!((best.oracle_share, best.maximum_share), (None, None));
        assert!(
            results.warnings[0].contains("know 2 source prompts, those of `pairs`; `best of top 1` of 6 chose among")
        );
    }

    #[test]
    fn the_matrix_its_points_and_the_ranking_are_judged() {
        let results = evidence().results().unwrap();
        let matrix = results.matrix.as_ref().unwrap();
        assert_eq!(matrix.findings.source_mean["y"], 66.0);
        assert_eq!((matrix.findings.helping, matrix.findings.hurting), (3, 1));
        assert_eq!(results.points.len(), 4);
        assert_eq!(results.prediction.correlation["b"].pearson, Some(-1.0));
        // y is ranked first: on a best for one seed and 14 of 64 behind for the other.
        let first = &results.prediction.retrieval[0];
        near(first.regret[&1].of_best.unwrap(), 50.0 * 14.0 / 64.0, 1e-12);
        near(first.regret[&1].of_span.unwrap(), 100.0, 1e-12);
        near(first.ndcg, (1.0 + 1.0 / 3.0_f64.log2()) / 2.0, 1e-12);
        near(first.ndcg_by_chance, (1.0 + 1.0 / 3.0_f64.log2()) / 2.0, 1e-12);
        assert_eq!(results.prediction.reliability["a"].reliability, 0.0, "seeds contradict each other on a");
        let text = serde_json::to_string(&results).unwrap();
        assert_eq!(serde_json::from_str::<Results>(&text).unwrap(), results);
    }

    #[test]
    fn one_label_to_everything_and_many_answers_that_are_none_are_told() {
        let mut evidence = evidence();
        evidence.baseline[0].only_label = Some("no".to_owned());
        (evidence.baseline[1].illegal, evidence.baseline[2].illegal) = (50.0, 3.0);
        let results = evidence.results().unwrap();
        let cell = &results.targets[0].cells[0];
        assert_eq!(cell.note.as_deref(), Some("seed 0: every answer is `no`; seed 1: 50 % of the answers are none"));
        assert_eq!(cell.illegal, 25.0);
        assert_eq!((results.targets[1].cells[0].note.as_ref(), results.targets[1].cells[0].illegal), (None, 1.5));
    }

    #[test]
    fn scores_that_cannot_be_compared_are_refused() {
        let check = |mend: fn(&mut Evidence), expected: &str| {
            let mut evidence = evidence();
            mend(&mut evidence);
            let error = format!("{:#}", evidence.results().unwrap_err());
            assert!(error.contains(expected), "{error}");
        };
        check(|e| e.baseline.clear(), "`baseline` names no evaluation");
        check(|e| e.baseline[0].score = f64::NAN, "the score of `a`, seed 0, is not a number");
        check(|e| e.pairs[1].examples = "other".to_owned(), "scores of `a` are of different examples ( and other)");
        check(|e| e.pairs[1].split = "validation".to_owned(), "scores on the validation split stand beside");
        check(|e| drop(e.pairs.pop()), "`pairs` lacks `b`, seed 1, from `y,0`");
        check(|e| e.strategies[0].evaluations.truncate(2), "`best of top 1` has no scores for `b`");
        check(|e| e.suites[0].1.push("c".to_owned()), "`suites` puts `c` into `only b`");
        check(|e| e.baseline.push(e.baseline[0].clone()), "`prompt tuning` has two evaluations of `a`, seed 0");
    }
}
