//! SARI (Xu et al. 2016): how well a text was rewritten, by what was added to it, kept of it and deleted from it.
//!
//! As Hugging Face's `evaluate` takes it: of runs of one to four tokens, the F1 of what was added and kept and the precision of what was
//! deleted, 1 where there was nothing to do; the mean over examples. Words are in lower case and cut as sacreBLEU's `13a` does.

use super::answers::Texts;
use super::bleu::grams;
use crate::ml::statistics;
use regex::Regex;
use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

/// The longest runs.
const LONGEST: usize = 4;

type Counts<'t> = HashMap<&'t [String], usize>;

/// The mean over examples, from 0 to 100.
pub(super) fn sari(of: &Texts<'_>) -> f64 {
    let texts = of.sources.iter().zip(of.answers).zip(of.predictions);
    let scores: Vec<f64> = texts.map(|((source, answers), prediction)| of_one(source, answers, prediction)).collect();
    100.0 * statistics::mean(&scores)
}

fn of_one(source: &str, answers: &[String], prediction: &str) -> f64 {
    let (source, prediction) = (tokens(source), tokens(prediction));
    let answers: Vec<Vec<String>> = answers.iter().map(|answer| tokens(answer)).collect();
    let of_order = |order: usize| {
        let mut asked = Counts::new();
        for answer in &answers {
            grams(answer, order).into_iter().for_each(|(gram, count)| *asked.entry(gram).or_default() += count);
        }
        // Source and prediction count once for every answer.
        let (source, prediction) = (times(&source, order, answers.len()), times(&prediction, order, answers.len()));
        added(&source, &prediction, &asked) + kept(&source, &prediction, &asked) + deleted(&source, &prediction, &asked)
    };
    (1..=LONGEST).map(of_order).sum::<f64>() / (3 * LONGEST) as f64
}

/// How often a text has each run, if it counts so many times.
fn times(tokens: &[String], order: usize, times: usize) -> Counts<'_> {
    grams(tokens, order).into_iter().map(|(gram, count)| (gram, count * times)).collect()
}

/// F1 of the runs that are new.
fn added(source: &Counts<'_>, prediction: &Counts<'_>, asked: &Counts<'_>) -> f64 {
    let new = |counts: &Counts<'_>| counts.keys().filter(|gram| !source.contains_key(*gram)).count();
    let good = prediction.keys().filter(|gram| asked.contains_key(*gram) && !source.contains_key(*gram)).count();
    let share = |of: usize| if of == 0 { 1.0 } else { good as f64 / of as f64 };
    f1(share(new(prediction)), share(new(asked)))
}

/// F1 of the runs that stayed.
fn kept(source: &Counts<'_>, prediction: &Counts<'_>, asked: &Counts<'_>) -> f64 {
    let (stayed, to_stay) = (common(source, prediction), common(source, asked));
    let good = common(&stayed, asked);
    let precise: f64 = ratios(&good, &stayed).sum();
    let found: f64 = good.values().sum::<usize>() as f64;
    let precision = if stayed.is_empty() { 1.0 } else { precise / stayed.len() as f64 };
    let all = to_stay.values().sum::<usize>();
    let recall = if all == 0 { 1.0 } else { found / all as f64 };
    f1(precision, recall)
}

/// Precision of the runs that are gone.
fn deleted(source: &Counts<'_>, prediction: &Counts<'_>, asked: &Counts<'_>) -> f64 {
    let gone = without(source, prediction);
    let good = without(&gone, asked);
    if gone.is_empty() { 1.0 } else { ratios(&good, &gone).sum::<f64>() / gone.len() as f64 }
}

/// Of every run of the first, which the second has too, the share that it is.
fn ratios<'c>(part: &'c Counts<'_>, whole: &'c Counts<'_>) -> impl Iterator<Item = f64> + 'c {
    // In an order that is the same every time, so that sums are.
    let ordered: BTreeSet<_> = part.iter().collect();
    ordered.into_iter().filter_map(|(gram, count)| Some(*count as f64 / *whole.get(gram)? as f64))
}

fn common<'t>(a: &Counts<'t>, b: &Counts<'_>) -> Counts<'t> {
    a.iter().filter_map(|(gram, count)| Some((*gram, (*count).min(*b.get(gram)?)))).collect()
}

fn without<'t>(a: &Counts<'t>, b: &Counts<'_>) -> Counts<'t> {
    let left = |gram: &[String], count: usize| count.saturating_sub(b.get(gram).copied().unwrap_or(0));
    a.iter().map(|(gram, count)| (*gram, left(gram, *count))).filter(|(_, count)| *count > 0).collect()
}

fn f1(precision: f64, recall: f64) -> f64 {
    if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 }
}

/// Words and punctuation (`13a` of sacreBLEU), in lower case; a text without any is an empty word.
fn tokens(text: &str) -> Vec<String> {
    static RULES: LazyLock<[(Regex, &str); 4]> = LazyLock::new(|| {
        let rule = |pattern: &str| Regex::new(pattern).expect("a pattern that is written here");
        [
            (rule(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), " $1 "),
            (rule(r"([^0-9])([\.,])"), "$1 $2 "),
            (rule(r"([\.,])([^0-9])"), " $1 $2"),
            (rule(r"([0-9])(-)"), "$1 $2 "),
        ]
    });
    let text = text.to_lowercase().replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    let text = text.replace("&quot;", "\"").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">");
    let spaced = RULES.iter().fold(format!(" {text} "), |text, (rule, by)| rule.replace_all(&text, *by).into_owned());
    let words: Vec<String> = spaced.split_whitespace().map(str::to_owned).collect();
    if words.is_empty() { vec![String::new()] } else { words }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::statistics::tests::{golden_of_generation, near};

    #[test]
    fn scores_are_those_of_evaluate() {
        let cases = golden_of_generation()["sari"].as_array().unwrap().clone();
        assert!(cases.len() >= 10);
        for case in cases {
            let text = |name: &str| case[name].as_str().unwrap().to_owned();
            let answers: Vec<String> = serde_json::from_value(case["answers"].clone()).unwrap();
            near(100.0 * of_one(&text("source"), &answers, &text("prediction")), case["score"].as_f64().unwrap(), 1e-9);
        }
    }

    #[test]
    fn nothing_to_score_is_zero() {
        assert_eq!(sari(&Texts { targets: &[], answers: &[], sources: &[], predictions: &[] }), 0.0);
    }
}
