//! Optimisers and learning rate schedules: Adafactor in the exact form of T5X, AdamW and SGD as in PyTorch.
//!
//! Parameters are f32; running moments are kept in f32 and sums over a tensor are taken in f64.

mod on_device;

use crate::ml::error::{Error, Result};
pub use on_device::DeviceOptimizer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An optimiser and its settings; the defaults are those of prompt tuning (Lester et al. 2021, section 3;
/// `adafactor.py` of google-research/t5x).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Settings {
    /// Adafactor (Shazeer and Stern 2018) without momentum, as in T5X.
    Adafactor(AdafactorSettings),
    /// AdamW (Loshchilov and Hutter 2019), as in PyTorch.
    #[serde(rename = "adamw")]
    AdamW(AdamWSettings),
    /// Gradient descent with momentum, as in PyTorch.
    Sgd(SgdSettings),
}

impl Default for Settings {
    fn default() -> Self {
        Self::Adafactor(AdafactorSettings::default())
    }
}

/// Settings of Adafactor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdafactorSettings {
    /// Exponent of the decay of the second moment: beta2 at step t is 1 - (t + 1)^-decay_rate.
    pub decay_rate: f64,
    /// Share of the parameters that is taken off at every step; not multiplied by the learning rate.
    pub weight_decay: f64,
    /// Updates are scaled down to this root mean square.
    pub clipping_threshold: f64,
    /// Added to the squared gradient.
    pub epsilon: f64,
    /// The second moment is kept as row and column means if both dimensions are at least this.
    pub min_dim_size_to_factor: usize,
    /// Value of the step counter before the first step: 0, or 1,100,000 as in the public T5X recipe, which restores the
    /// counter of the base checkpoint and so makes the second moment nearly a running sum.
    pub step_origin: u64,
    /// Whether the learning rate is relative to the size of a tensor: multiplied by the root mean square of its parameters,
    /// or by `epsilon2` if that is more. T5's choice for weights; prompts learn better without.
    #[serde(skip_serializing_if = "is_off")]
    pub multiply_by_parameter_scale: bool,
    /// Least size of a tensor that `multiply_by_parameter_scale` takes it to have, so that one of zeros can leave them.
    #[serde(skip_serializing_if = "is_usual_epsilon2")]
    pub epsilon2: f64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_off(flag: &bool) -> bool {
    !flag
}

/// Least size of a tensor in T5X.
const EPSILON2: f64 = 1e-3;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_usual_epsilon2(epsilon: &f64) -> bool {
    *epsilon == EPSILON2
}

impl Default for AdafactorSettings {
    fn default() -> Self {
        Self {
            decay_rate: 0.8,
            weight_decay: 1e-5,
            clipping_threshold: 1.0,
            epsilon: 1e-30,
            min_dim_size_to_factor: 128,
            step_origin: 0,
            multiply_by_parameter_scale: false,
            epsilon2: EPSILON2,
        }
    }
}

impl AdafactorSettings {
    /// For all weights of a model, as T5 is fine-tuned: relative to their size and without decay.
    pub fn of_weights() -> Self {
        Self { weight_decay: 0.0, multiply_by_parameter_scale: true, ..Self::default() }
    }
}

/// Settings of AdamW.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWSettings {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Share of the parameters, times the learning rate, that is taken off at every step.
    pub weight_decay: f64,
}

impl Default for AdamWSettings {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 }
    }
}

/// Settings of gradient descent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SgdSettings {
    /// Share of the last update that is carried over.
    pub momentum: f64,
    /// Added to the gradient, times the parameters.
    pub weight_decay: f64,
}

