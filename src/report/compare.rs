//! From evaluations to what a study found out: every method beside the baseline, the matrix of sources and targets, and how well
//! similarity foretold it.

use super::results::{Cell, Matrix, Method, Point, Results, Retrieval, Spread, Suite, Target, TaskSimilarity, VERSION};
use super::transfer::{Correlations, Findings, Scores, Source};
use crate::ml::random::Stream;
use crate::ml::statistics::{bootstrap_interval, mean, ndcg, regret, relative_error_reduction};
use anyhow::{Context, ensure};
use std::collections::{BTreeMap, BTreeSet};

/// The scores of one prompt on one target.
#[derive(Clone, Debug, Default)]
pub struct Evaluation {
    /// Target task.
    pub task: String,
    /// The split that was answered.
    pub split: String,
    /// Seed of the tuning.
    pub seed: String,
    /// The task and the seed of the prompt that the tuning began from; empty if from none.
    pub source: (String, String),
    /// Score of always giving the most common answer.
    pub majority: Option<f64>,
    /// The score.
    pub score: f64,
    /// The score on the split on which checkpoints were chosen.
    pub validation: Option<f64>,
    /// Percentage of answers that are none: not a label, not a number.
    pub illegal: f64,
    /// The label that every legal answer was, if the task has others.
    pub only_label: Option<String>,
    /// Digest of the artifact.
    pub digest: String,
}

/// A way to learn the targets.
#[derive(Clone, Debug, Default)]
pub struct Strategy {
    /// Name.
    pub name: String,
    /// Its evaluations.
    pub evaluations: Vec<Evaluation>,
    /// Target tunings for each target and seed, and the source prompts among which it chose.
    pub cost: Option<Cost>,
}

/// What choosing costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Target tunings for each target and seed.
    pub tunings: usize,
    /// Source prompts to choose from.
    pub candidates: usize,
}

/// How alike the embeddings of a source and a target are.
#[derive(Clone, Debug)]
pub struct Likeness {
    /// Task and seed.
    pub source: (String, String),
    /// Task and seed.
    pub target: (String, String),
    /// Similarity.
    pub value: f64,
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
    /// Similarity of all tasks.
    pub tasks: Option<TaskSimilarity>,
    /// Similarities of sources and targets, run by run.
    pub likeness: Vec<Likeness>,
}

/// Name of the method that knows the best source beforehand.
pub const ORACLE: &str = "oracle";

/// The first of so many sources whose regret is shown; the paper's k (SCIENCE a.9).
const SHOWN: [usize; 6] = [1, 3, 6, 9, 12, 15];

/// A score, and the artifacts behind it.
#[derive(Clone, Debug, Default)]
struct Score {
    value: f64,
    illegal: f64,
    only_label: Option<String>,
    from: Vec<String>,
}

/// Scores of a method by target and seed.
struct Column {
    name: String,
    cost: Option<Cost>,
    scores: BTreeMap<String, BTreeMap<String, Score>>,
}

