//! Where a prompt begins (Lester et al. 2021, section 2.1; `prompts.py` of google-research/prompt-tuning).

use super::Prompt;
use crate::ml::model::Weights;
use crate::ml::random::Stream;

/// Rows drawn from the embeddings of the `top` first ids, which are the most common pieces, without replacement (with
/// replacement if there are fewer ids than rows).
pub fn sampled_vocabulary(weights: &Weights, length: usize, top: usize, stream: &mut Stream) -> Prompt {
    let top = top.min(weights.dims.vocab);
    let ids = if length <= top { stream.sample(top, length) } else { (0..length).map(|_| stream.below(top)).collect() };
    rows(weights, ids.iter().map(|id| embedding(weights, *id as u32)))
}

/// Row i is the mean of the embeddings of the pieces of label i; the rows after the labels come from `rest`. Labels
/// beyond the prompt's length are left out.
pub fn class_labels(weights: &Weights, labels: &[Vec<u32>], rest: Prompt) -> Prompt {
    let mut prompt = rest;
    for (row, pieces) in prompt.values.chunks_exact_mut(prompt.width).zip(labels).filter(|(_, l)| !l.is_empty()) {
        row.fill(0.0);
        for piece in pieces {
            row.iter_mut().zip(embedding(weights, *piece)).for_each(|(x, e)| *x += e);
        }
        row.iter_mut().for_each(|x| *x /= pieces.len() as f32);
    }
    prompt
}

/// Row i is the embedding of piece i of a text; the rows after the text come from `rest`, pieces beyond the prompt's
/// length are left out.
pub fn text(weights: &Weights, pieces: &[u32], rest: Prompt) -> Prompt {
    let labels: Vec<Vec<u32>> = pieces.iter().map(|piece| vec![*piece]).collect();
    class_labels(weights, &labels, rest)
}

/// Every element uniform in `[low, high)`.
pub fn uniform(length: usize, width: usize, low: f64, high: f64, stream: &mut Stream) -> Prompt {
    let values = (0..length * width).map(|_| stream.uniform(low, high) as f32).collect();
    Prompt { values, width }
}

fn embedding(weights: &Weights, id: u32) -> Vec<f32> {
    let mut row = vec![0.0; weights.dims.width];
    weights.at(&weights.layout.embedding).copy_to(id as usize * row.len(), &mut row);
    row
}

fn rows(weights: &Weights, rows: impl Iterator<Item = Vec<f32>>) -> Prompt {
    Prompt { values: rows.flatten().collect(), width: weights.dims.width }
}
