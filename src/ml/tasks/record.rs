//! ReCoRD (Zhang et al. 2018): passages of news and queries in which an entity of the passage is left out.

use super::error::ReadError;
use super::format::{HIDDEN, Reading, join};
use super::piece::Piece;
use super::{Example, Split};
use serde::Deserialize;
use std::collections::BTreeSet;

pub(super) const TEMPLATE: &str = "record query: {query} entities: {entities} passage: {passage}";

#[derive(Deserialize)]
struct Line {
    idx: u64,
    passage: Passage,
    qas: Vec<Query>,
}

#[derive(Deserialize)]
struct Passage {
    text: String,
    entities: Vec<Span>,
}

/// Characters of the passage, the last one included.
#[derive(Deserialize)]
struct Span {
    start: usize,
    end: usize,
}

#[derive(Deserialize)]
struct Query {
    idx: u64,
    query: String,
    #[serde(default)]
    answers: Vec<Mention>,
}

#[derive(Deserialize)]
struct Mention {
    text: String,
}

/// Training splits get one example for each accepted answer, others one for each query; either way the answers and the
/// entities are those that differ, sorted, as in TFDS.
///
/// # Errors
/// If it is not JSON, an entity lies outside its passage, or a query outside the test split has no answer.
pub(super) fn read(piece: &Piece<'_>, split: Split, reading: &Reading) -> Result<Vec<Example>, ReadError> {
    let mut examples = Vec::new();
    for record in reading.window().of(piece.records()?.into_iter()) {
        let (number, line): (usize, Line) = (record.line, record.read()?);
        let entities = entities(&line.passage, number)?.join(", ");
        let passage = without_highlights(&line.passage.text);
        for query in &line.qas {
            let answers: Vec<String> =
                query.answers.iter().map(|a| a.text.clone()).collect::<BTreeSet<_>>().into_iter().collect();
            if answers.is_empty() && split != Split::Test {
                return Err(ReadError::Value {
                    line: number,
                    column: "qas.answers",
                    found: format!("empty for query {}", query.idx),
                    expected: "at least one accepted answer".to_owned(),
                });
            }
            let fields = [("query", query.query.as_str()), ("entities", &entities), ("passage", &passage)];
            let group = format!("{}-{}", line.idx, query.idx);
            let example = |id: String, target: &str| Example {
                id,
                input: join("record", reading.prefix, &fields),
                target: target.to_owned(),
                label: None,
                group: Some(group.clone()),
                answers: answers.clone(),
                choices: Vec::new(),
            };
            if split == Split::Train {
                examples.extend(answers.iter().enumerate().map(|(i, answer)| example(format!("{group}-{i}"), answer)));
            } else {
                examples.push(example(group.clone(), answers.first().map_or(HIDDEN, String::as_str)));
            }
        }
    }
    Ok(examples)
}

fn entities(passage: &Passage, line: usize) -> Result<Vec<&str>, ReadError> {
    let starts: Vec<usize> =
        passage.text.char_indices().map(|(at, _)| at).chain(std::iter::once(passage.text.len())).collect();
    let mut entities = BTreeSet::new();
    for span in &passage.entities {
        let text = starts
            .get(span.start)
            .zip(starts.get(span.end.saturating_add(1)))
            .and_then(|(s, e)| passage.text.get(*s..*e));
        entities.insert(text.ok_or_else(|| ReadError::Value {
            line,
            column: "passage.entities",
            found: format!("from character {} to {}", span.start, span.end),
            expected: format!("a part of the passage, which has {} characters", starts.len() - 1),
        })?);
    }
    Ok(entities.into_iter().collect())
}

/// Joins the highlights to the passage as sentences.
fn without_highlights(passage: &str) -> String {
    const MARK: &str = "\n@highlight\n";
    let mut parts = passage.split(MARK);
    let mut text = parts.next().unwrap_or_default().to_owned();
    // What ended before a mark is judged by the passage itself: after an empty part it is the mark's own newline.
    let mut before = text.chars().next_back();
    for part in parts {
        text.push_str(if before.is_some_and(|c| ".?!\"'".contains(c)) { " " } else { ". " });
        text.push_str(part);
        before = part.chars().next_back();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], split: Split, reading: &Reading) -> Result<Vec<Example>, ReadError> {
        super::read(&Piece::whole(bytes)?, split, reading)
    }

    const LINE: &str = r#"{"source": "x", "idx": 2, "passage": {"text": "Éve met Bob.\n@highlight\nBob left\n@highlight\nEnd",
        "entities": [{"start": 8, "end": 10}, {"start": 0, "end": 2}, {"start": 24, "end": 26}]},
        "qas": [{"idx": 9, "query": "@placeholder left", "answers": [
            {"start": 24, "end": 26, "text": "Bob"}, {"start": 8, "end": 10, "text": "Bob"}, {"start": 0, "end": 2, "text": "Éve"}]}]}"#;

    fn examples(split: Split) -> Vec<Example> {
        read(LINE.replace('\n', "").as_bytes(), split, &Reading::default()).unwrap()
    }

    #[test]
    fn training_has_an_example_for_each_answer() {
        let train = examples(Split::Train);
        let input = "record query: @placeholder left entities: Bob, Éve passage: Éve met Bob. Bob left. End";
        assert!(train.iter().all(|e| e.input == input), "{train:?}");
        assert_eq!(train.iter().map(|e| e.target.as_str()).collect::<Vec<_>>(), ["Bob", "Éve"]);
        assert_eq!(train.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(), ["2-9-0", "2-9-1"]);
    }

    #[test]
    fn evaluation_has_one_example_with_all_answers() {
        let validation = examples(Split::Validation);
        assert_eq!(validation.len(), 1);
        assert_eq!(validation[0].answers, ["Bob", "Éve"]);
        assert_eq!(validation[0].group.as_deref(), Some("2-9"));
    }

    #[test]
    fn spans_outside_the_passage_are_errors() {
        for end in ["99", "18446744073709551615"] {
            let broken = LINE.replace('\n', "").replace(r#""end": 26}]}"#, &format!("\"end\": {end}}}]}}"));
            let error = read(broken.as_bytes(), Split::Train, &Reading::default()).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "line 1: column `passage.entities` is from character 24 to {end}, \
                     expected a part of the passage, which has 47 characters"
                )
            );
        }
    }

    #[test]
    fn highlights_become_sentences() {
        assert_eq!(without_highlights("A\n@highlight\nB!\n@highlight\nC"), "A. B! C");
        assert_eq!(without_highlights("He said 'no'\n@highlight\nB"), "He said 'no' B");
        assert_eq!(without_highlights("A"), "A");
    }
}
