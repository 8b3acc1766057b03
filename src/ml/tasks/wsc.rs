//! The Winograd Schema Challenge of SuperGLUE, in T5's two forms: naming what a pronoun refers to, and judging whether a
//! given noun is meant.

use super::error::ReadError;
use super::format::{HIDDEN, LeftOut, Read, Reading};
use super::json::Record;
use super::piece::Piece;
use super::{Example, Split};
use serde::Deserialize;

pub(super) const GENERATE: &str = "wsc: {text with *pronoun*}";
pub(super) const CLASSIFY: &str = "wsc text: {text with * noun * and # pronoun #}";

#[derive(Deserialize)]
struct Line {
    text: String,
    target: Target,
    idx: u64,
    label: Option<bool>,
}

#[derive(Deserialize)]
struct Target {
    span1_text: String,
    span1_index: usize,
    span2_text: String,
    span2_index: usize,
}

/// Marks the pronoun with asterisks; the target is the noun. Wrong nouns are left out of training; elsewhere the label
/// says whether the noun is the right one.
///
/// # Errors
/// If it is not JSON, a label is missing outside the test split, or the pronoun is not where it should be.
pub(super) fn read_generative(piece: &Piece<'_>, split: Split, reading: &Reading) -> Result<Read, ReadError> {
    let (mut examples, mut wrong) = (Vec::new(), 0);
    for (number, line) in lines(piece, split, reading)? {
        if split == Split::Train && line.label != Some(true) {
            wrong += 1;
            continue;
        }
        let input = pronoun_marked(&line, number)?;
        examples.push(Example {
            id: line.idx.to_string(),
            input: if reading.prefix { format!("wsc: {input}") } else { input },
            target: line.target.span1_text,
            label: line.label.map(u32::from),
            group: None,
            answers: Vec::new(),
            choices: Vec::new(),
        });
    }
    let why = "they name a noun that the pronoun does not refer to, and there is nothing to learn to write";
    Ok(Read { examples, left_out: LeftOut::of(wrong, why) })
}

/// Marks noun and pronoun; the target says whether they are the same.
///
/// # Errors
/// If it is not JSON, or a label is missing outside the test split.
pub(super) fn read_classifying(piece: &Piece<'_>, split: Split, reading: &Reading) -> Result<Vec<Example>, ReadError> {
    let mut examples = Vec::new();
    for (_, line) in lines(piece, split, reading)? {
        let input = both_marked(&line);
        let label = line.label.map(u32::from);
        examples.push(Example {
            id: line.idx.to_string(),
            input: if reading.prefix { format!("wsc text: {input}") } else { format!("text: {input}") },
            target: label.map_or(HIDDEN, |label| ["False", "True"][label as usize]).to_owned(),
            label,
            group: None,
            answers: Vec::new(),
            choices: Vec::new(),
        });
    }
    Ok(examples)
}

fn lines(piece: &Piece<'_>, split: Split, reading: &Reading) -> Result<Vec<(usize, Line)>, ReadError> {
    let read = |record: Record<'_>| {
        let (number, mut line): (usize, Line) = (record.line, record.read()?);
        if line.label.is_none() && split != Split::Test {
            return Err(ReadError::Value {
                line: number,
                column: "label",
                found: "missing".to_owned(),
                expected: "true or false".to_owned(),
            });
        }
        settle(&mut line, number)?;
        Ok((number, line))
    };
    reading.window().of(piece.records()?.into_iter()).map(read).collect()
}

