//! Answers of one prompt to many texts, through a batcher that others use too.

use super::{Generation, LabelScore};
use crate::ml::batcher::Client;
use crate::ml::error::Result;
use crate::ml::model::batch::Ragged;
use crate::ml::prompt::Prompt;

/// Answers as ids, without the closing eos, to each of `inputs` (ids with eos, `[B]` of T); at most `longest` ids each. Samples of an
/// answer are drawn from the stream of its input, `[B]`.
///
/// # Errors
/// If the device fails or cannot generate in this way.
///
/// # Panics
/// If there are fewer streams than inputs.
pub fn predict(
    model: &Client,
    prompt: &Prompt,
    inputs: &[&[u32]],
    streams: &[u64],
    longest: usize,
    generation: Generation,
) -> Result<Vec<Vec<u32>>> {
    let order = by_length(inputs);
    let streams = order.iter().map(|i| streams[*i]).collect();
    let answers = model.generate(&prompt.values, in_order(inputs, &order), streams, longest, generation)?;
    Ok(put_back(&order, answers))
}

/// For each of `inputs` (ids with eos, `[B]` of T) the log-likelihoods of the labels (ids with eos, `[L]`): `[B, L]`.
///
/// # Errors
/// If the device fails.
pub fn label_scores(
    model: &Client,
    prompt: &Prompt,
    inputs: &[&[u32]],
    labels: &[Vec<u32>],
) -> Result<Vec<Vec<LabelScore>>> {
    let order = by_length(inputs);
    let labels = labels.iter().map(|label| label.iter().copied()).collect();
    Ok(put_back(&order, model.label_scores(&prompt.values, in_order(inputs, &order), labels)?))
}

/// The order in which neighbours in length share a batch, for devices that pad. A result does not depend on neighbours.
fn by_length(inputs: &[&[u32]]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..inputs.len()).collect();
    order.sort_by_key(|i| inputs[*i].len());
    order
}

fn in_order(inputs: &[&[u32]], order: &[usize]) -> Ragged {
    order.iter().map(|i| inputs[*i].iter().copied()).collect()
}

fn put_back<T: Default>(order: &[usize], answers: Vec<T>) -> Vec<T> {
    let mut places: Vec<T> = std::iter::repeat_with(T::default).take(order.len()).collect();
    for (i, answer) in order.iter().zip(answers) {
        places[*i] = answer;
    }
    places
}
