//! How alike two tasks are, by the prompts that serve as their embeddings (SPoT, section 3).

use super::Prompt;
use crate::ml::error::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A measure of likeness between prompts, in -1..=1, computed in f64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Similarity {
    /// Cosine of the mean rows.
    AverageTokens,
    /// Mean cosine over all pairs of rows. A prompt's likeness to itself is far below 1, so only the order means something.
    #[default]
    PerToken,
}

impl Similarity {
    /// The likeness of two prompts of the same width.
    ///
    /// # Errors
    /// If they have no rows, or rows of different widths.
    pub fn of(self, a: &Prompt, b: &Prompt) -> Result<f64> {
        same_width(a, b)?;
        Ok(self.between(&self.mean(a), &self.mean(b)))
    }

    /// The likeness of every prompt of `rows` to every one of `columns`.
    ///
    /// Both measures are inner products of means of rows, so R + C means and R C inner products of width E are all it takes:
    /// the mean cosine over all pairs of rows is the inner product of the means of the unit rows.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn matrix(self, rows: &[&Prompt], columns: &[&Prompt]) -> Result<Vec<Vec<f64>>> {
        for row in rows {
            for column in columns {
                same_width(row, column)?;
            }
        }
        let columns: Vec<Mean> = columns.iter().map(|column| self.mean(column)).collect();
        let row = |row: &Mean| columns.iter().map(|column| self.between(row, column)).collect();
        Ok(rows.iter().map(|prompt| row(&self.mean(prompt))).collect())
    }

    fn mean(self, prompt: &Prompt) -> Mean {
        let row = match self {
            Self::AverageTokens => mean_row(prompt, |_| 1.0),
            Self::PerToken => mean_row(prompt, |row| {
                let length = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
                if length == 0.0 { 0.0 } else { 1.0 / length }
            }),
        };
        Mean { length: dot(&row, &row).sqrt(), row }
    }

    fn between(self, a: &Mean, b: &Mean) -> f64 {
        let lengths = match self {
            Self::AverageTokens => a.length * b.length,
            // A row of zeros has cosine 0 with every other.
            Self::PerToken => 1.0,
        };
        if lengths == 0.0 { 0.0 } else { dot(&a.row, &b.row) / lengths }
    }
}

/// What a measure needs of a prompt.
struct Mean {
    /// Mean of its rows, or of its unit rows. `[E]`
    row: Vec<f64>,
    /// Euclidean length of `row`.
    length: f64,
}

fn same_width(a: &Prompt, b: &Prompt) -> Result<()> {
    let empty = a.values.is_empty() || b.values.is_empty();
    if a.width == b.width && !empty {
        return Ok(());
    }
    let shape = |prompt: &Prompt| format!("[{}, {}]", prompt.values.len() / prompt.width.max(1), prompt.width);
    Err(Error::Prompt(format!(
        "cannot compare shapes {} and {}: both need rows of the same width, which come from one backbone",
        shape(a),
        shape(b)
    )))
}