impl Settings {
    /// Whether the size of the gradient does not matter, so that the loss may be summed over tokens as in T5X; other
    /// optimisers need a mean.
    pub fn is_scale_invariant(&self) -> bool {
        matches!(self, Self::Adafactor(_))
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first value outside its range.
    pub fn check(&self) -> Result<()> {
        let unit = |field, value: f64| in_range(field, value, (0.0..1.0).contains(&value), "at least 0 and below 1");
        let positive = |field, value: f64| in_range(field, value, value > 0.0 && value.is_finite(), "above 0");
        match self {
            Self::Adafactor(s) => {
                in_range("decay_rate", s.decay_rate, s.decay_rate > 0.0 && s.decay_rate <= 1.0, "above 0, at most 1")?;
                unit("weight_decay", s.weight_decay)?;
                positive("clipping_threshold", s.clipping_threshold)?;
                positive("epsilon", s.epsilon)?;
                positive("epsilon2", s.epsilon2)
            }
            Self::AdamW(s) => {
                unit("beta1", s.beta1)?;
                unit("beta2", s.beta2)?;
                positive("epsilon", s.epsilon)?;
                unit("weight_decay", s.weight_decay)
            }
            Self::Sgd(s) => {
                unit("momentum", s.momentum)?;
                unit("weight_decay", s.weight_decay)
            }
        }
    }
}

/// Refuses a value that is not `ok`.
///
/// # Errors
/// [`Error::Setting`] then.
pub(super) fn in_range(field: &'static str, value: f64, ok: bool, expected: &str) -> Result<()> {
    if ok { Ok(()) } else { Err(Error::setting(field, value, expected)) }
}

/// How the learning rate goes over the steps; every schedule but `constant` may be preceded by a warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Always the peak.
    #[default]
    Constant,
    /// Down to 0 at the last step in a straight line.
    Linear,
    /// Down to 0 at the last step along half a cosine (Loshchilov and Hutter 2017).
    Cosine,
    /// `peak · sqrt(warmup / step)` after the warm-up (Vaswani et al. 2017).
    InverseRoot,
}

/// A learning rate over the steps of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Largest learning rate.
    pub peak: f64,
    /// The course after the warm-up.
    pub shape: Shape,
    /// Steps in which the rate rises from 0 to the peak in a straight line.
    pub warmup: u64,
    /// Steps of the run.
    pub steps: u64,
}

impl Schedule {
    /// The rate of `step`, counted from 1.
    pub fn rate(&self, step: u64) -> f64 {
        if step <= self.warmup {
            return self.peak * step as f64 / self.warmup as f64;
        }
        let done = (step - self.warmup) as f64 / (self.steps.saturating_sub(self.warmup)).max(1) as f64;
        self.peak
            * match self.shape {
                Shape::Constant => 1.0,
                Shape::Linear => (1.0 - done).max(0.0),
                Shape::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos()),
                Shape::InverseRoot => (self.warmup.max(1) as f64 / step as f64).sqrt(),
            }
    }
}

/// An optimiser at work on one tensor.
#[derive(Clone, Debug)]
pub struct Optimizer {
    settings: Settings,
    /// Rows and columns: of a prompt P and E.
    shape: (usize, usize),
    step: u64,
    /// `[rows, columns]` each; of a factored second moment `[rows]` and `[columns]`.
    moments: Vec<Vec<f32>>,
}

impl Optimizer {
    /// An optimiser for a matrix `[rows, columns]` (a vector is one row).
    pub fn new(settings: Settings, shape: (usize, usize)) -> Self {
        let (rows, columns) = shape;
        let all = || vec![0.0; rows * columns];
        let moments = match &settings {
            Settings::Adafactor(s) if rows.min(columns) >= s.min_dim_size_to_factor => {
                vec![vec![0.0; rows], vec![0.0; columns]]
            }
            Settings::Adafactor(_) => vec![all()],
            Settings::AdamW(_) => vec![all(), all()],
            Settings::Sgd(s) if s.momentum > 0.0 => vec![all()],
            Settings::Sgd(_) => Vec::new(),
        };
        Self { settings, shape, step: 0, moments }
    }

    /// The running moments, for a checkpoint: `[n, m]` as the matrix is, or `[n]` and `[m]` if they are factored.
    pub fn moments(&self) -> &[Vec<f32>] {
        &self.moments
    }

    /// Steps taken.
    pub fn step_count(&self) -> u64 {
        self.step
    }

    /// Takes up the moments of a checkpoint, `[n, m]` or `[n]` and `[m]`, which have seen `step` updates.
    ///
    /// # Errors
    /// If they are of a matrix of another shape, or of another optimiser.
    pub fn restore(&mut self, step: u64, moments: Vec<Vec<f32>>) -> Result<()> {
        let lengths = |m: &[Vec<f32>]| m.iter().map(Vec::len).collect::<Vec<_>>();
        if lengths(&moments) != lengths(&self.moments) {
            return Err(Error::Checkpoint("the optimiser state belongs to other settings".to_owned()));
        }
        self.step = step;
        self.moments = moments;
        Ok(())
    }