impl Evidence {
    /// What it says.
    ///
    /// # Errors
    /// If scores cannot be compared: of different splits, missing, twice, or no numbers.
    pub fn results(&self) -> anyhow::Result<Results> {
        let split = self.baseline.first().context("`baseline` names no evaluation")?.split.clone();
        let baseline = column("prompt tuning", &self.baseline, None, &split)?;
        let mut columns = Vec::new();
        for strategy in &self.strategies {
            let mut column = column(&strategy.name, &strategy.evaluations, strategy.cost, &split)?;
            for task in baseline.scores.keys() {
                ensure!(column.scores.contains_key(task), "`{}` has no scores for `{task}`", strategy.name);
            }
            column.scores.retain(|task, _| baseline.scores.contains_key(task));
            columns.push(column);
        }
        let pairs = Pairs::of(&self.pairs, &baseline, &split)?;
        let oracle = pairs.as_ref().map(Pairs::oracle);
        columns.extend(pairs.iter().flat_map(Pairs::baselines));
        let gain = oracle.as_ref().map(|oracle| overall(oracle, &baseline, None).change.map_or(0.0, |gain| gain.mean));
        columns.extend(oracle);
        columns.insert(0, baseline);
        let baseline = &columns[0];
        let majority: BTreeMap<&str, f64> =
            self.baseline.iter().filter_map(|e| Some((e.task.as_str(), e.majority?))).collect();
        let target = |task: &String| Target {
            task: task.clone(),
            majority: majority.get(task.as_str()).copied(),
            cells: columns.iter().enumerate().map(|(at, column)| cell(column, baseline, task, at == 0)).collect(),
        };
        let targets: Vec<Target> = baseline.scores.keys().map(target).collect();
        let points = pairs.as_ref().map_or_else(Vec::new, |pairs| pairs.points(&self.likeness));
        Ok(Results {
            version: VERSION,
            methods: columns
                .iter()
                .enumerate()
                .map(|(at, column)| if at == 0 { first(column) } else { overall(column, baseline, gain) })
                .collect(),
            suites: self.suites(&columns)?,
            matrix: pairs.as_ref().map(Pairs::matrix).transpose()?,
            similarity: self.tasks.clone(),
            correlation: correlations(&points),
            points,
            retrieval: pairs.as_ref().map_or_else(Vec::new, |pairs| pairs.retrieval(&self.likeness)),
            warnings: warnings(&split, &targets),
            targets,
            split,
        })
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

fn column(name: &str, evaluations: &[Evaluation], cost: Option<Cost>, split: &str) -> anyhow::Result<Column> {
    let mut scores: BTreeMap<String, BTreeMap<String, Score>> = BTreeMap::new();
    for e in evaluations {
        check(e, split)?;
        let score = Score {
            value: e.score,
            illegal: e.illegal,
            only_label: e.only_label.clone(),
            from: vec![e.digest.clone()],
        };
        let twice = scores.entry(e.task.clone()).or_default().insert(e.seed.clone(), score);
        ensure!(twice.is_none(), "`{name}` has two evaluations of `{}`, seed {}", e.task, e.seed);
    }
    Ok(Column { name: name.to_owned(), cost, scores })
}

fn check(e: &Evaluation, split: &str) -> anyhow::Result<()> {
    ensure!(e.split == split, "scores on the {} split stand beside scores on the {split} split", e.split);
    ensure!(e.score.is_finite(), "the score of `{}`, seed {}, is not a number", e.task, e.seed);
    Ok(())
}

fn values(scores: &BTreeMap<String, Score>) -> Vec<f64> {
    scores.values().map(|score| score.value).collect()
}

fn spread(scores: &BTreeMap<String, Score>) -> Spread {
    Spread::of(&values(scores)).from(scores.values().flat_map(|score| score.from.clone()))
}

fn cell(column: &Column, baseline: &Column, task: &str, first: bool) -> Cell {
    let scores = &column.scores[task];
    let score = spread(scores);
    let base = mean(&values(&baseline.scores[task]));
    Cell {
        relative_error_reduction: if first { None } else { relative_error_reduction(score.mean, base) },
        illegal: mean(&scores.values().map(|score| score.illegal).collect::<Vec<_>>()),
        note: note(scores),
        score,
    }
}

/// Percentage of answers that are none from which on a reader is told.
const MANY_ILLEGAL: f64 = 20.0;

/// What is odd about the answers: one label to everything, or many that are none.
fn note(scores: &BTreeMap<String, Score>) -> Option<String> {
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

/// The mean over targets for every seed that all of them have, so that the deviation is that of a whole study repeated; if they
/// have none in common, the mean of the targets' means.
fn over_targets(column: &Column, of: impl Fn(&String) -> bool) -> Spread {
    let rows: Vec<&BTreeMap<String, Score>> =
        column.scores.iter().filter(|(task, _)| of(task)).map(|(_, row)| row).collect();
    let from = rows.iter().flat_map(|row| row.values()).flat_map(|score| score.from.clone());
    let seeds = common_seeds(&rows);
    if seeds.is_empty() {
        let means: Vec<f64> = rows.iter().map(|row| mean(&values(row))).collect();
        return Spread { mean: mean(&means), deviation: None, seeds: 0, from: from.collect() };
    }
    let studies: Vec<f64> =
        seeds.iter().map(|seed| mean(&rows.iter().map(|row| row[*seed].value).collect::<Vec<_>>())).collect();
    Spread::of(&studies).from(from)
}

fn common_seeds<'a>(rows: &[&'a BTreeMap<String, Score>]) -> Vec<&'a String> {
    let mut seeds: BTreeSet<&String> = rows.iter().flat_map(|row| row.keys()).collect();
    seeds.retain(|seed| rows.iter().all(|row| row.contains_key(*seed)));
    seeds.into_iter().collect()
}

