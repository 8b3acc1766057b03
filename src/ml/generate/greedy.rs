//! The most probable token at each step, and the loop that greedy decoding and sampling share.

use crate::ml::error::Result;
use crate::ml::model::decoder::{Decode, Questions, Reader, Texts, groups};

/// The most probable continuation of each question, token by token.
///
/// # Errors
/// If the device fails.
pub(super) fn greedy(reader: &mut impl Reader, questions: &Questions<'_>, longest: usize) -> Result<Vec<Vec<u32>>> {
    token_by_token(reader, questions, longest, |step| step.decoder.highest(step.texts, step.last, step.position))
}

/// One step of texts, each an example's only one.
pub(super) struct Step<'a> {
    pub(super) decoder: &'a mut dyn Decode,
    /// The example of each text.
    pub(super) examples: &'a [usize],
    pub(super) texts: &'a [Texts],
    /// The last token of each.
    pub(super) last: &'a [u32],
    pub(super) position: usize,
}

/// Answers that grow by what `choose` makes of a step, an id for each text, up to eos or to `longest` ids.
///
/// # Errors
/// If the device fails, and what `choose` returns.
pub(super) fn token_by_token(
    reader: &mut impl Reader,
    questions: &Questions<'_>,
    longest: usize,
    mut choose: impl FnMut(Step<'_>) -> Result<Vec<u32>>,
) -> Result<Vec<Vec<u32>>> {
    let mut answers = vec![Vec::new(); questions.run.len()];
    let memory = reader.read(questions)?;
    let (start, eos) = (reader.dims().start, reader.dims().eos);
    for group in groups(reader.dims(), answers.len(), 1, longest) {
        let mut decoder = reader.decoder(&memory, group.len(), longest)?;
        let mut active: Vec<usize> = group.clone().collect();
        let mut last = vec![start; active.len()];
        for position in 0..longest {
            let texts = active.iter().map(|e| Texts { example: *e, slots: vec![e - group.start], tokens: 1 });
            let texts: Vec<Texts> = texts.collect();
            let step = Step { decoder: &mut *decoder, examples: &active, texts: &texts, last: &last, position };
            let next = choose(step)?;
            (active, last) = active
                .into_iter()
                .zip(next)
                .filter(|(example, id)| {
                    let goes_on = *id != eos;
                    if goes_on {
                        answers[*example].push(*id);
                    }
                    goes_on
                })
                .unzip();
            if active.is_empty() {
                break;
            }
        }
    }
    Ok(answers)
}
