//! Where a prompt begins (Lester et al. 2021, section 2.1; `prompts.py` of google-research/prompt-tuning).

use super::Prompt;
use crate::ml::model::Weights;
use crate::ml::random::Stream;

/// P = `length` rows drawn from the embeddings of the `top` first ids, which are the most common pieces, without replacement (with
/// replacement if there are fewer ids than rows). A `top` beyond the vocabulary is all V of it.
///
/// # Panics
/// If there are rows to draw and `top` is 0.
pub fn sampled_vocabulary(weights: &Weights, length: usize, top: usize, stream: &mut Stream) -> Prompt {
    let top = top.min(weights.dims.vocab);
    let ids = if length <= top { stream.sample(top, length) } else { (0..length).map(|_| stream.below(top)).collect() };
    let rows = ids.iter().flat_map(|id| embedding(weights, *id as u32));
    Prompt { values: rows.collect(), width: weights.dims.width }
}

/// Row i is the mean of the embeddings of the pieces of label i, of L labels; the rows after them, and those of labels without a piece,
/// come from `rest`, `[P, E]`. Labels beyond P are left out.
///
/// # Panics
/// If `rest` has another width than the model, or a piece is not one of its ids.
pub fn class_labels(weights: &Weights, labels: &[Vec<u32>], rest: Prompt) -> Prompt {
    assert_eq!(rest.width, weights.dims.width, "the width of the prompt and of the model");
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

/// Row i is the embedding of piece i of a text; the rows after the text come from `rest`, `[P, E]`; pieces beyond P are left out.
///
/// # Panics
/// As [`class_labels`].
pub fn text(weights: &Weights, pieces: &[u32], rest: Prompt) -> Prompt {
    let labels: Vec<Vec<u32>> = pieces.iter().map(|piece| vec![*piece]).collect();
    class_labels(weights, &labels, rest)
}

/// Every element uniform in `[low, high)`; P = `length`, E = `width`.
pub fn uniform(length: usize, width: usize, low: f64, high: f64, stream: &mut Stream) -> Prompt {
    let values = (0..length * width).map(|_| stream.uniform(low, high) as f32).collect();
    Prompt { values, width }
}

/// The row of an id, `[E]`.
///
/// # Panics
/// If the embedding, `[V, E]`, has no such row: behind it are other weights.
fn embedding(weights: &Weights, id: u32) -> Vec<f32> {
    assert!((id as usize) < weights.dims.vocab, "the id {id} of {}", weights.dims.vocab);
    let mut row = vec![0.0; weights.dims.width];
    weights.at(&weights.layout.embedding).copy_to(id as usize * row.len(), &mut row);
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::model::{Dims, Precision};

    /// Five ids of width 2; the embedding of id i is `[i, 10 i + 0.5]`, which bf16 holds as it is.
    fn weights(precision: Precision) -> Weights {
        let dims = Dims::v1_1(5, 2, (1, 2), 2, (1, 1));
        let fill = |slot: &crate::ml::model::Slot, out: &mut [f32]| {
            out.fill(-1.0);
            if slot.name == "shared.weight" {
                (0..5).for_each(|i| out[2 * i..2 * i + 2].copy_from_slice(&[i as f32, 10.0 * i as f32 + 0.5]));
            }
            Ok(())
        };
        Weights::fill(dims, precision, fill).unwrap()
    }

    /// Three rows of 7 and 8.
    fn rest() -> Prompt {
        Prompt { values: [7.0, 8.0].repeat(3), width: 2 }
    }

    #[track_caller]
    fn check(prompt: &Prompt, rows: &[[f32; 2]]) {
        assert_eq!((prompt.width, prompt.values.as_slice()), (2, rows.as_flattened()));
    }

    /// The ids of a prompt whose rows are embeddings.
    #[track_caller]
    fn ids(prompt: &Prompt) -> Vec<usize> {
        let rows = prompt.values.chunks_exact(2);
        rows.map(|row| {
            assert_eq!(row[1], 10.0 * row[0] + 0.5, "no embedding");
            row[0] as usize
        })
        .collect()
    }

    #[test]
    fn rows_of_the_vocabulary_are_embeddings_each_at_most_once() {
        for precision in [Precision::F32, Precision::Bf16] {
            let weights = weights(precision);
            let mut seen = [0; 5];
            for seed in 0..200 {
                let mut found = ids(&sampled_vocabulary(&weights, 2, 4, &mut Stream::new(seed, "prompt")));
                found.iter().for_each(|id| seen[*id] += 1);
                found.dedup();
                assert_eq!(found.len(), 2);
            }
            // Each of four ids with probability 1/2; the last one is not among the first four.
            assert!(seen[..4].iter().all(|count| (70..130).contains(count)) && seen[4] == 0, "{seen:?}");
        }
    }

    #[test]
    fn all_of_the_vocabulary_is_all_that_there_is() {
        let weights = weights(Precision::F32);
        for top in [5, 6, usize::MAX] {
            let mut found = ids(&sampled_vocabulary(&weights, 5, top, &mut Stream::new(3, "prompt")));
            found.sort_unstable();
            assert_eq!(found, [0, 1, 2, 3, 4], "the {top} first");
        }
        let none = sampled_vocabulary(&weights, 0, 5, &mut Stream::new(3, "prompt"));
        assert_eq!((none.length(), none.width), (0, 2));
    }

    /// More rows than ids: some must be there twice.
    #[test]
    fn fewer_ids_than_rows_are_drawn_with_replacement() {
        let weights = weights(Precision::F32);
        let found = ids(&sampled_vocabulary(&weights, 40, 2, &mut Stream::new(0, "prompt")));
        let ones = found.iter().filter(|id| **id == 1).count();
        assert!(found.len() == 40 && found.iter().all(|id| *id < 2) && (8..33).contains(&ones), "{found:?}");
        let beyond = ids(&sampled_vocabulary(&weights, 40, 9, &mut Stream::new(0, "prompt")));
        assert_eq!(beyond.len(), 40, "a `top` beyond the vocabulary, and more rows than it has");
    }

    #[test]
    fn a_label_of_several_pieces_is_their_mean() {
        // (2 + 3) / 2 and (20.5 + 30.5) / 2; then 4, and what was there.
        let prompt = class_labels(&weights(Precision::F32), &[vec![2, 3], vec![4]], rest());
        check(&prompt, &[[2.5, 25.5], [4.0, 40.5], [7.0, 8.0]]);
        // A piece that is there twice counts twice: (1 + 1 + 4) / 3 and (10.5 + 10.5 + 40.5) / 3.
        let prompt = class_labels(&weights(Precision::Bf16), &[vec![1, 1, 4]], rest());
        check(&prompt, &[[2.0, 20.5], [7.0, 8.0], [7.0, 8.0]]);
    }

    #[test]
    fn a_label_without_a_piece_leaves_its_row() {
        let prompt = class_labels(&weights(Precision::F32), &[vec![], vec![1]], rest());
        check(&prompt, &[[7.0, 8.0], [1.0, 10.5], [7.0, 8.0]]);
        assert_eq!(class_labels(&weights(Precision::F32), &[], rest()), rest());
    }

    #[test]
    fn labels_and_pieces_beyond_the_prompt_are_left_out() {
        let rows = [[0.0, 0.5], [1.0, 10.5], [2.0, 20.5]];
        let labels: Vec<Vec<u32>> = (0..5).map(|id| vec![id]).collect();
        check(&class_labels(&weights(Precision::F32), &labels, rest()), &rows);
        check(&text(&weights(Precision::F32), &[0, 1, 2, 3, 4], rest()), &rows);
    }

    #[test]
    fn a_text_has_a_row_for_each_piece() {
        let prompt = text(&weights(Precision::F32), &[3, 3], rest());
        check(&prompt, &[[3.0, 30.5], [3.0, 30.5], [7.0, 8.0]]);
        assert_eq!(text(&weights(Precision::F32), &[], rest()), rest());
    }

    #[test]
    #[should_panic(expected = "the width of the prompt and of the model")]
    fn rows_of_another_width_are_refused() {
        text(&weights(Precision::F32), &[1], Prompt { values: vec![7.0; 6], width: 3 });
    }

    /// Behind the embedding are other weights, which are none.
    #[test]
    #[should_panic(expected = "the id 5 of 5")]
    fn an_id_beyond_the_vocabulary_is_refused() {
        text(&weights(Precision::F32), &[5], rest());
    }

    #[test]
    fn uniform_numbers_fill_their_range_evenly() {
        let prompt = uniform(100, 20, -0.5, 1.5, &mut Stream::new(0, "prompt"));
        assert_eq!((prompt.length(), prompt.width), (100, 20));
        assert!(prompt.values.iter().all(|x| (-0.5..1.5).contains(x)));
        let mean = prompt.values.iter().sum::<f32>() / 2000.0;
        let below = prompt.values.iter().filter(|x| **x < 0.0).count();
        // A quarter lies below 0; four standard deviations are 77 of 2000, and 0.05 for the mean.
        assert!((mean - 0.5).abs() < 0.052 && (423..577).contains(&below), "mean {mean}, {below} below 0");
        assert_eq!(uniform(100, 20, -0.5, 1.5, &mut Stream::new(0, "prompt")), prompt);
    }
}
