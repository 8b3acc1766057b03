//! Prompts that were chosen among several by their validation scores, beside what they score where nothing was chosen.

use super::columns::{Column, values};
use super::evaluation::Cost;
use super::grid::Grid;
use super::page::{Cell, Column as Heading, Format, Row, Table, Value};
use super::results::Choice;
use crate::data::{Candidate, Candidates};
use crate::ml::statistics::mean;
use anyhow::{Context, ensure};

/// What a method chose for each of its targets.
///
/// # Errors
/// If there are choices of some targets and none of others, or those of one target are by different metrics or among different numbers
/// of candidates.
pub(super) fn rows(column: &Column, choices: &[Candidates]) -> anyhow::Result<Vec<Choice>> {
    if choices.is_empty() {
        return Ok(Vec::new());
    }
    column.scores.iter().map(|(target, scores)| row(&column.name, target, &values(scores), choices)).collect()
}

fn row(method: &str, target: &str, scores: &[f64], choices: &[Candidates]) -> anyhow::Result<Choice> {
    let own: Vec<&Candidates> = choices.iter().filter(|choice| choice.task == target).collect();
    let first = own.first().with_context(|| format!("`{method}` has no candidates for `{target}`"))?;
    for choice in &own {
        let said = |choice: &Candidates| format!("{} by `{}`", choice.rows.len(), choice.metric);
        let (one, other) = (said(first), said(choice));
        ensure!(one == other, "`{method}` chose for `{target}` among {one}, and among {other}; these are two methods");
    }
    let chosen: Vec<&Candidate> = own.iter().filter_map(|choice| choice.chosen()).collect();
    let all: Vec<f64> = own.iter().flat_map(|choice| choice.rows.iter().map(|row| row.validation)).collect();
    Ok(Choice {
        method: method.to_owned(),
        target: target.to_owned(),
        candidates: first.rows.len(),
        metric: first.metric.clone(),
        validation: mean(&chosen.iter().map(|chosen| chosen.validation).collect::<Vec<_>>()),
        mean_of_all: mean(&all),
        score: mean(scores),
        chosen: chosen.into_iter().map(|chosen| chosen.prompt.clone()).collect(),
    })
}

impl Cost {
    /// What choosing among candidates spends: the tunings of all of them. `chosen` is what is known of the chosen ones alone.
    pub fn of_candidates(candidates: &Candidates, chosen: Option<Self>) -> Self {
        let count = candidates.rows.len();
        let steps = candidates.rows.iter().map(|row| row.steps).sum::<Option<u64>>().map(|steps| steps as f64);
        let began_from_others = candidates.rows.iter().any(|row| row.source_steps.is_some());
        Self {
            tunings: count,
            candidates: 0,
            target_steps: steps,
            tuning_steps: steps.map(|steps| steps / count.max(1) as f64),
            // Sources of those that were not chosen are not known.
            source_steps: chosen.and_then(|chosen| chosen.source_steps).filter(|_| !began_from_others),
            library_steps: None,
        }
    }
}

/// What the table is about.
pub(super) const TITLE: &str = "Chosen by validation scores";

/// What to think of its numbers.
pub(super) fn in_words(split: &str) -> String {
    let here = match split {
        "validation" => "this report is of the split on which they were chosen, and all their scores are".to_owned(),
        other => format!("what they are worth says the score on {other}, on which nothing was chosen"),
    };
    format!("The best of n scores on validation is optimistic, the more so the larger n; {here}.")
}

const HEADINGS: [&str; 7] = ["method", "target", "chosen by", "best on validation", "mean of all", "on ", "prompts"];

fn headings(split: &str) -> [String; 7] {
    HEADINGS.map(|heading| if heading == "on " { format!("on {split}") } else { heading.to_owned() })
}

/// How a prompt was chosen.
fn how(choice: &Choice) -> String {
    format!("best of {} by {}", choice.candidates, choice.metric)
}

/// Digits of a digest with which `spot show` finds what it is of.
const DIGITS: usize = 12;