/// Makes spans parts of the text, where they differ from it in the case of their first letter, a closing full stop or a
/// newline, as the `wsc.fixed` configuration of TFDS does.
fn settle(line: &mut Line, number: usize) -> Result<(), ReadError> {
    let Target { span1_text, span1_index, span2_text, span2_index } = &mut line.target;
    for (column, span, index) in [("span1_index", span1_text, *span1_index), ("span2_index", span2_text, *span2_index)]
    {
        let words = line.text.split_whitespace().count();
        let Some(word) = line.text.split_whitespace().nth(index) else {
            return Err(ReadError::Value {
                line: number,
                column,
                found: index.to_string(),
                expected: format!("the place of one of the text's {words} words, from 0"),
            });
        };
        if line.text.contains(span.as_str()) {
            continue;
        }
        let lower = word.chars().next().is_some_and(char::is_lowercase);
        let mut letters = span.chars();
        let first: String = match letters.next() {
            Some(first) if lower => first.to_lowercase().collect(),
            Some(first) => first.to_uppercase().collect(),
            None => String::new(),
        };
        let fixed = format!("{first}{}", letters.as_str()).trim_end_matches('.').replace('\n', " ");
        // T5 leaves two test examples alone whose nouns are not in one piece; so does this.
        if line.text.contains(&fixed) {
            *span = fixed;
        }
    }
    Ok(())
}

/// The text with `*pronoun*` instead of the word at `span2_index`.
///
/// Two examples of the official files do not fit, and T5 carries their texts in its code. Here rules give the same texts:
/// punctuation that clings to the pronoun becomes a word of its own, and an index that is one short is put right.
fn pronoun_marked(line: &Line, number: usize) -> Result<String, ReadError> {
    let words: Vec<&str> = line.text.split(' ').collect();
    let (pronoun, at) = (line.target.span2_text.as_str(), line.target.span2_index);
    let marked = |at: usize, rest: &str| {
        let mut text = words.clone();
        let mark = format!("*{pronoun}*");
        text[at] = &mark;
        if rest.is_empty() {
            text.join(" ")
        } else {
            text.insert(at + 1, rest);
            text.join(" ").trim_end().to_owned()
        }
    };
    let word = |at: usize| words.get(at).copied().unwrap_or_default();
    if word(at) == pronoun {
        return Ok(marked(at, ""));
    }
    if let Some(rest) =
        word(at).strip_prefix(pronoun).filter(|rest| rest.starts_with(|c: char| c.is_ascii_punctuation()))
    {
        return Ok(marked(at, rest));
    }
    if word(at + 1) == pronoun {
        return Ok(marked(at + 1, ""));
    }
    Err(ReadError::Value {
        line: number,
        column: "span2_index",
        found: format!("{at}, which is `{}`", word(at)),
        expected: format!("the place of `{pronoun}` among the words of the text, from 0"),
    })
}

/// The text with `* noun *` and `# pronoun #`.
fn both_marked(line: &Line) -> String {
    let Target { span1_text, span1_index, span2_text, span2_index } = &line.target;
    let text = span_marked(&line.text, span1_text, *span1_index, '*');
    // The first marks are two more words.
    span_marked(&text, span2_text, span2_index + 2 * usize::from(span1_index < span2_index), '#')
}