fn first(column: &Column) -> Method {
    Method {
        name: column.name.clone(),
        score: over_targets(column, |_| true),
        change: None,
        change_interval: None,
        relative_error_reduction: None,
        tunings: None,
        candidates: None,
        oracle_share: None,
        search_skipped: None,
    }
}

/// A row of the paper's Table 3. The relative error reduction is the mean over targets of theirs (SCIENCE a.11).
fn overall(column: &Column, baseline: &Column, oracle_gain: Option<f64>) -> Method {
    let score = over_targets(column, |_| true);
    let mut gains: Vec<Vec<f64>> = Vec::new();
    let mut by_seed: BTreeMap<&String, Vec<f64>> = BTreeMap::new();
    let mut reductions = by_seed.clone();
    let rows: Vec<&BTreeMap<String, Score>> = column.scores.values().collect();
    let seeds = common_seeds(&rows);
    let mut means = Vec::new();
    for (task, scores) in &column.scores {
        let Some(base) = baseline.scores.get(task) else { continue };
        let base_mean = mean(&values(base));
        let against = |seed: &String| base.get(seed).map_or(base_mean, |score| score.value);
        gains.push(scores.iter().map(|(seed, score)| score.value - against(seed)).collect());
        means.extend(relative_error_reduction(mean(&values(scores)), base_mean));
        for &seed in &seeds {
            by_seed.entry(seed).or_default().push(scores[seed].value - against(seed));
            let reduction = relative_error_reduction(scores[seed].value, base_mean);
            reductions.entry(seed).or_default().extend(reduction);
        }
    }
    let gain = mean(&gains.iter().map(|gains| mean(gains)).collect::<Vec<_>>());
    let studies = |by_seed: &BTreeMap<&String, Vec<f64>>| by_seed.values().map(|row| mean(row)).collect::<Vec<_>>();
    let around = |mean: f64, by_seed: &BTreeMap<&String, Vec<f64>>| {
        Spread { mean, ..Spread::of(&studies(by_seed)) }.from(score.from.clone())
    };
    let relative = (!means.is_empty()).then(|| around(mean(&means), &reductions));
    let mut stream = Stream::new(0, &format!("bootstrap of {}", column.name));
    Method {
        name: column.name.clone(),
        change: Some(around(gain, &by_seed)),
        change_interval: bootstrap_interval(&gains, &mut stream),
        relative_error_reduction: relative,
        tunings: column.cost.map(|cost| cost.tunings),
        candidates: column.cost.map(|cost| cost.candidates),
        oracle_share: oracle_gain.filter(|best| *best > 0.0).map(|best| 100.0 * gain / best),
        search_skipped: column.cost.map(|cost| 100.0 * (1.0 - cost.tunings as f64 / cost.candidates.max(1) as f64)),
        score,
    }
}

/// The transfers to a target under one seed, by task and seed of the source prompt.
type Transfers<'e> = BTreeMap<&'e (String, String), &'e Evaluation>;

/// Single transfers: by target and seed, and within them by source prompt.
struct Pairs<'e> {
    cells: BTreeMap<(&'e str, &'e str), Transfers<'e>>,
    baseline: BTreeMap<String, Spread>,
    prompts: BTreeSet<&'e (String, String)>,
}

