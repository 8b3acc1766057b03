//! Measures of DROP (Dua et al. 2019): answers are spans, of which there may be several, and numbers count as numbers.
//!
//! As the official script takes them. It gets lists of spans; here an answer is a text, in which [`BETWEEN`] stands between them.

use super::answers::without_articles;
use std::collections::BTreeSet;

/// What stands between the spans of an answer.
pub(crate) const BETWEEN: &str = "; ";

type Bag = BTreeSet<String>;

/// 1 if both answers have the same spans.
pub(super) fn exact_match(answer: &str, prediction: &str) -> f64 {
    let spans = |text: &str| text.split(BETWEEN).map(normalized).collect::<Vec<_>>();
    let (answer, prediction) = (spans(answer), spans(prediction));
    let same = answer.len() == prediction.len() && set(&answer) == set(&prediction);
    f64::from(same)
}

/// Mean F1 of the spans, each beside the one that it is best compared with; a span with numbers has none in common with one that has
/// other numbers only. With two decimals, as in the script.
pub(super) fn f1(answer: &str, prediction: &str) -> f64 {
    let bags = |text: &str| text.split(BETWEEN).map(|span| bag(&normalized(span))).collect::<Vec<Bag>>();
    let (answer, prediction) = (bags(answer), bags(prediction));
    let count = answer.len().max(prediction.len());
    let score = |row: usize, column: usize| match (answer.get(row), prediction.get(column)) {
        (Some(gold), Some(said)) => of_bags(gold, said),
        _ => 0.0,
    };
    let scores: Vec<Vec<f64>> = (0..count).map(|row| (0..count).map(|column| score(row, column)).collect()).collect();
    let mean = assigned(&scores) / count as f64;
    format!("{mean:.2}").parse().unwrap_or(mean)
}

fn set(spans: &[String]) -> BTreeSet<&str> {
    spans.iter().map(String::as_str).collect()
}

fn bag(normalized: &str) -> Bag {
    normalized.split_whitespace().map(str::to_owned).collect()
}

fn of_bags(gold: &Bag, said: &Bag) -> f64 {
    let numbers = |bag: &Bag| bag.iter().filter(|word| number(word).is_some()).cloned().collect::<Bag>();
    let of_gold = numbers(gold);
    if !of_gold.is_empty() && of_gold.is_disjoint(&numbers(said)) {
        return 0.0;
    }
    let both = gold.intersection(said).count() as f64;
    let share = |bag: &Bag| if bag.is_empty() { 1.0 } else { both / bag.len() as f64 };
    let (precision, recall) = (share(said), share(gold));
    if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 }
}

/// A span as it is compared: words apart at blanks and hyphens, in lower case, without articles and punctuation; numbers in one form.
fn normalized(span: &str) -> String {
    let word = |token: &str| {
        let lower = token.to_lowercase();
        let plain = if number(&lower).is_some() {
            lower
        } else {
            lower.chars().filter(|letter| !letter.is_ascii_punctuation()).collect()
        };
        let plain = number(&plain).map_or(plain, |number| format!("{number:?}"));
        without_articles(&plain).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let words: Vec<String> = span.split([' ', '-']).map(word).filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// A number as Python reads it, underscores between digits apart.
fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok()
}

/// The largest sum of scores of which no two are in one row or column, of a square (Kuhn 1955).
fn assigned(scores: &[Vec<f64>]) -> f64 {
    // Rows and columns count from 1; 0 is none.
    let count = scores.len();
    let cost = |row: usize, column: usize| -scores[row - 1][column - 1];
    let (mut of_row, mut of_column) = (vec![0.0; count + 1], vec![0.0; count + 1]);
    let mut row_at = vec![0; count + 1];
    for row in 1..=count {
        row_at[0] = row;
        let (mut least, mut way, mut used) =
            (vec![f64::INFINITY; count + 1], vec![0; count + 1], vec![false; count + 1]);
        let mut column = 0;
        while row_at[column] != 0 {
            used[column] = true;
            let (mut step, mut next) = (f64::INFINITY, 0);
            for other in (1..=count).filter(|other| !used[*other]) {
                let reduced = cost(row_at[column], other) - of_row[row_at[column]] - of_column[other];
                if reduced < least[other] {
                    (least[other], way[other]) = (reduced, column);
                }
                if least[other] < step {
                    (step, next) = (least[other], other);
                }
            }
            for other in 0..=count {
                if used[other] {
                    of_row[row_at[other]] += step;
                    of_column[other] -= step;
                } else {
                    least[other] -= step;
                }
            }
            column = next;
        }
        while column != 0 {
            row_at[column] = row_at[way[column]];
            column = way[column];
        }
    }
    (1..=count).map(|column| scores[row_at[column] - 1][column - 1]).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::statistics::tests::{golden_of_generation, near};

    #[test]
    fn scores_are_those_of_the_official_logic() {
        let cases = golden_of_generation()["drop"].as_array().unwrap().clone();
        assert!(cases.len() >= 30);
        for case in cases {
            let spans = |name: &str| -> Vec<String> { serde_json::from_value(case[name].clone()).unwrap() };
            let (answer, prediction) = (spans("answer").join(BETWEEN), spans("prediction").join(BETWEEN));
            near(exact_match(&answer, &prediction), case["exact_match"].as_f64().unwrap(), 1e-12);
            near(f1(&answer, &prediction), case["f1"].as_f64().unwrap(), 1e-12);
        }
    }

    #[test]
    fn numbers_are_numbers() {
        assert_eq!((exact_match("4", "4.0"), f1("4 goals", "5 goals"), f1("4 goals", "4.00")), (1.0, 0.0, 0.67));
        assert_eq!(exact_match("a; b", "b; a"), 1.0);
    }
}
