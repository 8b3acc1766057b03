//! SQuAD v1.1 (Rajpurkar et al. 2016) in its nested JSON, or with a question a row as Hugging Face has it, with T5's template,
//! which carries no task name.

use super::error::ReadError;
use super::format::{Format, HIDDEN, Reading, Source};
use super::json::Record;
use super::piece::Piece;
use super::spacing::{collapsed, padded};
use super::{Answer, Example, Metric, Split};
use serde::Deserialize;

pub(super) static FORMATS: &[Format] = &[Format {
    name: "squad",
    task: "squad",
    word: "squad",
    labels: &[],
    answer: Answer::Text,
    metrics: &[Metric::ExactMatch, Metric::TokenF1],
    source: Source::Other {
        template: "question: {question} context: {context}",
        by_value: false,
        read: |piece, split, reading| read(piece, split, reading).map(Into::into),
    },
}];

#[derive(Deserialize)]
struct File {
    data: Vec<Article>,
}

#[derive(Deserialize)]
struct Article {
    paragraphs: Vec<Paragraph>,
}

#[derive(Deserialize)]
struct Paragraph {
    context: String,
    qas: Vec<Question>,
}

#[derive(Deserialize)]
struct Question {
    id: String,
    question: String,
    #[serde(default)]
    answers: Vec<Span>,
}

#[derive(Deserialize)]
struct Span {
    text: String,
}

/// A question with its paragraph, as Hugging Face exports it.
#[derive(Deserialize)]
struct Row {
    id: String,
    context: String,
    question: String,
    #[serde(default)]
    answers: Texts,
}

#[derive(Default, Deserialize)]
struct Texts {
    text: Vec<String>,
}

fn read(piece: &Piece<'_>, split: Split, reading: &Reading) -> Result<Vec<Example>, ReadError> {
    let rows = rows(piece)?;
    let examples = reading.window().of(rows.into_iter()).map(|(line, row)| {
        let answers: Vec<String> = row.answers.text.iter().map(|answer| padded(answer)).collect();
        if answers.is_empty() && split != Split::Test {
            let message = format!("question `{}` has no answers, expected at least one", row.id);
            return Err(ReadError::Json { line, column: 0, message });
        }
        Ok(Example {
            input: collapsed(&format!("question: {} context: {}", padded(&row.question), padded(&row.context))),
            id: row.id,
            target: answers.first().map_or_else(|| HIDDEN.to_owned(), Clone::clone),
            label: None,
            group: None,
            answers,
            choices: Vec::new(),
        })
    });
    examples.collect()
}

/// All questions, each with the line that it is read from.
fn rows(piece: &Piece<'_>) -> Result<Vec<(usize, Row)>, ReadError> {
    let records = piece.records()?;
    let is_nested = |record: &Record<'_>| Ok(record.object()?.names().any(|name| name == "data"));
    match &records[..] {
        [file] if is_nested(file)? => Ok(file.read::<File>()?.rows().map(|row| (file.line, row)).collect()),
        rows => rows.iter().map(|row| Ok((row.line, row.read()?))).collect(),
    }
}

impl File {
    fn rows(self) -> impl Iterator<Item = Row> {
        let paragraphs = self.data.into_iter().flat_map(|article| article.paragraphs);
        paragraphs.flat_map(|Paragraph { context, qas }| {
            qas.into_iter().map(move |Question { id, question, answers }| {
                let text = answers.into_iter().map(|answer| answer.text).collect();
                Row { id, context: context.clone(), question, answers: Texts { text } }
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], split: Split, reading: &Reading) -> Result<Vec<Example>, ReadError> {
        super::read(&Piece::whole(bytes)?, split, reading)
    }

    const FILE: &str = r#"{"version": "1.1", "data": [{"title": "T", "paragraphs": [{"context": "It's  $12.\nYes",
        "qas": [{"id": "a", "question": "How much?", "answers": [{"answer_start": 6, "text": "$12"}, {"answer_start": 7, "text": "12"}]},
                {"id": "b", "question": "Why", "answers": [{"answer_start": 0, "text": "It"}]}]}]}]}"#;

    #[test]
    fn punctuation_is_padded_and_white_space_collapsed() {
        let examples = read(FILE.as_bytes(), Split::Train, &Reading::default()).unwrap();
        assert_eq!(examples[0].input, "question: How much ? context: It ' s $ 12 . Yes");
        assert_eq!(examples[0].answers, [" $ 12", "12"]);
        assert_eq!(examples[0].target, " $ 12");
        assert_eq!(examples[1].id, "b");
    }

    #[test]
    fn questions_may_stand_in_rows() {
        let row = |id: &str, answers: &str| {
            format!("{{\"id\": \"{id}\", \"title\": \"T\", \"context\": \"Yes.\", \"question\": \"Why?\"{answers}}}\n")
        };
        let known = row("a", ", \"answers\": {\"text\": [\"Yes\"], \"answer_start\": [0]}");
        let examples = read(known.as_bytes(), Split::Train, &Reading::default()).unwrap();
        assert_eq!((&*examples[0].input, &*examples[0].target), ("question: Why ? context: Yes . ", "Yes"));
        let hidden = known + &row("b", ", \"answers\": {\"text\": [], \"answer_start\": []}") + &row("c", "");
        assert_eq!(read(hidden.as_bytes(), Split::Test, &Reading::default()).unwrap()[2].target, "<unk>");
        let error = read(hidden.as_bytes(), Split::Train, &Reading::default()).unwrap_err().to_string();
        assert_eq!(error, "line 2, column 0: question `b` has no answers, expected at least one");
        let error = read(b"{\"id\": \"a\"}", Split::Train, &Reading::default()).unwrap_err().to_string();
        assert!(error.contains("missing field `context`"), "{error}");
    }

    #[test]
    fn rows_are_questions() {
        let reading = Reading { skip: 1, rows: Some(1), ..Reading::default() };
        let examples = read(FILE.as_bytes(), Split::Train, &reading).unwrap();
        assert_eq!(examples.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn errors_lead_to_the_place() {
        let broken = FILE.replace(r#""question": "Why", "#, "");
        let error = read(broken.as_bytes(), Split::Train, &Reading::default()).unwrap_err().to_string();
        assert!(error.starts_with("line 3, column"), "{error}");
        assert!(error.contains("`data[0].paragraphs[0].qas[1]`: missing field `question`"), "{error}");
        let unanswered = FILE.replace(r#"{"answer_start": 0, "text": "It"}"#, "");
        let error = read(unanswered.as_bytes(), Split::Train, &Reading::default()).unwrap_err().to_string();
        assert!(error.contains("question `b` has no answers"), "{error}");
        assert_eq!(read(unanswered.as_bytes(), Split::Test, &Reading::default()).unwrap()[1].target, "<unk>");
    }
}
