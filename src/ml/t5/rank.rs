//! Rank classification: how likely each of a few labels is as the answer.

use super::decode::{Decoder, LIKELIHOOD, Texts, groups};
use super::fast::Engine;
use crate::ml::batch::Ragged;
use crate::ml::kernels::cross_entropy;

/// How likely a label is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LabelScore {
    /// Sum of the natural logarithms of the probabilities of the label's tokens.
    pub log_likelihood: f64,
    /// Number of the label's tokens.
    pub tokens: usize,
}

impl Engine<'_> {
    /// The likelihood of every label for every example, `[B][L]`. `labels`: L rows of ids with the closing eos, which
    /// counts as a token.
    ///
    /// The encoder reads each example once; all its labels look at the same keys and values. A score does not depend on
    /// what else is in the batch, nor on the other labels.
    pub fn label_scores(
        &mut self,
        prompts: &[&[f32]],
        run: &[usize],
        inputs: &Ragged,
        labels: &Ragged,
    ) -> Vec<Vec<LabelScore>> {
        let (memory, starts) = self.memory(prompts, run, inputs);
        let weights = self.weights();
        let dims = &weights.dims;
        let longest = labels.rows().map(<[u32]>::len).max().unwrap_or(0);
        let pairs: Vec<(usize, &[u32])> =
            (0..run.len()).flat_map(|example| labels.rows().map(move |label| (example, label))).collect();
        let mut scores = vec![Vec::with_capacity(labels.len()); run.len()];
        for group in groups(dims, pairs.len(), 1, longest) {
            let pairs = &pairs[group];
            let mut decoder = Decoder::new(weights, memory.as_slice(), &starts, pairs.len(), longest);
            // Labels apart from each other, so that the sums of one do not depend on how many there are.
            let texts: Vec<Texts> = pairs
                .iter()
                .enumerate()
                .map(|(slot, (example, label))| Texts { example: *example, slots: vec![slot], tokens: label.len() })
                .collect();
            let targets: Ragged = pairs.iter().map(|(_, label)| label.iter().copied()).collect();
            let mut losses = vec![0.0; targets.ids().len()];
            // The decoder reads a label one place to the right, behind the start id.
            let ids: Vec<u32> = targets
                .rows()
                .flat_map(|label| std::iter::once(dims.start).chain(label.iter().copied()).take(label.len()))
                .collect();
            decoder.step(&texts, &ids, 0, |first, logits| {
                let rows = first..first + logits.len() / dims.vocab;
                cross_entropy(LIKELIHOOD, &mut losses[rows.clone()], logits, &targets.ids()[rows], dims.vocab);
            });
            for ((example, _), bounds) in pairs.iter().zip(targets.starts().windows(2)) {
                let losses = &losses[bounds[0]..bounds[1]];
                let log_likelihood = losses.iter().fold(0.0, |sum, loss| sum - f64::from(*loss));
                scores[*example].push(LabelScore { log_likelihood, tokens: losses.len() });
            }
        }
        scores
    }
}