/// The mean of the rows, each first multiplied by its `scale`. `[E]`
fn mean_row(prompt: &Prompt, scale: impl Fn(&[f32]) -> f64) -> Vec<f64> {
    let mut sum = vec![0.0; prompt.width];
    for row in prompt.values.chunks_exact(prompt.width) {
        let scale = scale(row);
        sum.iter_mut().zip(row).for_each(|(s, x)| *s += scale * f64::from(*x));
    }
    let rows = prompt.length() as f64;
    sum.iter_mut().for_each(|s| *s /= rows);
    sum
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::prompt::npy;
    use crate::ml::random::Stream;
    use crate::ml::statistics::tests::near;
    use crate::ml::tasks::shared;

    fn random(seed: u64, length: usize, width: usize) -> Prompt {
        let mut stream = Stream::new(seed, "similarity");
        Prompt { values: (0..length * width).map(|_| stream.normal() as f32).collect(), width }
    }

    #[test]
    fn a_matrix_is_every_pair() {
        let prompts: Vec<Prompt> = (0..4).map(|seed| random(seed, 3 + seed as usize, 5)).collect();
        let all: Vec<&Prompt> = prompts.iter().collect();
        for measure in [Similarity::AverageTokens, Similarity::PerToken] {
            let matrix = measure.matrix(&all[..3], &all).unwrap();
            assert_eq!((matrix.len(), matrix[0].len()), (3, 4));
            for (i, row) in matrix.iter().enumerate() {
                for (j, value) in row.iter().enumerate() {
                    assert_eq!(*value, measure.of(&prompts[i], &prompts[j]).unwrap());
                }
            }
            assert!(measure.matrix(&all, &[&random(9, 3, 6)]).is_err());
        }
    }

    #[test]
    fn per_token_is_the_mean_over_all_pairs() {
        let (a, b) = (random(1, 7, 5), random(2, 7, 5));
        let mut sum = 0.0;
        for x in a.values.chunks(5) {
            for y in b.values.chunks(5) {
                let [x, y] = [x, y].map(|row| row.iter().map(|v| f64::from(*v)).collect::<Vec<_>>());
                sum += dot(&x, &y) / (dot(&x, &x) * dot(&y, &y)).sqrt();
            }
        }
        near(Similarity::PerToken.of(&a, &b).unwrap(), sum / 49.0, 1e-14);
    }

    #[test]
    fn a_prompt_is_like_itself_by_its_average_only() {
        let a = random(3, 20, 8);
        near(Similarity::AverageTokens.of(&a, &a).unwrap(), 1.0, 1e-14);
        assert!(Similarity::PerToken.of(&a, &a).unwrap() < 0.5);
    }

    #[test]
    fn zeros_are_like_nothing() {
        let zero = Prompt { values: vec![0.0; 10], width: 5 };
        assert_eq!(Similarity::AverageTokens.of(&zero, &random(4, 2, 5)).unwrap(), 0.0);
        assert_eq!(Similarity::PerToken.of(&zero, &random(4, 2, 5)).unwrap(), 0.0);
    }

    #[test]
    fn prompts_of_different_widths_cannot_be_compared() {
        let error = Similarity::AverageTokens.of(&random(1, 2, 3), &random(1, 3, 2)).unwrap_err().to_string();
        assert!(error.contains("[2, 3] and [3, 2]"), "{error}");
        assert!(Similarity::PerToken.of(&Prompt { values: vec![], width: 0 }, &random(1, 3, 2)).is_err());
    }

    #[test]
    fn published_prompts_have_the_known_similarities() {
        let Some(folder) = shared::folder("pretrained-prompts") else { return };
        let prompt = |name: &str| npy::read(&fs_err::read(folder.join(name)).unwrap()).unwrap();
        let [mrpc, rte, sst2] = ["mrpc.npy", "rte.npy", "sst2.npy"].map(prompt);
        // The table in that folder's README.
        let cases = [
            (&mrpc, &mrpc, 1.000000000, 0.040284173),
            (&rte, &rte, 1.000000000, 0.034942437),
            (&sst2, &sst2, 1.000000000, 0.030019126),
            (&mrpc, &rte, 0.564631655, 0.021956670),
            (&mrpc, &sst2, 0.495561852, 0.017048741),
            (&rte, &sst2, 0.518394494, 0.017099559),
        ];
        for (a, b, average, pairs) in cases {
            near(Similarity::AverageTokens.of(a, b).unwrap(), average, 1e-6);
            near(Similarity::PerToken.of(a, b).unwrap(), pairs, 1e-6);
            near(Similarity::PerToken.of(b, a).unwrap(), pairs, 1e-6);
        }
        let wide = prompt("attempt/record-t5-d1024.npy");
        assert!(Similarity::AverageTokens.of(&mrpc, &wide).is_err());
    }
}
