//! What the rows of a soft prompt are like: the pieces of the vocabulary whose embeddings point the same way (Lester et al.
//! 2021, section 7).

use super::Prompt;
use crate::ml::model::Weights;
use rayon::prelude::*;

/// A piece, and the cosine of its embedding with a row of a prompt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    /// Its id.
    pub id: u32,
    /// -1 to 1.
    pub cosine: f64,
}

/// For every row of a prompt the `count` nearest of the first `size` pieces, the nearest first; of equally near ones the more
/// common. The prompt must be as wide as the embedding.
pub fn nearest(weights: &Weights, size: usize, prompt: &Prompt, count: usize) -> Vec<Vec<Neighbour>> {
    let width = weights.dims.width;
    let embedding = weights.at(&weights.layout.embedding);
    let rows: Vec<Vec<f64>> = prompt.values.chunks_exact(width).map(unit).collect();
    let pieces = size.min(weights.dims.vocab);
    // A piece's cosines with all rows.
    let cosines: Vec<Vec<f64>> = (0..pieces)
        .into_par_iter()
        .map(|id| {
            let mut piece = vec![0.0; width];
            embedding.copy_to(id * width, &mut piece);
            let piece = unit(&piece);
            rows.iter().map(|row| row.iter().zip(&piece).map(|(a, b)| a * b).sum()).collect()
        })
        .collect();
    (0..rows.len())
        .map(|row| {
            let mut ids: Vec<usize> = (0..pieces).collect();
            ids.sort_by(|a, b| cosines[*b][row].total_cmp(&cosines[*a][row]).then(a.cmp(b)));
            ids.truncate(count);
            ids.into_iter().map(|id| Neighbour { id: id as u32, cosine: cosines[id][row] }).collect()
        })
        .collect()
}

/// Euclidean lengths of the rows of a prompt.
pub fn norms(prompt: &Prompt) -> Vec<f64> {
    prompt.values.chunks_exact(prompt.width).map(norm).collect()
}

fn norm(row: &[f32]) -> f64 {
    row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
}

/// A row of length 1; of zeros, zeros.
fn unit(row: &[f32]) -> Vec<f64> {
    let length = norm(row);
    let scale = if length == 0.0 { 0.0 } else { 1.0 / length };
    row.iter().map(|x| f64::from(*x) * scale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::model::Dims;
    use crate::ml::random::Stream;

    #[test]
    fn a_row_made_of_a_piece_is_nearest_to_that_piece() {
        let dims = Dims::v1_1(40, 8, (1, 8), 8, (1, 1));
        let weights = Weights::random(dims, &mut Stream::new(0, "test"));
        let mut values = vec![0.0; 16];
        weights.at(&weights.layout.embedding).copy_to(7 * 8, &mut values[..8]);
        values[..8].iter_mut().for_each(|x| *x *= -3.0);
        let found = nearest(&weights, 40, &Prompt { values: values.clone(), width: 8 }, 40);
        assert_eq!(found[0].last().map(|n| n.id), Some(7), "{found:?}");
        assert!((found[0][39].cosine + 1.0).abs() < 1e-6);
        let order: Vec<u32> = found[1].iter().map(|neighbour| neighbour.id).collect();
        assert_eq!(order, (0..40).collect::<Vec<_>>(), "a row of zeros is equally far from all");
        assert_eq!(nearest(&weights, 5, &Prompt { values, width: 8 }, 9)[0].len(), 5);
    }
}
