//! What the rows of a soft prompt are like: the pieces of the vocabulary whose embeddings point the same way, or lie near (Lester et
//! al. 2021, section 7).

use super::Prompt;
use crate::ml::model::Weights;
use rayon::prelude::*;

/// A piece, and how near its embedding is to a row of a prompt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    /// Its id.
    pub id: u32,
    /// -1 to 1; 0 of a row of zeros.
    pub cosine: f64,
    /// Euclidean.
    pub distance: f64,
}

/// By what pieces are near.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The cosine, whatever the lengths of rows.
    Cosine,
    /// The Euclidean distance.
    Distance,
}

/// For every row of a prompt, `[P, E]`, the `count` nearest of the first `size` pieces, the nearest first; of equally near ones the more
/// common. The prompt must be as wide as the embedding.
pub fn nearest(weights: &Weights, size: usize, prompt: &Prompt, count: usize, by: By) -> Vec<Vec<Neighbour>> {
    let width = weights.dims.width;
    let embedding = weights.at(&weights.layout.embedding);
    let piece = |id: usize| {
        let mut piece = vec![0.0; width];
        embedding.copy_to(id * width, &mut piece);
        piece
    };
    let rows: Vec<(&[f32], f64)> = prompt.values.chunks_exact(width).map(|row| (row, norm(row))).collect();
    let pieces = size.min(weights.dims.vocab);
    // How far a piece is from all rows.
    let far = |id: usize| -> Vec<f64> {
        let piece = piece(id);
        let piece = (&*piece, norm(&piece));
        rows.iter().map(|row| if by == By::Cosine { -cosine(*row, piece) } else { distance(row.0, piece.0) }).collect()
    };
    let far: Vec<Vec<f64>> = (0..pieces).into_par_iter().map(far).collect();
    let neighbour = |row: usize, id: usize| {
        let piece = piece(id);
        let (cosine, distance) = (cosine(rows[row], (&piece, norm(&piece))), distance(rows[row].0, &piece));
        Neighbour { id: id as u32, cosine, distance }
    };
    let nearest = |row: usize| {
        let mut ids: Vec<usize> = (0..pieces).collect();
        ids.sort_by(|a, b| far[*a][row].total_cmp(&far[*b][row]).then(a.cmp(b)));
        ids.into_iter().take(count).map(|id| neighbour(row, id)).collect()
    };
    (0..rows.len()).map(nearest).collect()
}

/// Euclidean lengths of the rows of a prompt.
pub fn norms(prompt: &Prompt) -> Vec<f64> {
    prompt.values.chunks_exact(prompt.width).map(norm).collect()
}

fn norm(row: &[f32]) -> f64 {
    row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
}

/// Of two vectors, `[E]`, with their lengths.
fn cosine((a, of_a): (&[f32], f64), (b, of_b): (&[f32], f64)) -> f64 {
    let lengths = of_a * of_b;
    let product: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    // Of zeros no direction is nearer than another; 0 and not -0, which would come before it.
    if lengths == 0.0 { 0.0 } else { product / lengths }
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>().sqrt()
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
        let prompt = Prompt { values, width: 8 };
        let found = nearest(&weights, 40, &prompt, 40, By::Cosine);
        assert_eq!(found[0].last().map(|n| n.id), Some(7), "{found:?}");
        assert!((found[0][39].cosine + 1.0).abs() < 1e-6);
        let order: Vec<u32> = found[1].iter().map(|neighbour| neighbour.id).collect();
        assert_eq!(order, (0..40).collect::<Vec<_>>(), "a row of zeros is equally far from all");
        assert_eq!(nearest(&weights, 5, &prompt, 9, By::Distance)[0].len(), 5);
    }

    #[test]
    fn what_points_the_same_way_may_lie_far() {
        let dims = Dims::v1_1(3, 2, (1, 2), 2, (1, 1));
        let pieces = [[3.0, 4.0], [1.0, 0.0], [-3.0, 4.0]];
        let fill = |slot: &crate::ml::model::Slot, out: &mut [f32]| {
            out.fill(1.0);
            if slot.name == "shared.weight" {
                out.copy_from_slice(pieces.as_flattened());
            }
            Ok(())
        };
        let weights = Weights::fill(dims, crate::ml::model::Precision::F32, fill).unwrap();
        let prompt = Prompt { values: vec![0.6, 0.8], width: 2 };
        let found = |by| nearest(&weights, 3, &prompt, 3, by).remove(0);
        let ids = |found: &[Neighbour]| found.iter().map(|near| near.id).collect::<Vec<_>>();
        // Cosines 1, 0.6 and (-1.8 + 3.2) / 5; distances 4, sqrt(0.8) and sqrt(3.6^2 + 3.2^2).
        assert_eq!((ids(&found(By::Cosine)), ids(&found(By::Distance))), (vec![0, 1, 2], vec![1, 0, 2]));
        let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        for (near, (cosine, distance)) in
            found(By::Cosine).iter().zip([(1.0, 4.0), (0.6, 0.8_f64.sqrt()), (0.28, 23.2_f64.sqrt())])
        {
            close(near.cosine, cosine);
            close(near.distance, distance);
        }
    }
}