impl<'e> Pairs<'e> {
    fn of(evaluations: &'e [Evaluation], baseline: &Column, split: &str) -> anyhow::Result<Option<Self>> {
        if evaluations.is_empty() {
            return Ok(None);
        }
        let mut pairs = Self { cells: BTreeMap::new(), baseline: BTreeMap::new(), prompts: BTreeSet::new() };
        for e in evaluations {
            check(e, split)?;
            ensure!(!e.source.0.is_empty(), "`pairs` has an evaluation of `{}` that comes from no source", e.task);
            let base =
                baseline.scores.get(&e.task).with_context(|| format!("`baseline` has no scores for `{}`", e.task))?;
            pairs.baseline.entry(e.task.clone()).or_insert_with(|| spread(base));
            pairs.prompts.insert(&e.source);
            let cell = pairs.cells.entry((&e.task, &e.seed)).or_default();
            let (source, seed) = &e.source;
            let twice = cell.insert(&e.source, e);
            ensure!(twice.is_none(), "`pairs` has `{}`, seed {}, from `{source},{seed}` twice", e.task, e.seed);
        }
        for task in baseline.scores.keys() {
            ensure!(pairs.baseline.contains_key(task), "`pairs` has no scores for `{task}`");
        }
        for (target, seed) in pairs.cells.keys() {
            for prompt in &pairs.prompts {
                let (source, source_seed) = prompt;
                let there = pairs.cells[&(*target, *seed)].contains_key(prompt);
                ensure!(there, "`pairs` lacks `{target}`, seed {seed}, from `{source},{source_seed}`");
            }
        }
        Ok(Some(pairs))
    }

    fn column(&self, name: &str, tunings: usize, of: impl Fn(&Transfers<'e>) -> Score) -> Column {
        let mut scores: BTreeMap<String, BTreeMap<String, Score>> = BTreeMap::new();
        for ((target, seed), cell) in &self.cells {
            scores.entry((*target).to_owned()).or_default().insert((*seed).to_owned(), of(cell));
        }
        let cost = Some(Cost { tunings, candidates: self.prompts.len() });
        Column { name: name.to_owned(), cost, scores }
    }

    /// The best source prompt for each target and seed, known only afterwards: no way to choose can do better.
    fn oracle(&self) -> Column {
        self.column(ORACLE, self.prompts.len(), |cell| {
            let best = cell.values().max_by(|a, b| a.score.total_cmp(&b.score)).expect("no cell is empty");
            Score {
                value: best.score,
                illegal: best.illegal,
                only_label: best.only_label.clone(),
                from: vec![best.digest.clone()],
            }
        })
    }

    /// What a selection must beat: any source, and the one source that is best on average by the validation split.
    fn baselines(&self) -> Vec<Column> {
        let average = |cell: &Transfers<'_>, of: &dyn Fn(&str) -> bool| {
            let chosen: Vec<&&Evaluation> = cell.iter().filter(|(prompt, _)| of(&prompt.0)).map(|(_, e)| e).collect();
            Score {
                value: mean(&chosen.iter().map(|e| e.score).collect::<Vec<_>>()),
                illegal: mean(&chosen.iter().map(|e| e.illegal).collect::<Vec<_>>()),
                // What several prompts said stands in no single cell.
                only_label: None,
                from: chosen.iter().map(|e| e.digest.clone()).collect(),
            }
        };
        let mut columns = vec![self.column("random source (mean of all)", 1, |cell| average(cell, &|_| true))];
        let mut validation: BTreeMap<&str, Vec<Option<f64>>> = BTreeMap::new();
        for e in self.cells.values().flat_map(BTreeMap::values) {
            validation.entry(&e.source.0).or_default().push(e.validation);
        }
        let mean_of =
            |scores: &[Option<f64>]| scores.iter().copied().collect::<Option<Vec<f64>>>().map(|all| mean(&all));
        let means: Option<Vec<(&str, f64)>> =
            validation.iter().map(|(source, scores)| Some((*source, mean_of(scores)?))).collect();
        let best =
            means.and_then(|means| means.into_iter().reduce(|best, next| if next.1 > best.1 { next } else { best }));
        columns.extend(best.map(|(best, _)| {
            self.column(&format!("always from {best} (best on average)"), 1, |cell| {
                average(cell, &|source| source == best)
            })
        }));
        columns
    }