    /// Moves `parameters` against `gradient`, both `[n, m]`, of a prompt `[P, E]`, at this learning rate.
    pub fn step(&mut self, parameters: &mut [f32], gradient: &[f32], rate: f64) {
        match &self.settings {
            Settings::Adafactor(s) => {
                adafactor(s, self.shape, self.step, &mut self.moments, parameters, gradient, rate);
            }
            Settings::AdamW(s) => adamw(s, self.step, &mut self.moments, parameters, gradient, rate),
            Settings::Sgd(s) => sgd(s, self.step, &mut self.moments, parameters, gradient, rate),
        }
        self.step += 1;
    }
}

/// T5X, `adafactor.py`, `apply_param_gradient`, without momentum.
fn adafactor(
    settings: &AdafactorSettings,
    (_, columns): (usize, usize),
    step: u64,
    moments: &mut [Vec<f32>],
    theta: &mut [f32],
    g: &[f32],
    rate: f64,
) {
    let t = (step + settings.step_origin) as f64;
    let beta2 = 1.0 - (t + 1.0).powf(-settings.decay_rate);
    let mix = |v: f32, square: f64| (beta2 * f64::from(v) + (1.0 - beta2) * square) as f32;
    let square = |g: f32| f64::from(g) * f64::from(g) + settings.epsilon;
    let mut y: Vec<f64>;
    match moments {
        [v] => {
            for (v, g) in v.iter_mut().zip(g) {
                *v = mix(*v, square(*g));
            }
            y = v.iter().zip(g).map(|(v, g)| f64::from(*g) / f64::from(*v).sqrt()).collect();
        }
        [row_v, column_v] => {
            let rows = row_v.len();
            let mut column_sums = vec![0.0; columns];
            for (v, g) in row_v.iter_mut().zip(g.chunks_exact(columns)) {
                let mut sum = 0.0;
                for (g, column) in g.iter().zip(&mut column_sums) {
                    sum += square(*g);
                    *column += square(*g);
                }
                *v = mix(*v, sum / columns as f64);
            }
            for (v, sum) in column_v.iter_mut().zip(&column_sums) {
                *v = mix(*v, sum / rows as f64);
            }
            let mean = row_v.iter().map(|v| f64::from(*v)).sum::<f64>() / rows as f64;
            let column_factors: Vec<f64> = column_v.iter().map(|v| f64::from(*v).powf(-0.5)).collect();
            y = Vec::with_capacity(g.len());
            for (v, g) in row_v.iter().zip(g.chunks_exact(columns)) {
                let row_factor = (f64::from(*v) / mean).powf(-0.5);
                y.extend(g.iter().zip(&column_factors).map(|(g, factor)| f64::from(*g) * row_factor * factor));
            }
        }
        _ => unreachable!("an Adafactor has one moment, or one for rows and one for columns"),
    }
    let clipping = (rms(y.iter().copied()) / settings.clipping_threshold).max(1.0);
    let size = match settings.multiply_by_parameter_scale {
        true => rms(theta.iter().map(|theta| f64::from(*theta))).max(settings.epsilon2),
        false => 1.0,
    };
    let scale = rate * size / clipping;
    for (theta, y) in theta.iter_mut().zip(&mut y) {
        *theta = ((1.0 - settings.weight_decay) * f64::from(*theta) - scale * *y) as f32;
    }
}

/// Root mean square.
fn rms(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    (values.map(|value| value * value).sum::<f64>() / count).sqrt()
}

/// PyTorch, `torch.optim.AdamW`.
fn adamw(settings: &AdamWSettings, step: u64, moments: &mut [Vec<f32>], theta: &mut [f32], g: &[f32], rate: f64) {
    let [m, v] = moments else { unreachable!("AdamW has two moments") };
    let t = step as f64 + 1.0;
    let (beta1, beta2) = (settings.beta1 as f32, settings.beta2 as f32);
    // Taken in f64: in f32 the share of 0.001 that beta2 = 0.999 leaves to new gradients would be wrong in its fifth digit.
    let (new1, new2) = ((1.0 - settings.beta1) as f32, (1.0 - settings.beta2) as f32);
    let step_size = (rate / (1.0 - settings.beta1.powf(t))) as f32;
    let root = (1.0 - settings.beta2.powf(t)).sqrt() as f32;
    let (decay, epsilon) = ((1.0 - rate * settings.weight_decay) as f32, settings.epsilon as f32);
    for (((theta, g), m), v) in theta.iter_mut().zip(g).zip(m).zip(v) {
        *m = beta1 * *m + new1 * g;
        *v = beta2 * *v + new2 * g * g;
        *theta = *theta * decay - step_size * *m / (v.sqrt() / root + epsilon);
    }
}