/// Marks `span` if it begins after `words` words, each with one white space after it; leaves the text alone otherwise, as
/// T5's regular expression does.
fn span_marked(text: &str, span: &str, words: usize, mark: char) -> String {
    let mut at = 0;
    for _ in 0..words {
        let rest = &text[at..];
        let Some((end, space)) = rest.char_indices().find(|(_, c)| c.is_ascii_whitespace()).filter(|(end, _)| *end > 0)
        else {
            return text.to_owned();
        };
        at += end + space.len_utf8();
    }
    match text[at..].strip_prefix(span) {
        Some(rest) => format!("{}{mark} {span} {mark}{rest}", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_generative(bytes: &[u8], split: Split, reading: &Reading) -> Result<Read, ReadError> {
        super::read_generative(&Piece::whole(bytes)?, split, reading)
    }

    fn read_classifying(bytes: &[u8], split: Split, reading: &Reading) -> Result<Vec<Example>, ReadError> {
        super::read_classifying(&Piece::whole(bytes)?, split, reading)
    }

    fn line(text: &str, span1: (&str, usize), span2: (&str, usize), label: &str) -> String {
        let target = serde_json::json!({
            "span1_text": span1.0, "span1_index": span1.1, "span2_text": span2.0, "span2_index": span2.1});
        format!("{{\"text\": {}, \"target\": {target}, \"idx\": 3{label}}}", serde_json::json!(text))
    }

    fn generated(line: &str, split: Split) -> Vec<(String, String, Option<u32>)> {
        let read = read_generative(line.as_bytes(), split, &Reading::default()).unwrap();
        read.examples.into_iter().map(|e| (e.input, e.target, e.label)).collect()
    }

    const TRUE: &str = ", \"label\": true";
    const FALSE: &str = ", \"label\": false";

    #[test]
    fn the_pronoun_is_marked_and_the_noun_is_the_target() {
        let text = line("Mitchell asked Tom if he could lend some money.", ("Tom", 2), ("he", 4), TRUE);
        let expected = ("wsc: Mitchell asked Tom if *he* could lend some money.".to_owned(), "Tom".to_owned(), Some(1));
        assert_eq!(generated(&text, Split::Train), [expected]);
    }

    #[test]
    fn wrong_nouns_are_left_out_of_training_only() {
        let text = line("Ann saw Eve and she ran.", ("Ann", 0), ("she", 4), FALSE);
        assert!(generated(&text, Split::Train).is_empty());
        let read = read_generative(text.as_bytes(), Split::Train, &Reading::default()).unwrap();
        assert_eq!(read.left_out.iter().map(|left| left.rows).collect::<Vec<_>>(), [1]);
        assert_eq!(generated(&text, Split::Validation)[0].2, Some(0));
        let hidden = line("Ann saw Eve and she ran.", ("Ann", 0), ("she", 4), "");
        assert_eq!(generated(&hidden, Split::Test)[0].2, None);
    }

    #[test]
    fn punctuation_at_the_pronoun_becomes_a_word() {
        let text = line("He laughed. \"Good for him,\" she said. ", ("He", 0), ("him", 4), TRUE);
        assert_eq!(generated(&text, Split::Train)[0].0, "wsc: He laughed. \"Good for *him* ,\" she said.");
    }

    #[test]
    fn an_index_one_short_is_put_right() {
        let text = line("They might use it , he said.", ("They", 0), ("it", 2), TRUE);
        assert_eq!(generated(&text, Split::Train)[0].0, "wsc: They might use *it* , he said.");
    }

    #[test]
    fn other_indices_are_errors() {
        let read = |line: &str| read_generative(line.as_bytes(), Split::Train, &Reading::default());
        let error = read(&line("Ann saw Eve and she ran.", ("Ann", 0), ("she", 1), TRUE)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 1: column `span2_index` is 1, which is `saw`, expected the place of `she` among the words of the text, from 0"
        );
        let error = read(&line("Ann saw Eve.", ("Ann", 0), ("she", 9), TRUE)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 1: column `span2_index` is 9, expected the place of one of the text's 3 words, from 0"
        );
    }

    #[test]
    fn nouns_take_the_case_of_the_text() {
        let text = line("I moved the table because it broke.", ("The table.", 2), ("it", 5), TRUE);
        assert_eq!(generated(&text, Split::Train)[0].1, "the table");
    }

    #[test]
    fn both_spans_are_marked_for_judging() {
        // T5's own documentation of the template.
        let text = line("This is a test sentence .", ("test", 3), ("This", 0), FALSE);
        let examples = read_classifying(text.as_bytes(), Split::Train, &Reading::default()).unwrap();
        assert_eq!(examples[0].input, "wsc text: # This # is a * test * sentence .");
        assert_eq!((examples[0].target.as_str(), examples[0].label), ("False", Some(0)));
        let text = line("Ann saw Eve and she ran.", ("Ann", 0), ("she", 4), TRUE);
        let taskless = Reading { prefix: false, ..Reading::default() };
        let examples = read_classifying(text.as_bytes(), Split::Train, &taskless).unwrap();
        assert_eq!(examples[0].input, "text: * Ann * saw Eve and # she # ran.");
    }

    #[test]
    fn a_missing_label_is_an_error_outside_test_splits() {
        let text = line("Ann saw Eve and she ran.", ("Ann", 0), ("she", 4), "");
        let error = read_classifying(text.as_bytes(), Split::Validation, &Reading::default()).unwrap_err();
        assert_eq!(error.to_string(), "line 1: column `label` is missing, expected true or false");
    }
}
