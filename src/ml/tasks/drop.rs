//! DROP (Dua et al. 2019) in its nested JSON: passages by name, each with questions, whose answers are a number, spans or a date.

use super::error::ReadError;
use super::format::{Format, HIDDEN, LeftOut, Read, Reading, Source, join};
use super::piece::Piece;
use super::{Answer, Example, Metric, Split};
use crate::ml::metrics::BETWEEN;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// No template is public; this is the form that the code of SPoT gives other tasks.
const TEMPLATE: &str = "drop question: {question} passage: {passage}";

pub(super) static FORMATS: &[Format] = &[Format {
    name: "drop",
    task: "drop",
    word: "drop",
    labels: &[],
    answer: Answer::Text,
    metrics: &[Metric::DropExactMatch, Metric::DropF1],
    source: Source::Other { template: TEMPLATE, by_value: false, read },
}];

/// Passages in their order.
struct File(Vec<Passage>);

#[derive(Deserialize)]
struct Passage {
    passage: String,
    qa_pairs: Vec<Question>,
}

#[derive(Deserialize)]
struct Question {
    query_id: String,
    question: String,
    #[serde(default)]
    answer: Option<Said>,
    #[serde(default)]
    validated_answers: Vec<Said>,
}

/// An answer; what it is not is empty.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    number: Option<Number>,
    #[serde(default)]
    spans: Vec<String>,
    #[serde(default)]
    date: Option<Date>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Text(String),
    Number(serde_json::Number),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Date {
    day: String,
    month: String,
    year: String,
}

/// One example for each question. The answer of the one who wrote it is learned, and those of others are accepted too.
///
/// # Errors
/// If it is not JSON of this form.
fn read(piece: &Piece<'_>, split: Split, reading: &Reading) -> Result<Read, ReadError> {
    let (mut examples, mut unanswered) = (Vec::new(), 0);
    for record in piece.records()? {
        let File(passages) = record.read()?;
        for Passage { passage, qa_pairs } in reading.window().of(passages.into_iter()) {
            for question in qa_pairs {
                let answers = question.answers();
                if answers.is_empty() && split != Split::Test {
                    unanswered += 1;
                    continue;
                }
                let fields = [("question", question.question.as_str()), ("passage", &passage)];
                examples.push(Example {
                    input: join("drop", reading.prefix, &fields),
                    id: question.query_id,
                    target: answers.first().map_or_else(|| HIDDEN.to_owned(), Clone::clone),
                    label: None,
                    group: None,
                    answers,
                    choices: Vec::new(),
                });
            }
        }
    }
    Ok(Read { examples, left_out: LeftOut::of(unanswered, "their answer is neither a number nor spans nor a date") })
}

impl Question {
    /// The different answers that are not empty.
    fn answers(&self) -> Vec<String> {
        let mut answers: Vec<String> = Vec::new();
        for text in self.answer.iter().chain(&self.validated_answers).map(Said::text) {
            if !text.is_empty() && !answers.contains(&text) {
                answers.push(text);
            }
        }
        answers
    }
}

impl Said {
    /// The answer as a text: what the official script takes of it, spans with [`BETWEEN`] between them.
    fn text(&self) -> String {
        let number = match &self.number {
            Some(Number::Text(text)) => text.trim().to_owned(),
            Some(Number::Number(number)) => number.to_string(),
            None => String::new(),
        };
        if !number.is_empty() {
            return number;
        }
        if !self.spans.is_empty() {
            return self.spans.join(BETWEEN).trim().to_owned();
        }
        let date = self.date.as_ref().map_or([""; 3], |date| [date.day.as_str(), &date.month, &date.year]);
        date.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

impl<'de> Deserialize<'de> for File {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByName;
        impl<'de> Visitor<'de> for ByName {
            type Value = File;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("passages by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<File, A::Error> {
                let mut passages = Vec::new();
                while let Some((_, passage)) = entries.next_entry::<String, Passage>()? {
                    passages.push(passage);
                }
                Ok(File(passages))
            }
        }
        deserializer.deserialize_map(ByName)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], split: Split, reading: &Reading) -> Result<Read, ReadError> {
        super::read(&Piece::whole(bytes)?, split, reading)
    }

    const FILE: &str = r#"{"p2": {"passage": "A 3, B 7.", "qa_pairs": [
        {"query_id": "a", "question": "How many?", "answer": {"number": "4", "date": {}, "spans": ["x"]},
         "validated_answers": [{"number": 4, "spans": []}, {"number": "", "spans": []}, {"spans": ["four", "4"]}]},
        {"query_id": "b", "question": "When?", "answer": {"number": "", "date": {"day": "", "month": "May", "year": "1932"}, "spans": []}}]},
        "p1": {"passage": "Q", "qa_pairs": [{"query_id": "c", "question": "Who?", "answer": {"number": "", "spans": []}}]}}"#;

    #[test]
    fn answers_are_numbers_spans_or_dates() {
        let found = read(FILE.as_bytes(), Split::Train, &Reading::default()).unwrap();
        let texts: Vec<_> = found.examples.iter().map(|e| (&*e.id, &*e.input, &*e.target)).collect();
        let expected = [
            ("a", "drop question: How many? passage: A 3, B 7.", "4"),
            ("b", "drop question: When? passage: A 3, B 7.", "May 1932"),
        ];
        assert_eq!(texts, expected);
        assert_eq!(found.examples[0].answers, ["4", "four; 4"]);
        assert_eq!(found.left_out[0].rows, 1);
        let test = read(FILE.as_bytes(), Split::Test, &Reading::default()).unwrap();
        assert_eq!((test.examples.len(), &*test.examples[2].target), (3, "<unk>"));
    }

    #[test]
    fn errors_lead_to_the_place() {
        let broken = FILE.replace(r#""question": "When?", "#, "");
        let error = read(broken.as_bytes(), Split::Train, &Reading::default()).unwrap_err().to_string();
        assert!(error.contains("p2.qa_pairs[1]`: missing field `question`"), "{error}");
        assert!(read(b"[1]", Split::Train, &Reading::default()).unwrap_err().to_string().contains("passages by name"));
    }
}
