//! Rows of the embedding matrix.

/// `y[i] = table[ids[i]]`, `[n, E]`.
///
/// # Panics
/// If an id is not a row of the table; tokenizers are checked against the model before.
pub fn gather(y: &mut [f32], table: &[f32], ids: &[u32], width: usize) {
    for (y, id) in y.chunks_exact_mut(width).zip(ids) {
        y.copy_from_slice(row(table, *id, width));
    }
}

/// `d_table[ids[i]] += d_y[i]`, in the order of `ids`.
pub fn scatter(d_table: &mut [f32], d_y: &[f32], ids: &[u32], width: usize) {
    for (d_y, id) in d_y.chunks_exact(width).zip(ids) {
        let at = *id as usize * width;
        for (d, g) in d_table[at..at + width].iter_mut().zip(d_y) {
            *d += g;
        }
    }
}

fn row(table: &[f32], id: u32, width: usize) -> &[f32] {
    let at = id as usize * width;
    &table[at..at + width]
}
