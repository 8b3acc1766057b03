//! Rank classification: how likely each of a few labels is as the answer.

use crate::ml::error::{Error, Result};
use crate::ml::model::batch::Ragged;
use crate::ml::model::decoder::{Questions, Reader, Texts, groups};

/// How likely a label is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LabelScore {
    /// Sum of the natural logarithms of the probabilities of the label's tokens.
    pub log_likelihood: f64,
    /// Number of the label's tokens.
    pub tokens: usize,
}

/// Checks that no two labels are the same tokens, `[L]` rows of ids: of such labels one would always win.
///
/// # Errors
/// Names the first two that are.
pub fn check_apart(labels: &[String], ids: &[Vec<u32>]) -> Result<()> {
    let same = |at: usize| (0..at).find(|other| ids[*other] == ids[at]).map(|other| (other, at));
    match (0..ids.len()).find_map(same) {
        None => Ok(()),
        Some((one, other)) => Err(Error::Labels(labels[one].clone(), labels[other].clone())),
    }
}

/// Which label is the likeliest of `[L]` scores, by the sum of its log-likelihoods or by their mean over its tokens; of equally likely
/// ones the first.
///
/// # Errors
/// If there is none, or a score is NaN.
pub fn likeliest(scores: &[LabelScore], per_token: bool) -> Result<usize> {
    let value = |score: &LabelScore| {
        if per_token { score.log_likelihood / score.tokens.max(1) as f64 } else { score.log_likelihood }
    };
    if scores.is_empty() || scores.iter().any(|score| score.log_likelihood.is_nan()) {
        return Err(Error::NoLikelihood);
    }
    // Of equal ones `max_by` takes the last.
    let best = (0..scores.len()).rev().max_by(|a, b| value(&scores[*a]).total_cmp(&value(&scores[*b])));
    Ok(best.unwrap_or_default())
}

/// The likelihood of every label for every question, `[B][L]`.
///
/// # Errors
/// If the device fails.
pub(super) fn label_scores(
    reader: &mut impl Reader,
    questions: &Questions<'_>,
    labels: &Ragged,
) -> Result<Vec<Vec<LabelScore>>> {
    let memory = reader.read(questions)?;
    let dims = reader.dims();
    let longest = labels.rows().map(<[u32]>::len).max().unwrap_or(0);
    let examples = questions.run.len();
    let pairs: Vec<(usize, &[u32])> =
        (0..examples).flat_map(|example| labels.rows().map(move |label| (example, label))).collect();
    let mut scores = vec![Vec::with_capacity(labels.len()); examples];
    for group in groups(dims, pairs.len(), 1, longest) {
        let pairs = &pairs[group];
        let mut decoder = reader.decoder(&memory, pairs.len(), longest)?;
        // Labels apart from each other, so that the sums of one do not depend on how many there are.
        let texts: Vec<Texts> = pairs
            .iter()
            .enumerate()
            .map(|(slot, (example, label))| Texts { example: *example, slots: vec![slot], tokens: label.len() })
            .collect();
        let targets: Ragged = pairs.iter().map(|(_, label)| label.iter().copied()).collect();
        // The decoder reads a label one place to the right, behind the start id.
        let ids: Vec<u32> = targets
            .rows()
            .flat_map(|label| std::iter::once(dims.start).chain(label.iter().copied()).take(label.len()))
            .collect();
        let losses = decoder.losses(&texts, &ids, targets.ids())?;
        for ((example, _), bounds) in pairs.iter().zip(targets.starts().windows(2)) {
            let losses = &losses[bounds[0]..bounds[1]];
            let log_likelihood = losses.iter().fold(0.0, |sum, loss| sum - f64::from(*loss));
            scores[*example].push(LabelScore { log_likelihood, tokens: losses.len() });
        }
    }
    Ok(scores)
}
