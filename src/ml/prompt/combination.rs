//! Prompts added up: arithmetic of tasks (Ilharco et al. 2023 of weights), means, and what lies between two.

use super::Prompt;
use crate::ml::error::{Error, Result};

/// The sum of prompts, each times its weight, over `divisor`; summed in f64 in their order. `[P, E]`
///
/// # Errors
/// If there is none, two have different shapes, or a number of the result is none of single precision.
pub fn combination(terms: &[(f64, &Prompt)], divisor: f64) -> Result<Prompt> {
    let Some((_, first)) = terms.first() else {
        return Err(Error::Prompt("nothing to add up, expected one prompt at least".to_owned()));
    };
    let shape = |prompt: &Prompt| [prompt.length(), prompt.width];
    if let Some((_, other)) = terms.iter().find(|(_, prompt)| shape(prompt) != shape(first)) {
        let (one, other) = (shape(first), shape(other));
        return Err(Error::Prompt(format!(
            "shapes {one:?} and {other:?}, expected one shape; rows are added one by one"
        )));
    }
    let mut sums = vec![0.0_f64; first.values.len()];
    for (weight, prompt) in terms {
        sums.iter_mut().zip(&prompt.values).for_each(|(sum, x)| *sum += weight * f64::from(*x));
    }
    let values: Vec<f32> = sums.iter().map(|sum| (sum / divisor) as f32).collect();
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(Prompt { values, width: first.width }),
        Some(at) => {
            let (row, column, value) = (at / first.width, at % first.width, sums[at] / divisor);
            Err(Error::Prompt(format!(
                "the sum is {value:e} at row {row}, column {column}, which single precision cannot hold; take smaller weights"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(values: [f32; 4]) -> Prompt {
        Prompt { values: values.to_vec(), width: 2 }
    }

    #[test]
    fn sums_are_those_worked_by_hand() {
        let (a, b, c) = (prompt([1.0, 2.0, 3.0, 4.0]), prompt([0.5, -2.0, 1.0, 0.0]), prompt([10.0, 0.25, -3.0, 8.0]));
        let made = |terms: &[(f64, &Prompt)], divisor| combination(terms, divisor).unwrap();
        assert_eq!(made(&[(1.0, &a), (-1.0, &b), (1.0, &c)], 1.0), prompt([10.5, 4.25, -1.0, 12.0]));
        assert_eq!(made(&[(1.0, &a), (1.0, &b)], 2.0), prompt([0.75, 0.0, 2.0, 2.0]));
        assert_eq!(made(&[(3.0, &a), (1.0, &c)], 4.0), prompt([3.25, 1.5625, 1.5, 5.0]));
        assert_eq!(made(&[(0.75, &a), (0.25, &c)], 1.0), prompt([3.25, 1.5625, 1.5, 5.0]));
        assert_eq!(made(&[(1.0, &a), (-1.0, &a)], 1.0), prompt([0.0; 4]));
        // A third of 0.1 is no number of either precision; three of them over three are the number again.
        let tenths = prompt([0.1, 0.7, -0.3, f32::MIN_POSITIVE]);
        assert_eq!(made(&[(1.0, &tenths), (1.0, &tenths), (1.0, &tenths)], 3.0), tenths);
    }

    #[test]
    fn sums_are_in_double_precision() {
        // 2^24 + 1 is no f32: summed in single precision the ones are lost.
        let (large, one) = (prompt([16_777_216.0; 4]), prompt([1.0; 4]));
        let sum = combination(&[(1.0, &large), (1.0, &one), (1.0, &one), (-1.0, &large)], 1.0).unwrap();
        assert_eq!(sum, prompt([2.0; 4]));
        // A sum may leave single precision on its way.
        let most = prompt([f32::MAX; 4]);
        assert_eq!(combination(&[(1.0, &most), (1.0, &most)], 2.0).unwrap(), most);
    }

    #[test]
    fn what_no_prompt_can_be_is_refused() {
        let error = |terms: &[(f64, &Prompt)], divisor| combination(terms, divisor).unwrap_err().to_string();
        let (a, other) = (prompt([1.0, 2.0, 3.0, f32::MAX]), Prompt { values: vec![1.0; 4], width: 4 });
        assert!(error(&[], 1.0).contains("nothing to add up"));
        assert_eq!(
            error(&[(1.0, &a), (1.0, &other)], 1.0),
            "prompt: shapes [2, 2] and [1, 4], expected one shape; rows are added one by one"
        );
        let overflow = error(&[(2.0, &a)], 1.0);
        assert!(
            overflow.starts_with("prompt: the sum is 6.8") && overflow.contains("at row 1, column 1"),
            "{overflow}"
        );
        assert!(error(&[(f64::NAN, &a)], 1.0).contains("the sum is NaN at row 0, column 0"));
        assert!(error(&[(1.0, &a)], 0.0).contains("the sum is inf at row 0, column 0"));
    }
}
