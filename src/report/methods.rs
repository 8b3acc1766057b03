//! What every method gained, how sure that is, and what it cost: the rows of the paper's Table 3.

use super::columns::{BySeed, Column, Role, common_seeds, gains, over_targets, values};
use super::derived::without_choice;
use super::results::{Comparison, Method};
use super::spread::Spread;
use super::transfers::Transfers;
use crate::ml::statistics::{holm, mean, relative_error_reduction, sign_flip_p, t_interval};
use anyhow::Context;

/// A row for each column; of ways to learn, how probable their gain is if nothing were gained, corrected for their number.
pub(super) fn methods(columns: &[Column], transfers: Option<&Transfers<'_>>) -> Vec<Method> {
    let baseline = &columns[0];
    let gain = |role: Role| {
        let column = columns.iter().find(|column| column.role == role)?;
        Some(mean(&gains(column, baseline))).filter(|gain| *gain > 0.0)
    };
    let ceilings = [gain(Role::Oracle), gain(Role::Maximum)];
    let mut methods: Vec<Method> = columns.iter().map(|column| method(column, baseline, ceilings, transfers)).collect();
    let tested: Vec<usize> = (0..methods.len()).filter(|at| methods[*at].p.is_some()).collect();
    let p: Vec<f64> = tested.iter().filter_map(|at| methods[*at].p).collect();
    for (at, p) in tested.into_iter().zip(holm(&p)) {
        methods[at].p_holm = Some(p);
    }
    methods
}

/// The error of a baseline in points from which on shares of it are averaged: of less, one example more or less is a multiple.
const LEAST_ERROR: f64 = 1.0;

/// Targets on which the baseline errs so little that shares of its error say nothing.
pub(super) fn hardly_an_error(baseline: &Column) -> Option<String> {
    let errs = |scores: &BySeed| 100.0 - mean(&values(scores)) < LEAST_ERROR;
    let names: Vec<&str> =
        baseline.scores.iter().filter(|(_, scores)| errs(scores)).map(|(task, _)| task.as_str()).collect();
    (!names.is_empty()).then(|| {
        format!(
            "On {} the baseline errs by less than {LEAST_ERROR} point; the means of relative error reductions are over the other \
             targets.",
            names.join(", ")
        )
    })
}

/// With few targets and many methods even the clearest gain has a corrected p above 0.05.
pub(super) fn too_few_targets(columns: &[Column]) -> Option<String> {
    let (targets, methods) =
        (columns[0].scores.len(), columns.iter().filter(|column| column.role == Role::Method).count());
    let least = 2.0_f64.powi(1 - targets as i32);
    let corrected = least * methods as f64;
    (methods > 0 && corrected > 0.05).then(|| {
        format!(
            "With {targets} targets no p is below {least:.3}, and none that is corrected for {methods} methods below \
             {:.3}: where that is not small, intervals say more.",
            corrected.min(1.0)
        )
    })
}

/// A row of the paper's Table 3. The relative error reduction is the mean over targets of theirs, which gives the percentages that
/// are printed there.
fn method(column: &Column, baseline: &Column, ceilings: [Option<f64>; 2], transfers: Option<&Transfers<'_>>) -> Method {
    let score = over_targets(column, |_| true);
    let mut row = Method { name: column.name.clone(), role: column.role, score, ..Method::default() };
    if let Some(cost) = &column.cost {
        row.tunings = Some(cost.tunings);
        row.candidates = (cost.candidates > 0).then_some(cost.candidates);
        row.target_steps = cost.target_steps;
        row.source_steps = cost.source_steps;
        let targets = column.scores.len();
        let skipped = || Some(100.0 * (1.0 - cost.total(targets)? / cost.brute_force(targets)?));
        row.search_skipped = row.candidates.and_then(|_| skipped());
    }
    if column.role == Role::Baseline {
        return row;
    }
    let gained = gains(column, baseline);
    let gain = mean(&gained);
    let base = |task: &String| mean(&values(&baseline.scores[task]));
    let reduction = |task: &String, score: f64| {
        relative_error_reduction(score, base(task)).filter(|_| 100.0 - base(task) >= LEAST_ERROR)
    };
    let reductions: Vec<f64> =
        column.scores.iter().filter_map(|(task, scores)| reduction(task, mean(&values(scores)))).collect();
    let rows: Vec<&BySeed> = column.scores.values().collect();
    let seeds = common_seeds(&rows);
    let repeated = |of: &dyn Fn(&String, f64) -> Option<f64>| -> Vec<f64> {
        let study = |seed: &&String| {
            let cells = column.scores.iter().filter_map(|(task, scores)| of(task, scores[*seed].value));
            mean(&cells.collect::<Vec<f64>>())
        };
        seeds.iter().map(study).collect()
    };
    let around = |mean: f64, studies: &[f64]| Spread { mean, ..Spread::of(studies) }.from(row.score.from.clone());
    // The baseline's mean over seeds is taken off every seed's score, so that points and percent have one baseline.
    row.change = Some(around(gain, &repeated(&|task, score| Some(score - base(task)))));
    row.relative_error_reduction = (!reductions.is_empty()).then(|| around(mean(&reductions), &repeated(&reduction)));
    row.change_interval = t_interval(&gained);
    row.p = if column.role == Role::Method { sign_flip_p(&gained) } else { None };
    let chose_among_the_same =
        transfers.is_some_and(|all| column.cost.is_some_and(|cost| cost.candidates == all.candidates()));
    if chose_among_the_same {
        let share = |ceiling: Option<f64>| ceiling.map(|ceiling| 100.0 * gain / ceiling);
        [row.oracle_share, row.maximum_share] = ceilings.map(share);
    }
    row
}

/// Every method beside the rows of the same budget that it names, and what is to be known of those that are left out.
///
/// # Errors
/// If a method names a control that is not among the rows, and could be none.
pub(super) fn comparisons(
    columns: &[Column],
    transfers: Option<&Transfers<'_>>,
) -> anyhow::Result<(Vec<Comparison>, Vec<String>)> {
    let (mut found, mut left_out) = (Vec::new(), Vec::new());
    for column in columns {
        for name in &column.controls {
            let is_row = columns.iter().any(|other| other.name == *name);
            if !is_row && let Some(why) = transfers.and_then(|all| without_choice(name, all)) {
                left_out.push(format!("`{}` is not compared with `{name}`: {why}.", column.name));
                continue;
            }
            let control = columns.iter().find(|other| other.name == *name);
            let control = control.with_context(|| {
                let names: Vec<String> = columns.iter().map(|column| format!("`{}`", column.name)).collect();
                format!("`{}` names the control `{name}`, which is no row; rows are {}", column.name, names.join(", "))
            })?;
            let differences = gains(column, control);
            found.push(Comparison {
                method: column.name.clone(),
                control: name.clone(),
                difference: mean(&differences),
                interval: t_interval(&differences),
                p: sign_flip_p(&differences),
                p_holm: None,
            });
        }
    }
    let p: Vec<f64> = found.iter().filter_map(|comparison| comparison.p).collect();
    for (comparison, p) in found.iter_mut().filter(|comparison| comparison.p.is_some()).zip(holm(&p)) {
        comparison.p_holm = Some(p);
    }
    Ok((found, left_out))
}
