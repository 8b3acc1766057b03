//! Relative position buckets (Raffel et al. 2020, section 2.1; `_relative_position_bucket` in Hugging Face's
//! `modeling_t5.py`), including the causal form that candle-transformers' T5 lacks.

/// The bucket of a key `distance` positions after the query (negative: before it).
///
/// The encoder looks both ways and spends half of the buckets on each; the decoder (`causal`) has all of them for the
/// past. Near positions have a bucket of their own, farther ones share logarithmically wider ones up to `max_distance`.
pub fn bucket(distance: i64, causal: bool, buckets: usize, max_distance: usize) -> usize {
    let (buckets, offset, distance) = if causal {
        (buckets, 0, (-distance).max(0))
    } else {
        (buckets / 2, if distance > 0 { buckets / 2 } else { 0 }, distance.abs())
    };
    let distance = usize::try_from(distance).expect("a distance made non-negative above");
    let exact = buckets / 2;
    if distance < exact {
        return offset + distance;
    }
    // In f32 and in this order of operations, as the reference does it: the truncation is sensitive to the last bit. The
    // logarithms are the libm crate's, so that no C library can move a bucket.
    let log = libm::logf(distance as f32 / exact as f32) / (libm::log(max_distance as f64 / exact as f64) as f32);
    let far = exact + (log * (buckets - exact) as f32) as usize;
    offset + far.min(buckets - 1)
}

/// The bucket of every offset from `-(length - 1)` to `length - 1`.
pub fn offset_buckets(buckets: usize, length: usize, causal: bool, max_distance: usize) -> impl Iterator<Item = usize> {
    (0..2 * length - 1).map(move |offset| bucket(offset as i64 - (length as i64 - 1), causal, buckets, max_distance))
}

/// Bias of every offset between `-(length - 1)` and `length - 1` for every head: `[H, 2·length - 1]`, where the bias of
/// a key at `j` for a query at `i` stands at `j - i + length - 1`. `table` is the learned `[buckets, H]`.
pub fn offset_bias(table: &[f32], heads: usize, length: usize, causal: bool, max_distance: usize) -> Vec<f32> {
    let buckets = table.len() / heads;
    let span = 2 * length - 1;
    let mut bias = vec![0.0; heads * span];
    for (offset, row) in offset_buckets(buckets, length, causal, max_distance).enumerate() {
        for head in 0..heads {
            bias[head * span + offset] = table[row * heads + head];
        }
    }
    bias
}

/// Adds the gradient of [`offset_bias`], `[H, 2·length - 1]`, to the gradient of its table, `[buckets, H]`.
pub fn offset_bias_backward(
    d_table: &mut [f32],
    d_bias: &[f32],
    heads: usize,
    length: usize,
    causal: bool,
    max_distance: usize,
) {
    let buckets = d_table.len() / heads;
    let span = 2 * length - 1;
    for (offset, row) in offset_buckets(buckets, length, causal, max_distance).enumerate() {
        for head in 0..heads {
            d_table[row * heads + head] += d_bias[head * span + offset];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values are Hugging Face's (`T5Attention._relative_position_bucket`, transformers 5.x, 32 buckets, 128).
    #[test]
    fn causal_buckets_agree_with_the_reference() {
        let past: Vec<usize> = (8..=20).map(|d| bucket(-d, true, 32, 128)).collect();
        assert_eq!(past, [8, 9, 10, 11, 12, 13, 14, 15, 16, 16, 16, 17, 17]);
        assert_eq!(bucket(5, true, 32, 128), 0, "the future has the bucket of the present");
        assert_eq!(bucket(-33, true, 32, 128), 21);
        assert_eq!(bucket(-10_000, true, 32, 128), 31);
    }

    #[derive(serde::Deserialize)]
    struct Golden {
        first: i64,
        tables: Vec<Table>,
    }

    #[derive(serde::Deserialize)]
    struct Table {
        causal: bool,
        buckets: usize,
        max_distance: usize,
        /// Bucket, and how many distances on end have it.
        runs: Vec<(usize, usize)>,
    }

    #[test]
    fn all_buckets_agree_with_hugging_face() {
        let golden: Golden = serde_json::from_str(include_str!("../../../tests/golden/buckets.json")).unwrap();
        for Table { causal, buckets, max_distance, runs } in golden.tables {
            let expected = runs.into_iter().flat_map(|(bucket, times)| std::iter::repeat_n(bucket, times));
            for (distance, expected) in (golden.first..).zip(expected) {
                let found = bucket(distance, causal, buckets, max_distance);
                assert_eq!(
                    found, expected,
                    "distance {distance}, causal {causal}, {buckets} buckets to {max_distance}"
                );
            }
        }
    }

    #[test]
    fn both_directions_have_half_of_the_buckets() {
        assert_eq!(bucket(-3, false, 32, 128), 3);
        assert_eq!(bucket(3, false, 32, 128), 19);
        assert_eq!(bucket(-500, false, 32, 128), 15);
        assert_eq!(bucket(500, false, 32, 128), 31);
    }
}