    fn sources(&self) -> BTreeSet<&'e str> {
        self.prompts.iter().map(|(source, _)| source.as_str()).collect()
    }

    /// Scores of a source task on a target by seed, over the source's prompts.
    fn by_seed(&self, target: &str, of: impl Fn(&(String, String)) -> bool) -> Spread {
        let mut seeds = Vec::new();
        let mut from = Vec::new();
        for (_, cell) in self.cells.iter().filter(|((task, _), _)| *task == target) {
            let chosen = cell.iter().filter(|(prompt, _)| of(prompt)).map(|(_, e)| e);
            let scores: Vec<f64> = chosen.clone().map(|e| e.score).collect();
            from.extend(chosen.map(|e| e.digest.clone()));
            seeds.push(mean(&scores));
        }
        Spread::of(&seeds).from(from)
    }

    fn matrix(&self) -> anyhow::Result<Matrix> {
        let targets: Vec<String> = self.baseline.keys().cloned().collect();
        let row =
            |source: &str| targets.iter().map(|target| self.by_seed(target, |prompt| prompt.0 == source)).collect();
        let sources = self.sources().into_iter().map(|source| Source { name: source.to_owned(), scores: row(source) });
        let scores =
            Scores { baseline: self.baseline.values().cloned().collect(), sources: sources.collect(), targets };
        Ok(Matrix { findings: Findings::of(&scores, None), scores })
    }

    fn points(&self, likeness: &[Likeness]) -> Vec<Point> {
        let mut points = Vec::new();
        for (target, baseline) in &self.baseline {
            for prompt in &self.prompts {
                let alike = likeness.iter().filter(|l| l.target.0 == *target && l.source == **prompt);
                let alike: Vec<f64> = alike.map(|l| l.value).collect();
                let score = self.by_seed(target, |other| other == *prompt);
                let reduction = relative_error_reduction(score.mean, baseline.mean);
                if let (Some(reduction), false) = (reduction, alike.is_empty()) {
                    points.push(Point {
                        target: target.clone(),
                        source: prompt.0.clone(),
                        source_seed: prompt.1.clone(),
                        similarity: mean(&alike),
                        relative_error_reduction: reduction,
                        from: score.from,
                    });
                }
            }
        }
        points
    }

    /// Every seed of a target ranks the source prompts by its own embedding.
    fn retrieval(&self, likeness: &[Likeness]) -> Vec<Retrieval> {
        let ks: Vec<usize> = SHOWN.into_iter().filter(|k| *k < self.prompts.len()).collect();
        let mut found = Vec::new();
        for target in self.baseline.keys() {
            let (mut regrets, mut gains): (BTreeMap<usize, Vec<f64>>, Vec<f64>) = Default::default();
            for ((_, seed), cell) in self.cells.iter().filter(|((task, _), _)| task == target) {
                let own = |l: &&Likeness| l.target.0 == *target && l.target.1 == **seed;
                let mut ranking: Vec<(f64, f64)> =
                    likeness.iter().filter(own).filter_map(|l| Some((l.value, cell.get(&l.source)?.score))).collect();
                if ranking.len() != self.prompts.len() {
                    continue;
                }
                ranking.sort_by(|a, b| b.0.total_cmp(&a.0));
                let scores: Vec<f64> = ranking.into_iter().map(|(_, score)| score).collect();
                ks.iter().for_each(|k| regrets.entry(*k).or_default().push(regret(&scores, *k)));
                gains.push(ndcg(&scores));
            }
            if !gains.is_empty() {
                let regret = regrets.into_iter().map(|(k, all)| (k, mean(&all))).collect();
                found.push(Retrieval { target: target.clone(), regret, ndcg: mean(&gains) });
            }
        }
        found
    }
}

fn correlations(points: &[Point]) -> BTreeMap<String, Correlations> {
    points
        .chunk_by(|a, b| a.target == b.target)
        .map(|points| {
            let x: Vec<f64> = points.iter().map(|point| point.similarity).collect();
            let y: Vec<f64> = points.iter().map(|point| point.relative_error_reduction).collect();
            (points[0].target.clone(), Correlations::of(&x, &y))
        })
        .collect()
}

