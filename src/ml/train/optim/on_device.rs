//! The optimisers on tensors, for parameters that stay on a device.
//!
//! They are those of [`optim`](super) in f32, sums over a tensor too, which are taken row by row and then over the rows.

use super::{AdafactorSettings, AdamWSettings, Optimizer, Settings, SgdSettings};
use candle_core::{Device, Result, Tensor};

/// An optimiser at work on one matrix of a device.
pub struct DeviceOptimizer {
    settings: Settings,
    shape: (usize, usize),
    step: u64,
    /// `[rows, columns]`; those of rows `[rows, 1]`, those of columns `[1, columns]`.
    moments: Vec<Tensor>,
}

impl DeviceOptimizer {
    /// The same optimiser, with its moments on `device`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn of(optimizer: &Optimizer, device: &Device) -> Result<Self> {
        let Optimizer { settings, shape, step, moments } = optimizer;
        let (rows, columns) = *shape;
        let tensor = |(index, moment): (usize, &Vec<f32>)| {
            let shape = match (settings, index) {
                (Settings::Adafactor(_), 0) if moments.len() == 2 => (rows, 1),
                (Settings::Adafactor(_), 1) => (1, columns),
                _ => (rows, columns),
            };
            Tensor::from_slice(moment, shape, device)
        };
        let moments = moments.iter().enumerate().map(tensor).collect::<Result<_>>()?;
        Ok(Self { settings: settings.clone(), shape: *shape, step: *step, moments })
    }

    /// Rows and columns of the matrix.
    pub fn shape(&self) -> (usize, usize) {
        self.shape
    }

    /// Steps taken.
    pub fn step_count(&self) -> u64 {
        self.step
    }

    /// The running moments, `[n, m]` or `[n]` and `[m]`, as [`Optimizer::restore`] takes them.
    ///
    /// # Errors
    /// If the device fails.
    pub fn moments(&self) -> Result<Vec<Vec<f32>>> {
        self.moments.iter().map(|moment| moment.flatten_all()?.to_vec1()).collect()
    }

    /// `parameters`, moved against `gradient` at this learning rate; all `[n, m]`.
    ///
    /// # Errors
    /// If the device fails, or the gradient has another shape.
    pub fn step(&mut self, parameters: &Tensor, gradient: &Tensor, rate: f64) -> Result<Tensor> {
        let moved = match &self.settings {
            Settings::Adafactor(s) => adafactor(s, self.step, &mut self.moments, parameters, gradient, rate),
            Settings::AdamW(s) => adamw(s, self.step, &mut self.moments, parameters, gradient, rate),
            Settings::Sgd(s) => sgd(s, self.step, &mut self.moments, parameters, gradient, rate),
        }?;
        self.step += 1;
        Ok(moved)
    }
}

fn adafactor(
    settings: &AdafactorSettings,
    step: u64,
    moments: &mut [Tensor],
    theta: &Tensor,
    g: &Tensor,
    rate: f64,
) -> Result<Tensor> {
    let (rows, columns) = g.dims2()?;
    let t = (step + settings.step_origin) as f64;
    let beta2 = 1.0 - (t + 1.0).powf(-settings.decay_rate);
    let mix = |v: &Tensor, squares: Tensor, count: usize| (v * beta2)? + (squares * ((1.0 - beta2) / count as f64))?;
    let squares = g.sqr()?.affine(1.0, settings.epsilon)?;
    let y = match moments {
        [v] => {
            *v = mix(v, squares, 1)?;
            (g / v.sqrt()?)?
        }
        [row_v, column_v] => {
            *row_v = mix(row_v, squares.sum_keepdim(1)?, columns)?;
            *column_v = mix(column_v, squares.sum_keepdim(0)?, rows)?;
            // Roots first: the quotient of a row and the mean of all may be too small for f32.
            let root = (row_v.sum_keepdim(0)? / rows as f64)?.sqrt()?;
            let row_factor = row_v.sqrt()?.recip()?.broadcast_mul(&root)?;
            g.broadcast_mul(&row_factor)?.broadcast_mul(&column_v.sqrt()?.recip()?)?
        }
        _ => unreachable!("an Adafactor has one moment, or one for rows and one for columns"),
    };
    let clipping = (rms(&y)? / settings.clipping_threshold)?.maximum(1.0)?;
    let scale = match settings.multiply_by_parameter_scale {
        true => (rms(theta)?.maximum(settings.epsilon2)? * rate)?,
        false => clipping.ones_like()?.affine(rate, 0.0)?,
    };
    (theta * (1.0 - settings.weight_decay))? - y.broadcast_mul(&(scale / clipping)?)?
}

/// Root mean square, `[1, 1]`.
fn rms(x: &Tensor) -> Result<Tensor> {
    let count = x.elem_count() as f64;
    (x.sqr()?.sum_keepdim(1)?.sum_keepdim(0)? / count)?.sqrt()
}

