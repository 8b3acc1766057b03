//! Rows of the embedding matrix.

use super::Matrix;

/// `y[i] = table[ids[i]]`, `[n, E]`.
///
/// # Panics
/// If an id is not a row of the table; tokenizers are checked against the model before.
pub fn gather(y: &mut [f32], table: Matrix<'_>, ids: &[u32], width: usize) {
    for (y, id) in y.chunks_exact_mut(width).zip(ids) {
        table.copy_to(*id as usize * width, y);
    }
}

/// `d_table[ids[i]] += d_y[i]`, in the order of `ids`; `d_table` is `[V, E]`, `d_y` `[n, E]`.
pub fn scatter(d_table: &mut [f32], d_y: &[f32], ids: &[u32], width: usize) {
    for (d_y, id) in d_y.chunks_exact(width).zip(ids) {
        let at = *id as usize * width;
        for (d, g) in d_table[at..at + width].iter_mut().zip(d_y) {
            *d += g;
        }
    }
}
