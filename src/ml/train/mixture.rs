//! Mixtures of tasks: how often each is drawn (Raffel et al. 2020, section 3.5.2; `rate_num_examples` of T5's `utils.py`).

use super::optim::in_range;
use crate::ml::error::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Examples-proportional mixing: a task with n examples is drawn with a probability in proportion to
/// `min(n * scale, limit)^(1 / temperature)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Mixing {
    /// Examples beyond which a task counts no more. SPoT: 2^19.
    pub limit: u64,
    /// 1 leaves proportions as they are, more brings them nearer to each other.
    pub temperature: f64,
    /// Factor of the numbers of examples.
    pub scale: f64,
}

impl Default for Mixing {
    fn default() -> Self {
        Self { limit: 1 << 19, temperature: 1.0, scale: 1.0 }
    }
}

impl Mixing {
    /// Whether these are the defaults.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::ml::error::Error::Setting) for the first value outside its range.
    pub fn check(&self) -> Result<()> {
        for (field, value) in [("limit", self.limit as f64), ("temperature", self.temperature), ("scale", self.scale)] {
            in_range(field, value, value > 0.0 && value.is_finite(), "above 0 and finite")?;
        }
        Ok(())
    }

    /// The probability of each task, by its number of examples; as many as there are tasks.
    pub fn rates(&self, examples: &[usize]) -> Vec<f64> {
        let capped = examples.iter().map(|n| (*n as f64 * self.scale).min(self.limit as f64));
        let capped: Vec<f64> = capped.collect();
        // Relative to the largest, so that low temperatures do not overflow.
        let largest = capped.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let rates: Vec<f64> = capped.iter().map(|n| libm::pow(n / largest, 1.0 / self.temperature)).collect();
        let sum: f64 = rates.iter().sum();
        rates.into_iter().map(|rate| rate / sum).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(mixing: Mixing, examples: &[usize], percent: &[f64]) {
        for (rate, expected) in mixing.rates(examples).into_iter().zip(percent) {
            assert!((100.0 * rate - expected).abs() < 0.0005, "{rate} is not {expected} %");
        }
    }

    /// Worked by hand from the papers' sizes of training sets; only C4 is over the limit.
    #[test]
    fn rates_are_those_of_examples_proportional_mixing() {
        let glue = [392_702, 363_849, 104_743, 67_349, 8_551, 5_749, 3_668, 2_490];
        let percent = [41.376, 38.336, 11.036, 7.096, 0.901, 0.606, 0.386, 0.262];
        check(Mixing::default(), &glue, &percent);
        let with_c4 = [365_000_000, 393_000, 88_000, 250];
        check(Mixing::default(), &with_c4, &[52.140, 39.084, 8.752, 0.025]);
    }

    #[test]
    fn temperature_levels_and_scale_multiplies_before_the_limit() {
        let square = Mixing { temperature: 2.0, ..Mixing::default() };
        check(square, &[100, 400], &[100.0 / 3.0, 200.0 / 3.0]);
        check(Mixing { temperature: 1e-3, ..Mixing::default() }, &[400_000, 500_000], &[0.0, 100.0]);
        check(Mixing { limit: 200, scale: 2.0, ..Mixing::default() }, &[50, 400], &[100.0 / 3.0, 200.0 / 3.0]);
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = Mixing { temperature, ..Mixing::default() }.check().unwrap_err().to_string();
            assert!(error.contains("temperature"), "{error}");
        }
        assert!(Mixing { limit: 0, ..Mixing::default() }.check().is_err());
        assert!(Mixing { scale: f64::NAN, ..Mixing::default() }.check().is_err());
    }
}