/// PyTorch, `torch.optim.SGD` without dampening.
fn sgd(settings: &SgdSettings, step: u64, moments: &mut [Vec<f32>], theta: &mut [f32], g: &[f32], rate: f64) {
    let (rate, momentum, decay) = (rate as f32, settings.momentum as f32, settings.weight_decay as f32);
    match moments {
        [] => theta.iter_mut().zip(g).for_each(|(theta, g)| *theta -= rate * (g + decay * *theta)),
        [buffer, ..] => {
            for ((theta, g), b) in theta.iter_mut().zip(g).zip(buffer) {
                let g = g + decay * *theta;
                *b = if step == 0 { g } else { momentum * *b + g };
                *theta -= rate * *b;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `tests/golden/optim.py`.
    #[derive(Deserialize)]
    struct Golden {
        rows: usize,
        columns: usize,
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        name: String,
        settings: Settings,
        rate: f64,
        /// Step from 1, and the parameters after it.
        trajectory: Vec<(u64, Vec<f64>)>,
    }

    fn golden() -> Golden {
        serde_json::from_str(include_str!("../../../../tests/golden/optim.json")).unwrap()
    }

    /// The same formulas as in the script.
    fn start(len: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 37 % 101) as f64 / 50.5 - 1.0) as f32).collect()
    }

    fn gradient(step: u64, len: usize, columns: usize) -> Vec<f32> {
        let scales = [0.001, 0.01, 0.1, 1.0, 10.0];
        let mut g: Vec<f32> = (0..len)
            .map(|i| {
                let unit = ((step as usize * 7919 + i * 104_729 + 31) % 1009) as f64 / 504.5 - 1.0;
                (unit * scales[i % columns]) as f32
            })
            .collect();
        g[7] = 0.0;
        g
    }

    #[test]
    fn trajectories_follow_the_references() {
        let Golden { rows, columns, cases } = golden();
        for Case { name, settings, rate, trajectory } in cases {
            settings.check().unwrap();
            let mut theta = start(rows * columns);
            let mut optimizer = Optimizer::new(settings, (rows, columns));
            for (step, expected) in trajectory {
                while optimizer.step_count() < step {
                    let g = gradient(optimizer.step_count() + 1, rows * columns, columns);
                    optimizer.step(&mut theta, &g, rate);
                }
                for (found, expected) in theta.iter().zip(&expected) {
                    let apart = (f64::from(*found) - expected).abs();
                    assert!(
                        apart < 1e-6 * expected.abs().max(1.0),
                        "{name}, step {step}: {found}, expected {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_restored_optimizer_goes_on_bit_for_bit() {
        let Golden { rows, columns, cases } = golden();
        for Case { settings, rate, .. } in cases {
            let shape = (rows, columns);
            let run = |optimizer: &mut Optimizer, theta: &mut [f32], steps: std::ops::RangeInclusive<u64>| {
                steps.for_each(|step| optimizer.step(theta, &gradient(step, rows * columns, columns), rate));
            };
            let (mut whole, mut expected) = (Optimizer::new(settings.clone(), shape), start(rows * columns));
            run(&mut whole, &mut expected, 1..=20);
            let (mut first, mut theta) = (Optimizer::new(settings.clone(), shape), start(rows * columns));
            run(&mut first, &mut theta, 1..=9);
            let mut second = Optimizer::new(settings, shape);
            second.restore(first.step_count(), first.moments().to_vec()).unwrap();
            run(&mut second, &mut theta, 10..=20);
            assert!(theta == expected && second.moments() == whole.moments());
        }
    }

    #[test]
    fn the_state_of_another_shape_is_refused() {
        let mut optimizer = Optimizer::new(Settings::default(), (3, 4));
        let other = Optimizer::new(Settings::default(), (4, 4));
        assert!(optimizer.restore(1, other.moments().to_vec()).is_err());
    }

    /// T5X does not factor a prompt of 100 rows, but one of 150.
    #[test]
    fn adafactor_factors_from_128_on() {
        let lengths = |rows| -> Vec<usize> {
            Optimizer::new(Settings::default(), (rows, 512)).moments().iter().map(Vec::len).collect()
        };
        assert_eq!(lengths(100), [51_200]);
        assert_eq!(lengths(127), [65_024]);
        assert_eq!(lengths(128), [128, 512]);
    }

    /// With the counter of the base checkpoint the clipping is always active, so every update has the root mean square
    /// of the learning rate.
    #[test]
    fn a_late_step_origin_makes_every_update_equally_long() {
        let settings = AdafactorSettings { step_origin: 1_100_000, weight_decay: 0.0, ..AdafactorSettings::default() };
        let mut optimizer = Optimizer::new(Settings::Adafactor(settings), (6, 5));
        let mut theta = start(30);
        for step in 1..=50 {
            let before = theta.clone();
            optimizer.step(&mut theta, &gradient(step, 30, 5), 0.3);
            let square: f64 = theta.iter().zip(&before).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            let length = (square / 30.0).sqrt();
            assert!((length - 0.3).abs() < 1e-6, "step {step}: {length}");
        }
    }

    /// With the clipping always active, an update has the root mean square of the learning rate times the parameters'.
    #[test]
    fn parameter_scaling_makes_updates_a_share_of_the_parameters() {
        let settings = AdafactorSettings {
            step_origin: 1_100_000,
            weight_decay: 0.0,
            multiply_by_parameter_scale: true,
            ..AdafactorSettings::default()
        };
        let length = |x: &[f32]| (x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / x.len() as f64).sqrt();
        for (factor, scale) in [(1.0, length(&start(30))), (4.0, 4.0 * length(&start(30))), (0.0, 1e-3)] {
            let before: Vec<f32> = start(30).iter().map(|x| factor * x).collect();
            let mut theta = before.clone();
            let mut optimizer = Optimizer::new(Settings::Adafactor(settings.clone()), (6, 5));
            optimizer.step(&mut theta, &gradient(1, 30, 5), 0.01);
            let moved: Vec<f32> = theta.iter().zip(&before).map(|(a, b)| a - b).collect();
            assert!((length(&moved) - 0.01 * scale).abs() < 1e-6 * scale.max(0.01), "{factor}: {}", length(&moved));
        }
    }

    #[test]
    fn parameter_scaling_that_is_off_is_not_written() {
        let plain = serde_json::to_string(&Settings::default()).unwrap();
        assert!(!plain.contains("parameter_scale"), "{plain}");
        let on = AdafactorSettings { multiply_by_parameter_scale: true, ..AdafactorSettings::default() };
        assert_eq!(serde_json::to_value(on).unwrap()["multiply_by_parameter_scale"], true);
    }

    #[test]
    fn schedules_rise_and_fall() {
        let at = |shape, warmup, step| Schedule { peak: 2.0, shape, warmup, steps: 100 }.rate(step);
        assert_eq!(at(Shape::Constant, 0, 1), 2.0);
        assert_eq!(at(Shape::Constant, 10, 5), 1.0);
        for shape in [Shape::Constant, Shape::Linear, Shape::Cosine, Shape::InverseRoot] {
            assert_eq!(at(shape, 10, 10), 2.0, "{shape:?}");
        }
        assert_eq!(at(Shape::Linear, 20, 60), 1.0);
        assert_eq!(at(Shape::Linear, 20, 100), 0.0);
        assert!((at(Shape::Cosine, 20, 60) - 1.0).abs() < 1e-12);
        assert_eq!(at(Shape::InverseRoot, 25, 100), 1.0);
    }

    #[test]
    fn settings_outside_their_range_are_named() {
        let error = |json: &str| serde_json::from_str::<Settings>(json).unwrap().check().unwrap_err().to_string();
        assert!(error(r#"{"adafactor": {"decay_rate": 0}}"#).contains("`decay_rate` is 0"));
        assert!(error(r#"{"adamw": {"beta2": 1.0}}"#).contains("`beta2` is 1"));
        assert!(error(r#"{"sgd": {"momentum": -0.1}}"#).contains("`momentum` is -0.1"));
    }
}