/// For terminals and documents.
pub(super) fn grid(choices: &[Choice], split: &str) -> Grid {
    let mut grid = Grid::new(headings(split).into());
    for choice in choices {
        let Choice { method, target, validation, mean_of_all, score, chosen, .. } = choice;
        let number = |score: &f64| format!("{score:.1}");
        let digests: Vec<&str> = chosen.iter().map(|digest| digest.get(..DIGITS).unwrap_or(digest)).collect();
        grid.push(vec![
            method.clone(),
            target.clone(),
            how(choice),
            number(validation),
            number(mean_of_all),
            number(score),
            digests.join(" "),
        ]);
    }
    grid
}

/// For pages: the records of the chosen prompts stand behind their scores.
pub(super) fn table(choices: &[Choice], split: &str) -> Table {
    let [method, target, by, best, all, on, _] = headings(split);
    let columns = [(method, 0), (target, 0), (by, 0), (best, 1), (all, 1), (on, 1)];
    let row = |choice: &Choice| Row {
        name: choice.method.clone(),
        values: vec![
            Value::Text(choice.target.clone()),
            Value::Text(how(choice)),
            Value::Number(Cell::of(choice.validation).from(&choice.chosen)),
            Value::Number(Cell::of(choice.mean_of_all)),
            Value::Number(Cell::of(choice.score)),
        ],
        ..Row::default()
    };
    Table {
        caption: format!("{TITLE}. {}", in_words(split)),
        columns: columns.into_iter().map(|(name, decimals)| Heading::new(name, Format::plain(decimals))).collect(),
        rows: choices.iter().map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::columns::Role;
    use crate::report::evaluation::Evaluation;

    fn choice(task: &str, scores: &[f64]) -> Candidates {
        let row = |(at, validation): (usize, &f64)| Candidate {
            prompt: format!("{at:020}"),
            steps: Some(100),
            validation: *validation,
            ..Candidate::default()
        };
        let rows = scores.iter().enumerate().map(row).collect();
        Candidates { task: task.to_owned(), metric: "score".to_owned(), rows }
    }

    fn column() -> Column {
        let evaluation = |seed: &str, score| Evaluation {
            task: "rte".to_owned(),
            seed: seed.to_owned(),
            score,
            ..Evaluation::default()
        };
        Column::of_runs("sweep", Role::Method, &[evaluation("0", 60.0), evaluation("1", 62.0)])
    }

    #[test]
    fn the_best_on_validation_stands_beside_the_mean_of_all_and_the_score_elsewhere() {
        let choices = [choice("rte", &[80.0, 70.0]), choice("rte", &[70.0, 50.0]), choice("cb", &[10.0])];
        let rows = rows(&column(), &choices).unwrap();
        let [row] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!((row.candidates, row.validation, row.mean_of_all, row.score), (2, 75.0, 67.5, 61.0));
        let text = grid(&rows, "test").to_text();
        assert!(text.contains("on test"), "{text}");
        assert!(text.contains("best of 2 by score"), "{text}");
        assert!(text.contains("000000000000 000000000000"), "{text}");
        assert!(in_words("test").contains("on test, on which nothing was chosen"));
        assert!(in_words("validation").contains("all their scores are"));
    }

    #[test]
    fn choices_that_are_not_one_method_are_refused() {
        let error = |choices: &[Candidates]| rows(&column(), choices).unwrap_err().to_string();
        assert_eq!(error(&[choice("cb", &[1.0])]), "`sweep` has no candidates for `rte`");
        let unlike = error(&[choice("rte", &[1.0]), choice("rte", &[2.0, 1.0])]);
        assert!(unlike.starts_with("`sweep` chose for `rte` among 1 by `score`, and among 2 by `score`"), "{unlike}");
        assert!(rows(&column(), &[]).unwrap().is_empty());
    }

    #[test]
    fn choosing_costs_the_tunings_of_all_candidates() {
        let chosen = Some(Cost { source_steps: Some(0.0), ..Cost::default() });
        let cost = Cost::of_candidates(&choice("rte", &[2.0, 1.0, 0.0]), chosen);
        assert_eq!((cost.tunings, cost.target_steps, cost.tuning_steps), (3, Some(300.0), Some(100.0)));
        assert_eq!(cost.source_steps, Some(0.0));
        let mut begun = choice("rte", &[2.0, 1.0]);
        begun.rows[1].source_steps = Some(50);
        assert_eq!(Cost::of_candidates(&begun, chosen).source_steps, None, "what the others began from is not known");
        begun.rows[0].steps = None;
        assert_eq!(Cost::of_candidates(&begun, chosen).target_steps, None);
    }
}