fn adamw(
    settings: &AdamWSettings,
    step: u64,
    moments: &mut [Tensor],
    theta: &Tensor,
    g: &Tensor,
    rate: f64,
) -> Result<Tensor> {
    let AdamWSettings { beta1, beta2, epsilon, weight_decay } = *settings;
    let [m, v] = moments else { unreachable!("AdamW has two moments") };
    let t = step as f64 + 1.0;
    *m = ((&*m * beta1)? + (g * (1.0 - beta1))?)?;
    *v = ((&*v * beta2)? + (g.sqr()? * (1.0 - beta2))?)?;
    let root = v.sqrt()?.affine(1.0 / (1.0 - beta2.powf(t)).sqrt(), epsilon)?;
    let step_size = rate / (1.0 - beta1.powf(t));
    (theta * (1.0 - rate * weight_decay))? - ((&*m * step_size)? / root)?
}

fn sgd(
    settings: &SgdSettings,
    step: u64,
    moments: &mut [Tensor],
    theta: &Tensor,
    g: &Tensor,
    rate: f64,
) -> Result<Tensor> {
    let mut g = (g + (theta * settings.weight_decay)?)?;
    if let Some(buffer) = moments.first_mut() {
        if step > 0 {
            g = ((&*buffer * settings.momentum)? + g)?;
        }
        *buffer = g.clone();
    }
    theta - (g * rate)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::random::Stream;

    fn random(len: usize, stream: &mut Stream) -> Vec<f32> {
        (0..len).map(|_| stream.normal() as f32).collect()
    }

    fn optimizers() -> Vec<Settings> {
        let adafactor = |json: &str| serde_json::from_str::<Settings>(json).unwrap();
        vec![
            Settings::Adafactor(AdafactorSettings::of_weights()),
            adafactor(r#"{"adafactor": {"min_dim_size_to_factor": 4}}"#),
            adafactor(r#"{"adafactor": {"min_dim_size_to_factor": 4, "step_origin": 1100000}}"#),
            adafactor(r#"{"adafactor": {"min_dim_size_to_factor": 4, "multiply_by_parameter_scale": true}}"#),
            Settings::AdamW(AdamWSettings::default()),
            Settings::Sgd(SgdSettings { momentum: 0.9, weight_decay: 0.01 }),
            Settings::Sgd(SgdSettings::default()),
        ]
    }

    /// Distance of `found` from `expected`, relative to how far that has moved from `start`.
    fn astray(found: &[f32], expected: &[f32], start: &[f32]) -> f64 {
        let length = |a: &[f32], b: &[f32]| {
            a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>().sqrt()
        };
        length(found, expected) / length(expected, start)
    }

    /// Gradients of very different sizes, and one row without any, as of a word that is not in a batch.
    #[test]
    fn steps_are_those_of_the_host() {
        for settings in optimizers() {
            for (rows, columns) in [(6, 9), (1, 7)] {
                let mut stream = Stream::new(1, "optimizers");
                let start = random(rows * columns, &mut stream);
                let mut host = Optimizer::new(settings.clone(), (rows, columns));
                let mut device = DeviceOptimizer::of(&host, &Device::Cpu).unwrap();
                let mut expected = start.clone();
                let mut found = Tensor::from_slice(&start, (rows, columns), &Device::Cpu).unwrap();
                for step in 0..20 {
                    let mut g = random(rows * columns, &mut stream);
                    g.iter_mut().enumerate().for_each(|(i, g)| *g *= 10f32.powi((i % 7) as i32 - 3));
                    g[(rows - 1) * columns..].iter_mut().for_each(|g| *g *= if rows > 1 { 0.0 } else { 1.0 });
                    host.step(&mut expected, &g, 0.01);
                    let g = Tensor::from_vec(g, (rows, columns), &Device::Cpu).unwrap();
                    found = device.step(&found, &g, 0.01).unwrap();
                    let found: Vec<f32> = found.flatten_all().unwrap().to_vec1().unwrap();
                    let astray = astray(&found, &expected, &start);
                    assert!(astray < 1e-4, "{settings:?}, {rows} rows, step {step}: {astray}");
                }
                assert_eq!(device.step_count(), host.step_count());
                let lengths = |moments: &[Vec<f32>]| moments.iter().map(Vec::len).collect::<Vec<_>>();
                assert_eq!(lengths(&device.moments().unwrap()), lengths(host.moments()));
            }
        }
    }

    #[test]
    fn moments_go_to_the_host_and_back() {
        for settings in optimizers() {
            let mut stream = Stream::new(2, "optimizers");
            let mut gradient = || Tensor::from_vec(random(54, &mut stream), (6, 9), &Device::Cpu).unwrap();
            let mut host = Optimizer::new(settings, (6, 9));
            let mut whole = DeviceOptimizer::of(&host, &Device::Cpu).unwrap();
            let theta = whole.step(&gradient(), &gradient(), 0.01).unwrap();
            host.restore(whole.step_count(), whole.moments().unwrap()).unwrap();
            let mut second = DeviceOptimizer::of(&host, &Device::Cpu).unwrap();
            let gradient = gradient();
            let [found, expected] = [&mut second, &mut whole]
                .map(|optimizer| optimizer.step(&theta, &gradient, 0.01).unwrap().to_vec2::<f32>().unwrap());
            assert!(found == expected && second.moments().unwrap() == whole.moments().unwrap());
        }
    }
}