fn warnings(split: &str, targets: &[Target]) -> Vec<String> {
    let mut warnings = Vec::new();
    if split == "validation" {
        warnings.push(
            "The scores are optimistic: checkpoints were chosen on the validation split, on which they are reported; \
             `hold_out` of `ingest` keeps a part of it apart."
                .to_owned(),
        );
    }
    for target in targets {
        let floor = target.majority.unwrap_or(f64::NEG_INFINITY);
        if target.cells.iter().all(|cell| cell.score.mean <= floor) {
            let task = &target.task;
            warnings.push(format!("On {task} no method beats always giving the most common answer ({floor:.1})."));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::statistics::tests::near;

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

    fn evidence() -> Evidence {
        let row = |source: &str, scores: [f64; 4]| {
            let places = [("a", "0"), ("a", "1"), ("b", "0"), ("b", "1")];
            places.iter().zip(scores).map(|((t, seed), score)| evaluation(t, seed, source, score)).collect::<Vec<_>>()
        };
        let like = |source: &str, target: &str, seed: &str, value| Likeness {
            source: (source.to_owned(), "0".to_owned()),
            target: (target.to_owned(), seed.to_owned()),
            value,
        };
        Evidence {
            baseline: row("", [50.0, 54.0, 80.0, 80.0]),
            strategies: vec![Strategy {
                name: "best of top 1".to_owned(),
                evaluations: row("x", [60.0, 64.0, 80.0, 84.0]),
                cost: Some(Cost { tunings: 1, candidates: 2 }),
            }],
            pairs: [row("x", [60.0, 64.0, 80.0, 84.0]), row("y", [70.0, 50.0, 70.0, 74.0])].concat(),
            suites: vec![("only b".to_owned(), vec!["b".to_owned()])],
            tasks: None,
            likeness: ["a", "b"]
                .iter()
                .flat_map(|t| ["0", "1"].iter().flat_map(|s| [like("x", t, s, 0.2), like("y", t, s, 0.9)]))
                .collect(),
        }
    }

    #[test]
    fn a_method_is_compared_as_in_the_papers_table_3() {
        let results = evidence().results().unwrap();
        let names: Vec<&str> = results.methods.iter().map(|method| method.name.as_str()).collect();
        let derived = ["random source (mean of all)", "always from x (best on average)", "oracle"];
        assert_eq!(names, [["prompt tuning", "best of top 1"].as_slice(), &derived].concat());
        let best = &results.methods[1];
        // Gains of 10 and 10 on a, of 0 and 4 on b.
        assert_eq!(best.change.as_ref().unwrap().mean, 6.0);
        near(best.change.as_ref().unwrap().deviation.unwrap(), 2.0_f64.sqrt(), 1e-12);
        assert_eq!(best.score.mean, 72.0);
        let reductions = (100.0 * 10.0 / 48.0, 100.0 * 2.0 / 20.0);
        near(best.relative_error_reduction.as_ref().unwrap().mean, (reductions.0 + reductions.1) / 2.0, 1e-12);
        assert_eq!(best.search_skipped, Some(50.0));
        // The oracle gains 20, 10, 0 and 4.
        near(best.oracle_share.unwrap(), 100.0 * 6.0 / 8.5, 1e-12);
        let [low, high] = best.change_interval.unwrap();
        assert!((0.0..6.0).contains(&low) && high > 6.0 && high <= 10.0, "{low} {high}");
        assert_eq!(results.suites[0].scores[1].mean, 82.0);
        assert_eq!(results.targets[0].cells[1].score.from, ["a0x", "a1x"]);
    }

    #[test]
    fn the_matrix_its_points_and_the_ranking_are_judged() {
        let results = evidence().results().unwrap();
        let matrix = results.matrix.unwrap();
        assert_eq!(matrix.findings.source_mean["y"], 66.0);
        assert_eq!((matrix.findings.helping, matrix.findings.hurting), (3, 1));
        assert_eq!(results.points.len(), 4);
        assert_eq!(results.correlation["b"].pearson, -1.0);
        // y is ranked first: on a best for one seed and 14 of 64 behind for the other.
        near(results.retrieval[0].regret[&1], 50.0 * 14.0 / 64.0, 1e-12);
        near(results.retrieval[0].ndcg, (1.0 + 1.0 / 3.0_f64.log2()) / 2.0, 1e-12);
        let text = serde_json::to_string(&evidence().results().unwrap()).unwrap();
        assert_eq!(serde_json::from_str::<Results>(&text).unwrap(), evidence().results().unwrap());
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
        check(|e| e.pairs[1].split = "validation".to_owned(), "scores on the validation split stand beside");
        check(|e| drop(e.pairs.pop()), "`pairs` lacks `b`, seed 1, from `y,0`");
        check(|e| e.strategies[0].evaluations.truncate(2), "`best of top 1` has no scores for `b`");
        check(|e| e.suites[0].1.push("c".to_owned()), "`suites` puts `c` into `only b`");
        check(|e| e.baseline.push(e.baseline[0].clone()), "`prompt tuning` has two evaluations of `a`, seed 0");
    }
}
