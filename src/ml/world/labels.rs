//! The words that answers and fields are made of, in pretraining as in the built-in tasks.
//!
//! A label word that was never an answer in pretraining cannot be reached by a soft prompt on a nano backbone, so tasks draw
//! on the same pools. What differs is the combination.

use crate::ml::random::Stream;

/// Every word that can be a label.
pub const LABELS: [&str; 65] = [
    "no",
    "yes",
    "false",
    "true",
    "negative",
    "positive",
    "bad",
    "good",
    "not_entailment",
    "entailment",
    "neutral",
    "contradiction",
    "unacceptable",
    "acceptable",
    "not_duplicate",
    "duplicate",
    "not_equivalent",
    "equivalent",
    "different",
    "same",
    "clash",
    "agree",
    "maybe",
    "wrong",
    "right",
    "con",
    "pro",
    "choice1",
    "choice2",
    "other",
    "animal",
    "food",
    "object",
    "first",
    "second",
    "unknown",
    "never",
    "always",
    "low",
    "high",
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "bird",
    "beast",
    "fish",
    "insect",
    "fruit",
    "drink",
    "tool",
    "vehicle",
    "garment",
    "toy",
    "plant",
    "place",
    "event",
    "body",
];

/// Label words that belong together: where a condition fails, where it holds.
pub(super) const PAIRS: [[&str; 2]; 20] = [
    ["no", "yes"],
    ["false", "true"],
    ["negative", "positive"],
    ["bad", "good"],
    ["not_entailment", "entailment"],
    ["contradiction", "entailment"],
    ["unacceptable", "acceptable"],
    ["not_duplicate", "duplicate"],
    ["not_equivalent", "equivalent"],
    ["different", "same"],
    ["clash", "agree"],
    ["wrong", "right"],
    ["con", "pro"],
    ["choice1", "choice2"],
    ["other", "animal"],
    ["other", "food"],
    ["second", "first"],
    ["never", "always"],
    ["low", "high"],
    ["zero", "one"],
];

/// Label words for what follows, is open, clashes.
pub(super) const TRIPLES: [[&str; 3]; 6] = [
    ["entailment", "neutral", "contradiction"],
    ["agree", "maybe", "clash"],
    ["yes", "maybe", "no"],
    ["true", "unknown", "false"],
    ["right", "neutral", "wrong"],
    ["always", "maybe", "never"],
];

/// Every name that a field can have.
pub const FIELDS: [&str; 20] = [
    "sentence1",
    "sentence2",
    "premise",
    "hypothesis",
    "question1",
    "question2",
    "question",
    "context",
    "sentence",
    "text",
    "review",
    "passage",
    "word",
    "claim",
    "document",
    "statement",
    "choice1",
    "choice2",
    "story",
    "answer",
];

/// Names of two fields that belong together.
const FIELD_PAIRS: [[&str; 2]; 9] = [
    ["sentence1", "sentence2"],
    ["premise", "hypothesis"],
    ["question1", "question2"],
    ["context", "question"],
    ["passage", "question"],
    ["document", "claim"],
    ["text", "statement"],
    ["story", "answer"],
    ["choice1", "choice2"],
];

/// Label words for `classes` classes. The affirmative word stands for what holds, always: a small model learns to tell
/// truth from falsehood once for all label words, but not a new pairing of words and classes for every row.
pub(super) fn draw_labels(stream: &mut Stream, classes: usize) -> Vec<&'static str> {
    match classes {
        2 => stream.choose(&PAIRS).to_vec(),
        3 => stream.choose(&TRIPLES).to_vec(),
        _ => Vec::new(),
    }
}

/// Names for `count` fields, all different.
pub(super) fn draw_fields(stream: &mut Stream, count: usize) -> Vec<&'static str> {
    if count == 2 && stream.chance(0.5) {
        return stream.choose(&FIELD_PAIRS).to_vec();
    }
    stream.sample(FIELDS.len(), count).into_iter().map(|i| FIELDS[i]).collect()
}

/// The text as it is written: marks stand at the word before them.
pub(super) fn written(text: &str) -> String {
    text.replace(" .", ".").replace(" ,", ",").replace(" ?", "?")
}

/// `name: text name: text`.
pub(super) fn join(fields: &[&str], parts: &[String]) -> String {
    let mut joined = String::with_capacity(parts.iter().map(String::len).sum::<usize>() + 16 * parts.len());
    for (field, part) in fields.iter().zip(parts) {
        if !joined.is_empty() {
            joined.push(' ');
        }
        joined.push_str(field);
        joined.push_str(": ");
        joined.push_str(part);
    }
    joined
}
