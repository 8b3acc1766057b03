//! Do the intervals and tests of a report keep what they promise? Studies are simulated of which the truth is known.
//!
//! `cargo bench --profile dev --locked --bench coverage`: a minute. Every table says how a study was drawn; the figures are shares of
//! studies, so with 4,000 of them 95 % is uncertain by 0.7 points (two standard errors).

use spot::ml::random::Stream;
use spot::ml::statistics::{holm, mean, order_p, pearson, reliability_of_runs, sign_flip_p, t_interval};
use spot::report::columns::Role;
use spot::report::compare::Evidence;
use spot::report::evaluation::Evaluation;
use spot::report::prediction::{Likeness, Prediction};
use spot::report::transfers::Transfers;
use std::collections::BTreeMap;

const STUDIES: u64 = 4000;

/// How what is gained differs between targets; all have mean 0 and standard deviation 1.
#[derive(Clone, Copy)]
enum Spread {
    Normal,
    /// Few targets gain much: an exponential.
    Skewed,
    /// Student's t with 5 degrees of freedom.
    HeavyTailed,
}

impl Spread {
    fn draw(self, stream: &mut Stream) -> f64 {
        match self {
            Self::Normal => stream.normal(),
            Self::Skewed => -(1.0 - stream.unit()).ln() - 1.0,
            Self::HeavyTailed => {
                let chi: f64 = (0..5).map(|_| stream.normal().powi(2)).sum();
                stream.normal() / (chi / 5.0).sqrt() / (5.0_f64 / 3.0).sqrt()
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Skewed => "exponential",
            Self::HeavyTailed => "Student's t, 5 df",
        }
    }
}

/// Gains on so many targets, each the difference of means over three seeds with a standard deviation of 3 each, around true gains
/// that differ by 4 points between targets.
fn gains(stream: &mut Stream, spread: Spread, targets: usize, truth: f64) -> Vec<Vec<f64>> {
    let target = |stream: &mut Stream| {
        let gain = truth + 4.0 * spread.draw(stream);
        (0..3).map(|_| gain + 3.0 * stream.normal() - 3.0 * stream.normal()).collect()
    };
    (0..targets).map(|_| target(stream)).collect()
}

/// The percentile bootstrap over targets and seeds (Efron 1979), which reports had before.
fn bootstrap(gains: &[Vec<f64>], stream: &mut Stream) -> [f64; 2] {
    let mut resample = || {
        let target = |stream: &mut Stream| {
            let target = stream.choose(gains);
            mean(&(0..target.len()).map(|_| *stream.choose(target)).collect::<Vec<_>>())
        };
        mean(&(0..gains.len()).map(|_| target(stream)).collect::<Vec<_>>())
    };
    let mut means: Vec<f64> = (0..1000).map(|_| resample()).collect();
    means.sort_by(f64::total_cmp);
    [means[25], means[974]]
}

fn percent(hits: usize, of: u64) -> String {
    format!("{:.1} %", 100.0 * hits as f64 / of as f64)
}

fn intervals() {
    println!(
        "Share of 95 % intervals that hold the true gain (2 points), and of tests that find a gain where none is (p < 0.05)\n"
    );
    println!("targets | gains differ as   | t over targets | percentile bootstrap | sign exchange | least p");
    println!("------- | ----------------- | -------------- | -------------------- | ------------- | -------");
    for targets in [5, 9, 10] {
        for spread in [Spread::Normal, Spread::Skewed, Spread::HeavyTailed] {
            let (mut t, mut percentile, mut found) = (0, 0, 0);
            let mut stream = Stream::new(targets as u64, spread.name());
            for _ in 0..STUDIES {
                let gains = gains(&mut stream, spread, targets, 2.0);
                let means: Vec<f64> = gains.iter().map(|target| mean(target)).collect();
                let holds = |[low, high]: [f64; 2]| usize::from((low..=high).contains(&2.0));
                t += t_interval(&means).map_or(0, holds);
                percentile += holds(bootstrap(&gains, &mut stream));
                let null: Vec<f64> = means.iter().map(|gain| gain - 2.0).collect();
                found += usize::from(sign_flip_p(&null).is_some_and(|p| p < 0.05));
            }
            let least = 2.0 / f64::from(1 << targets);
            println!(
                "{targets:7} | {:17} | {:>14} | {:>20} | {:>13} | {least:.3}",
                spread.name(),
                percent(t, STUDIES),
                percent(percentile, STUDIES),
                percent(found, STUDIES)
            );
        }
    }
}

fn many_methods() {
    let targets = 9;
    let (mut plain, mut corrected) = (0, 0);
    let mut stream = Stream::new(0, "many methods");
    for _ in 0..STUDIES {
        let p: Vec<f64> = (0..16)
            .filter_map(|_| {
                let gains = gains(&mut stream, Spread::Normal, targets, 0.0);
                sign_flip_p(&gains.iter().map(|target| mean(target)).collect::<Vec<_>>())
            })
            .collect();
        plain += usize::from(p.iter().any(|p| *p < 0.05));
        corrected += usize::from(holm(&p).iter().any(|p| *p < 0.05));
    }
    println!("\nShare of studies that find a gain among 16 methods of which none gains anything, {targets} targets\n");
    println!("each p for itself | Holm");
    println!("----------------- | ----");
    println!("{:>17} | {}", percent(plain, STUDIES), percent(corrected, STUDIES));
}

/// Values of prompts whose task explains the share `task` of their variance.
fn clustered(stream: &mut Stream, sources: usize, seeds: usize, task: f64) -> Vec<f64> {
    let source = |stream: &mut Stream| {
        let of_task = task.sqrt() * stream.normal();
        (0..seeds).map(|_| of_task + (1.0 - task).sqrt() * stream.normal()).collect::<Vec<_>>()
    };
    (0..sources).flat_map(|_| source(stream)).collect()
}

fn correlations() {
    const STUDIES: u64 = 1000;
    println!(
        "\nShare of correlations with p < 0.05 between similarities and scores that have nothing to do with each other\n"
    );
    println!("source tasks | prompts of each | share of a task | prompts exchanged | tasks exchanged (reports)");
    println!("------------ | --------------- | --------------- | ----------------- | -------------------------");
    for (sources, seeds) in [(6, 3), (11, 2), (16, 3)] {
        for task in [0.5, 0.7, 0.9] {
            let mut stream = Stream::new(sources as u64, &format!("correlations {task}"));
            let (mut prompts, mut tasks) = (0, 0);
            for _ in 0..STUDIES {
                let x = clustered(&mut stream, sources, seeds, task);
                let y = clustered(&mut stream, sources, seeds, task);
                let p = order_p(x.len(), |order| pearson(&order.iter().map(|at| x[*at]).collect::<Vec<_>>(), &y));
                prompts += usize::from(p < 0.05);
                tasks += usize::from(reported_p(&x, &y, seeds) < 0.05);
            }
            println!(
                "{sources:12} | {seeds:15} | {task:15} | {:>17} | {:>25}",
                percent(prompts, STUDIES),
                percent(tasks, STUDIES)
            );
        }
    }
}

/// The p-value of Pearson's correlation as a report has it.
fn reported_p(similarities: &[f64], scores: &[f64], seeds: usize) -> f64 {
    let name = |at: usize| (format!("s{:02}", at / seeds), (at % seeds).to_string());
    let evaluation = |(at, score): (usize, &f64)| Evaluation {
        task: "t".to_owned(),
        source: name(at),
        score: 50.0 + score,
        ..Evaluation::default()
    };
    let evaluations: Vec<Evaluation> = scores.iter().enumerate().map(evaluation).collect();
    let alike = |(at, value): (usize, &f64)| Likeness {
        source: name(at),
        target: ("t".to_owned(), String::new()),
        value: *value,
    };
    let likeness: Vec<Likeness> = similarities.iter().enumerate().map(alike).collect();
    let transfers = Transfers::of(&evaluations).expect("no transfer is there twice");
    let found = Prediction::of(&transfers, &likeness, BTreeMap::new());
    found.correlation["t"].pearson_p.expect("neither side is constant")
}

/// Nine targets, 22 source prompts whose true gains differ by 2 points, three runs of each with a standard deviation of 3.
fn ceilings() {
    const STUDIES: u64 = 300;
    let mut rows: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut reliabilities = Vec::new();
    let mut stream = Stream::new(0, "ceilings");
    for _ in 0..STUDIES {
        let (mut evidence, mut best, mut chosen) = (Evidence::default(), Vec::new(), Vec::new());
        for target in 0..9 {
            let truth: Vec<f64> = (0..22).map(|_| 2.0 * stream.normal()).collect();
            let runs: Vec<Vec<f64>> =
                truth.iter().map(|gain| (0..3).map(|_| 60.0 + gain + 3.0 * stream.normal()).collect()).collect();
            reliabilities.extend(reliability_of_runs(&runs));
            best.push(truth.iter().copied().fold(f64::NEG_INFINITY, f64::max));
            // What is truly gained by who takes the source that is best in the mean of two runs.
            let by_two = |source: usize| mean(&runs[source][..2]);
            let taken = (0..22).reduce(|best, next| if by_two(next) > by_two(best) { next } else { best });
            chosen.push(truth[taken.expect("there are sources")]);
            for seed in 0..3 {
                let e = |source: Option<usize>, score: f64| Evaluation {
                    task: format!("t{target}"),
                    seed: seed.to_string(),
                    source: source.map_or_else(Default::default, |source| (format!("s{source:02}"), "0".to_owned())),
                    score,
                    ..Evaluation::default()
                };
                evidence.baseline.push(e(None, 60.0));
                evidence.pairs.extend(runs.iter().enumerate().map(|(source, runs)| e(Some(source), runs[seed])));
            }
        }
        let results = evidence.results().expect("a complete study");
        for method in &results.methods {
            let gain = method.change.as_ref().map_or(0.0, |change| change.mean);
            let row = match method.role {
                Role::Oracle => "oracle, chosen on other seeds",
                Role::Maximum => "oracle, the maximum",
                Role::Chance => "random source, expected",
                _ => continue,
            };
            rows.entry(row).or_default().push(gain);
        }
        rows.entry("truth: the best source").or_default().push(mean(&best));
        rows.entry("truth: the one that is best in two other runs").or_default().push(mean(&chosen));
    }
    println!(
        "\nMean gain in points over {STUDIES} studies of 9 targets and 22 source prompts, whose true gains differ by 2 points (sd)\n"
    );
    println!("row                                           | points");
    println!("--------------------------------------------- | ------");
    rows.iter().for_each(|(row, gains)| println!("{row:45} | {:+.2}", mean(gains)));
    let truth = 4.0 / (4.0 + 9.0 / 3.0);
    println!("\nReliability: {:.3} in the mean, in truth {truth:.3}.", mean(&reliabilities));
}

fn main() {
    intervals();
    many_methods();
    correlations();
    ceilings();
}
