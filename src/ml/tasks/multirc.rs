//! MultiRC (Khashabi et al. 2018): passages with questions, each with any number of answers that are right or wrong.

use super::error::ReadError;
use super::format::{HIDDEN, Reading, join};
use super::piece::Piece;
use super::{Example, Split};
use serde::Deserialize;

pub(super) const TEMPLATE: &str = "multirc question: {question} answer: {answer} paragraph: {paragraph}";

#[derive(Deserialize)]
struct Line {
    idx: u64,
    passage: Passage,
}

#[derive(Deserialize)]
struct Passage {
    text: String,
    questions: Vec<Question>,
}

#[derive(Deserialize)]
struct Question {
    idx: u64,
    question: String,
    answers: Vec<Candidate>,
}

#[derive(Deserialize)]
struct Candidate {
    idx: u64,
    text: String,
    label: Option<i64>,
}

/// One example for each answer, in groups by question.
///
/// # Errors
/// If it is not JSON, or an answer outside the test split has no label.
pub(super) fn read(piece: &Piece<'_>, split: Split, reading: &Reading) -> Result<Vec<Example>, ReadError> {
    let mut examples = Vec::new();
    for record in reading.window().of(piece.records()?.into_iter()) {
        let line: Line = record.read()?;
        for question in &line.passage.questions {
            for answer in &question.answers {
                let label = match answer.label {
                    Some(label @ 0..=1) => Some(label as u32),
                    Some(-1) | None if split == Split::Test => None,
                    other => {
                        return Err(ReadError::Value {
                            line: record.line,
                            column: "label",
                            found: other.map_or_else(|| "missing".to_owned(), |label| label.to_string()),
                            expected: "0 (wrong) or 1 (right) for every answer".to_owned(),
                        });
                    }
                };
                let fields = [
                    ("question", question.question.as_str()),
                    ("answer", answer.text.as_str()),
                    ("paragraph", line.passage.text.as_str()),
                ];
                examples.push(Example {
                    id: format!("{}-{}-{}", line.idx, question.idx, answer.idx),
                    input: without_markup(&join("multirc", reading.prefix, &fields)),
                    target: label.map_or(HIDDEN, |label| ["False", "True"][label as usize]).to_owned(),
                    label,
                    group: Some(format!("{}-{}", line.idx, question.idx)),
                    answers: Vec::new(),
                    choices: Vec::new(),
                });
            }
        }
    }
    Ok(examples)
}

fn without_markup(text: &str) -> String {
    text.replace("<br>", " ").replace("<b>", "").replace("</b>", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], split: Split, reading: &Reading) -> Result<Vec<Example>, ReadError> {
        super::read(&Piece::whole(bytes)?, split, reading)
    }

    const LINE: &str = r#"{"idx": 4, "version": 1.1, "passage": {"text": "<b>Sent 1: </b>A.<br><b>Sent 2: </b>B.",
        "questions": [{"question": "Q?", "idx": 7, "answers": [
            {"text": "yes", "idx": 30, "label": 1}, {"text": "no", "idx": 31, "label": 0}]}]}}"#;

    #[test]
    fn every_answer_is_an_example_without_markup() {
        let examples = read(LINE.replace('\n', "").as_bytes(), Split::Train, &Reading::default()).unwrap();
        assert_eq!(examples.len(), 2);
        assert_eq!(examples[0].input, "multirc question: Q? answer: yes paragraph: Sent 1: A. Sent 2: B.");
        assert_eq!((examples[0].target.as_str(), examples[1].target.as_str()), ("True", "False"));
        assert_eq!((examples[1].id.as_str(), examples[1].group.as_deref()), ("4-7-31", Some("4-7")));
    }

    #[test]
    fn errors_lead_to_the_place() {
        let broken = LINE.replace('\n', "").replace(r#""text": "no", "#, "");
        let error = read(broken.as_bytes(), Split::Train, &Reading::default()).unwrap_err().to_string();
        assert!(error.contains("`passage.questions[0].answers[1]`: missing field `text`"), "{error}");
        let unlabelled = LINE.replace('\n', "").replace(r#", "label": 0"#, "");
        let error = read(unlabelled.as_bytes(), Split::Train, &Reading::default()).unwrap_err().to_string();
        assert_eq!(error, "line 1: column `label` is missing, expected 0 (wrong) or 1 (right) for every answer");
        assert_eq!(read(unlabelled.as_bytes(), Split::Test, &Reading::default()).unwrap()[1].target, "<unk>");
        let hidden = LINE.replace('\n', "").replace(r#""label": 0"#, r#""label": -1"#);
        let error = read(hidden.as_bytes(), Split::Validation, &Reading::default()).unwrap_err().to_string();
        assert_eq!(error, "line 1: column `label` is -1, expected 0 (wrong) or 1 (right) for every answer");
        assert_eq!(read(hidden.as_bytes(), Split::Test, &Reading::default()).unwrap()[1].label, None);
    }
}
