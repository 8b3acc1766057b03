//! Scales: from numbers to places on an axis, to ticks and to classes of colour.

/// From an interval of numbers to one of places.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Linear {
    /// Numbers at the ends.
    pub(super) domain: (f64, f64),
    /// Places of these.
    pub(super) range: (f64, f64),
}

impl Linear {
    /// A scale that holds all of these numbers, with a little room on both sides.
    pub(super) fn around(numbers: impl Iterator<Item = f64>, range: (f64, f64)) -> Self {
        let (low, high) = extent(numbers).unwrap_or((0.0, 1.0));
        let room = if high > low { 0.06 * (high - low) } else { low.abs().max(1.0) * 0.05 };
        Self { domain: (low - room, high + room), range }
    }

    pub(super) fn at(&self, number: f64) -> f64 {
        let ((low, high), (start, end)) = (self.domain, self.range);
        start + (number - low) / (high - low) * (end - start)
    }

    /// Round numbers within the scale, about as many as asked for, and how many decimals they need.
    pub(super) fn ticks(&self, about: usize) -> (Vec<f64>, usize) {
        let (low, high) = self.domain;
        let rough = (high - low) / about.max(1) as f64;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= rough * 0.999);
        let step = step.unwrap_or(10.0 * power);
        let first = (low / step).ceil();
        let count = ((high / step).floor() - first).max(-1.0) as usize;
        let ticks = (0..=count).map(|i| (first + i as f64) * step).filter(|tick| *tick >= low && *tick <= high);
        let decimals = (-(step * 1.001).log10().floor()).clamp(0.0, 9.0);
        (ticks.collect(), decimals as usize)
    }
}

/// The smallest and the largest of the finite numbers, if there are any.
pub(super) fn extent(numbers: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    numbers.filter(|number| number.is_finite()).fold(None, |extent, number| match extent {
        None => Some((number, number)),
        Some((low, high)) => Some((f64::min(low, number), f64::max(high, number))),
    })
}

/// How numbers become colours. The classes are defined in `page.css`, for light and dark.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Colours {
    /// From a negative end over 0 to a positive one; what lies further out has the colour of the end.
    Diverging {
        /// The number at the positive end.
        limit: f64,
    },
    /// From few to much.
    Sequential {
        /// The number at the pale end.
        low: f64,
        /// The number at the strong end.
        high: f64,
    },
}

/// Classes on each side of the middle.
pub(super) const SIDE: i32 = 6;
/// Classes of a sequence.
pub(super) const SEQUENCE: i32 = 9;

impl Colours {
    /// A diverging scale whose ends nine in ten of the numbers lie within, so that one outlier does not make all others pale.
    pub fn diverging(numbers: impl IntoIterator<Item = f64>) -> Self {
        let mut sizes: Vec<f64> = numbers.into_iter().filter(|x| x.is_finite()).map(f64::abs).collect();
        sizes.sort_by(f64::total_cmp);
        let at = (0.9 * sizes.len().saturating_sub(1) as f64).ceil() as usize;
        Self::Diverging { limit: round_up(sizes.get(at).copied().unwrap_or(0.0)) }
    }

    /// A sequential scale from the smallest number to the largest.
    pub fn sequential(numbers: impl IntoIterator<Item = f64>) -> Self {
        let (low, high) = extent(numbers.into_iter()).unwrap_or((0.0, 1.0));
        Self::Sequential { low, high }
    }

    /// The class of a number's colour.
    pub(super) fn class(self, number: f64) -> String {
        match self {
            Self::Diverging { limit } => {
                let step = (number / limit * f64::from(SIDE)).round().clamp(-f64::from(SIDE), f64::from(SIDE)) as i32;
                diverging_class(step)
            }
            Self::Sequential { low, high } => {
                let share = if high > low { (number - low) / (high - low) } else { 0.5 };
                let step = (share * f64::from(SEQUENCE)).floor().clamp(0.0, f64::from(SEQUENCE - 1)) as i32;
                format!("s{step}")
            }
        }
    }

    /// All classes, in order.
    pub(super) fn classes(self) -> Vec<String> {
        match self {
            Self::Diverging { .. } => (-SIDE..=SIDE).map(diverging_class).collect(),
            Self::Sequential { .. } => (0..SEQUENCE).map(|step| format!("s{step}")).collect(),
        }
    }
}

fn diverging_class(step: i32) -> String {
    match step {
        0 => "z".to_owned(),
        step if step < 0 => format!("n{}", -step),
        step => format!("p{step}"),
    }
}

/// The next number with few digits; 1 for 0.
fn round_up(number: f64) -> f64 {
    if number <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(number.log10().floor());
    let steps = [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    let step = steps.into_iter().find(|step| step * power >= number * (1.0 - 1e-12));
    step.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_the_diverging_scale_and_beyond_have_the_strongest_colours() {
        let colours = Colours::Diverging { limit: 50.0 };
        for (number, class) in [
            (0.0, "z"),
            (-0.1, "z"),
            (4.3, "p1"),
            (-4.3, "n1"),
            (50.0, "p6"),
            (-50.0, "n6"),
            (1e9, "p6"),
            (-254.8, "n6"),
        ] {
            assert_eq!(colours.class(number), class, "{number}");
        }
        assert_eq!(colours.classes().len(), 13);
    }

    #[test]
    fn ends_of_the_sequential_scale_are_its_first_and_last_class() {
        let colours = Colours::sequential([0.2, 0.4, 0.8, f64::NAN]);
        assert_eq!([0.2, 0.8, 0.0, 2.0].map(|x| colours.class(x)), ["s0", "s8", "s0", "s8"]);
        assert_eq!(Colours::sequential([0.5]).class(0.5), "s4", "one number is in the middle");
    }

    #[test]
    fn one_outlier_does_not_stretch_the_scale() {
        let numbers = (1..=20).map(f64::from).chain([-1000.0]);
        assert_eq!(Colours::diverging(numbers), Colours::Diverging { limit: 20.0 });
        assert_eq!(Colours::diverging([0.0]), Colours::Diverging { limit: 1.0 });
        assert_eq!(Colours::diverging([]), Colours::Diverging { limit: 1.0 });
    }

    #[test]
    fn ticks_are_round_and_inside() {
        let ticks = |low, high| Linear { domain: (low, high), range: (0.0, 1.0) }.ticks(4);
        assert_eq!(ticks(0.0, 100.0), (vec![0.0, 50.0, 100.0], 0));
        assert_eq!(ticks(-31.0, 62.0), (vec![0.0, 50.0], 0));
        let (found, decimals) = ticks(0.512, 0.548);
        assert_eq!((found.len(), decimals), (3, 2));
        assert!((found[0] - 0.52).abs() < 1e-12 && (found[2] - 0.54).abs() < 1e-12);
        assert_eq!(ticks(1.0, 1.0 + 1e-3).1, 4);
    }

    #[test]
    fn a_scale_of_one_number_or_none_has_a_width() {
        for numbers in [vec![], vec![5.0], vec![0.0, 0.0]] {
            let scale = Linear::around(numbers.into_iter(), (0.0, 100.0));
            assert!(scale.domain.1 > scale.domain.0);
            assert!(scale.at(scale.domain.0).abs() < 1e-9);
        }
    }
}
