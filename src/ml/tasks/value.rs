//! What a cell or a key says, however its container writes it: the one rule by which answers are compared with labels.
//!
//! - A *truth value* is `true` or `false`, in any of the spellings `true`, `True`, `TRUE`: pandas writes one of them, R and JSON
//!   others.
//! - A *number* is compared by what it is and not by how it is written: `1`, `1.0`, `1.00` and `1e0` are one number. Tables
//!   that had gaps hold whole numbers as `1.0`. All digits count, so numbers of any size differ where they do.
//! - Everything else is a *text*, without white space around it; letters in another case make another text.
//!
//! Values of different kinds are never equal: `true` is not 1. Digits with zeros in front (`007`) are a text, since they are a
//! code: as a number two of them might be one.

use std::cmp::Ordering;
use std::fmt;

/// A value; two that are equal mean the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// Yes or no.
    Truth(bool),
    /// A number.
    Number(Decimal),
    /// Anything else.
    Text(String),
}

/// A decimal number, exactly.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decimal {
    negative: bool,
    /// Without zeros at either end; none for 0.
    digits: String,
    /// The number is 0.`digits` times ten to this.
    exponent: i64,
}

impl Value {
    /// What a text says.
    pub fn of(text: &str) -> Self {
        let text = text.trim();
        match text {
            "true" | "True" | "TRUE" => Self::Truth(true),
            "false" | "False" | "FALSE" => Self::Truth(false),
            _ => Decimal::parse(text).map_or_else(|| Self::Text(text.to_owned()), Self::Number),
        }
    }
}

impl Decimal {
    /// The number -1, which stands for a hidden answer where published test splits hide theirs.
    pub(super) fn is_minus_one(&self) -> bool {
        self.negative && self.digits == "1" && self.exponent == 1
    }

    /// A number as people and programs write it: `-1.50`, `.5`, `2e-7`. No zeros in front, no groups of digits.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent_of(exponent)?),
            None => (rest, 0),
        };
        let (front, back) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        let is_code = front.len() > 1 && front.starts_with('0');
        if front.len() + back.len() == 0 || !plain(front) || !plain(back) || is_code {
            return None;
        }
        let digits = format!("{front}{back}");
        let zeros = digits.len() - digits.trim_start_matches('0').len();
        let exponent = exponent + i64::try_from(front.len()).ok()? - i64::try_from(zeros).ok()?;
        let digits = digits.trim_matches('0').to_owned();
        // Zero has one form.
        let (negative, exponent) = if digits.is_empty() { (false, 0) } else { (negative, exponent) };
        Some(Self { negative, digits, exponent })
    }

    /// Whether it is below 0, its digits and its exponent, of which [`from_parts`](Self::from_parts) makes it again.
    pub(super) fn parts(&self) -> (bool, &str, i64) {
        (self.negative, &self.digits, self.exponent)
    }

    /// A number of its [`parts`](Self::parts).
    pub(super) fn from_parts(negative: bool, digits: String, exponent: i64) -> Self {
        Self { negative, digits, exponent }
    }

    /// The order of numbers; that of the type itself is none.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        // Digits begin with one that is not 0, so that of equally long numbers they are in order; 0 has none.
        let key = |number: &Self| (!number.digits.is_empty(), number.exponent, number.digits.clone());
        let size = |a: &Self, b: &Self| key(a).cmp(&key(b));
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => size(self, other),
            (true, true) => size(other, self),
        }
    }

    /// The nearest multiple of a positive step, written with as many decimals as the step has; of two the even one. `None` if the
    /// numbers have more digits than can be reckoned with.
    pub fn rounded(&self, step: &Self) -> Option<String> {
        let decimals = step.decimals();
        let scale = decimals.max(self.decimals());
        let (number, step) = (self.scaled(scale)?, step.scaled(scale)?);
        let (whole, rest) = (number.div_euclid(step), number.rem_euclid(step));
        let up = match (2 * rest).cmp(&step) {
            Ordering::Less => false,
            Ordering::Equal => whole % 2 != 0,
            Ordering::Greater => true,
        };
        // The step has no more than its own decimals, so nothing is lost.
        let nearest = (whole + i128::from(up)).checked_mul(step)? / 10_i128.checked_pow(scale - decimals)?;
        let (unit, sign) = (10_i128.checked_pow(decimals)?, if nearest < 0 { "-" } else { "" });
        let (front, back) = (nearest.abs() / unit, nearest.abs() % unit);
        let width = decimals as usize;
        Some(if decimals == 0 { format!("{sign}{front}") } else { format!("{sign}{front}.{back:0width$}") })
    }

    /// Digits behind the point.
    fn decimals(&self) -> u32 {
        u32::try_from(self.digits.len() as i64 - self.exponent).unwrap_or(0)
    }

    /// The number times ten to `scale`, which is no less than its decimals.
    fn scaled(&self, scale: u32) -> Option<i128> {
        // Twice of it must be a number too.
        let zeros = u32::try_from(i64::from(scale) + self.exponent - self.digits.len() as i64).ok()?;
        let digits = if self.digits.is_empty() { 0 } else { self.digits.parse::<i128>().ok()? };
        let size = digits.checked_mul(10_i128.checked_pow(zeros.min(64))?)?.checked_mul(4)? / 4;
        Some(if self.negative { -size } else { size })
    }

    /// Whether it is more than nothing.
    pub fn is_positive(&self) -> bool {
        !self.negative && !self.digits.is_empty()
    }

    /// A number of the machine by its shortest decimal; `None` if it is not finite.
    pub fn of<N: fmt::Display>(number: N) -> Option<Self> {
        Self::parse(&number.to_string())
    }

    /// Whether it has no fraction.
    pub fn is_whole(&self) -> bool {
        usize::try_from(self.exponent).is_ok_and(|exponent| exponent >= self.digits.len())
    }

    /// The number as a place in a list, if it can be one.
    pub(super) fn place(&self) -> Option<usize> {
        (self.is_whole() && !self.negative && self.exponent < 10).then(|| self.to_string().parse().ok())?
    }

    /// The nearest number in f32.
    pub(super) fn to_f32(&self) -> f32 {
        self.to_string().parse().unwrap_or(f32::NAN)
    }
}

/// An exponent with its sign; no number that anybody means has one of more than nine digits.
fn exponent_of(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let plain = (1..=9).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

/// Decimal places in front of and behind the point up to which a number is written without an exponent.
const LONGEST: i64 = 40;

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { negative, digits, exponent } = self;
        if digits.is_empty() {
            return f.write_str("0");
        }
        if *negative {
            f.write_str("-")?;
        }
        let (count, exponent) = (digits.len(), *exponent);
        match usize::try_from(exponent) {
            Ok(front) if front >= count && exponent <= LONGEST => write!(f, "{digits}{}", "0".repeat(front - count)),
            Ok(front) if (1..count).contains(&front) => write!(f, "{}.{}", &digits[..front], &digits[front..]),
            _ if (-LONGEST..=0).contains(&exponent) => {
                let zeros = usize::try_from(-exponent).unwrap_or_default();
                write!(f, "0.{}{digits}", "0".repeat(zeros))
            }
            _ => {
                let (first, rest) = digits.split_at(1);
                let point = if rest.is_empty() { "" } else { "." };
                write!(f, "{first}{point}{rest}e{}", exponent - 1)
            }
        }
    }
}

/// A value as it reads in a message, in backticks.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truth(truth) => write!(f, "{truth}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_has_many_spellings() {
        let alike: [&[&str]; 8] = [
            &["1", "1.0", " 1.00 ", "1e0", "10E-1", "+1", "1.", "0.1e+1"],
            &["0", "-0", "0.000", "0e99", ".0"],
            &["-1", "-1.0"],
            &["12345678901234567890", "12345678901234567890.0", "1.234567890123456789e19"],
            &["0.5", ".5", "5e-1", "0.50"],
            &["true", "True", "TRUE"],
            &["good", " good\t"],
            &["01", "01"],
        ];
        for (at, spellings) in alike.iter().enumerate() {
            for spelling in *spellings {
                assert_eq!(Value::of(spelling), Value::of(spellings[0]), "{spelling}");
                for other in alike.iter().skip(at + 1) {
                    assert_ne!(Value::of(spelling), Value::of(other[0]), "{spelling}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_number_is_a_text() {
        for text in [
            "",
            "-",
            ".",
            "e5",
            "1e",
            "1e+",
            "1,000",
            "1_000",
            "0x10",
            "007",
            "00",
            "-01.5",
            "nan",
            "inf",
            "1 2",
            "٣",
            "1e99999999999999999999",
        ] {
            assert_eq!(Value::of(text), Value::Text(text.to_owned()));
        }
        assert_ne!(Value::of("True"), Value::of("1"));
        assert_ne!(Value::of("Good"), Value::of("good"));
    }

    #[test]
    fn numbers_read_as_people_write_them() {
        let shown = |text: &str| Decimal::parse(text).unwrap().to_string();
        for text in ["0", "7", "-7", "100", "1.5", "-0.25", "0.001", "12345678901234567890", "123.456"] {
            assert_eq!(shown(text), text);
        }
        for (text, expected) in [
            ("1.10", "1.1"),
            ("100.0", "100"),
            ("1e-7", "0.0000001"),
            ("-0.0", "0"),
            ("1e21", "1000000000000000000000"),
            ("2.5E300", "2.5e300"),
            ("1e-300", "1e-300"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn numbers_of_the_machine_have_their_shortest_decimal() {
        let shown = |number: Option<Decimal>| number.unwrap().to_string();
        assert_eq!(shown(Decimal::of(3.7_f32)), "3.7");
        assert_eq!(shown(Decimal::of(0.1_f32)), "0.1");
        assert_eq!(shown(Decimal::of(f64::from(0.1_f32))), "0.10000000149011612");
        assert_eq!(shown(Decimal::of(u64::MAX)), "18446744073709551615");
        assert_eq!(shown(Decimal::of(i64::MIN)), "-9223372036854775808");
        assert_eq!((Decimal::of(f64::NAN), Decimal::of(f32::INFINITY)), (None, None));
        let mut stream = crate::ml::random::Stream::new(0, "numbers");
        for _ in 0..1000 {
            let number = f64::from_bits((stream.below(1 << 32) as u64) << 32 | stream.below(1 << 32) as u64);
            if number.is_finite() {
                assert_eq!(
                    shown(Decimal::of(number)).parse::<f64>().unwrap(),
                    if number == 0.0 { 0.0 } else { number }
                );
            }
        }
    }

    #[test]
    fn places_are_whole_numbers_that_are_not_negative() {
        let place = |text: &str| Decimal::parse(text).unwrap().place();
        assert_eq!(["0", "1", "1.0", "12"].map(place), [0, 1, 1, 12].map(Some));
        assert_eq!(["-1", "0.5", "1e30", "99999999999"].map(place), [None; 4]);
        assert!(Decimal::parse("-1.00").unwrap().is_minus_one() && !Decimal::parse("-10").unwrap().is_minus_one());
    }

    #[test]
    fn numbers_are_rounded_to_multiples_as_numpy_rounds() {
        let rounded =
            |number: &str, step: &str| Decimal::parse(number).unwrap().rounded(&Decimal::parse(step).unwrap());
        let fifths =
            ["0", "2.5", "3.1", "4.99", "5.00", "-0.3", "0.09", "1e-30"].map(|number| rounded(number, "0.2").unwrap());
        assert_eq!(fifths, ["0.0", "2.4", "3.2", "5.0", "5.0", "-0.4", "0.0", "0.0"]);
        assert_eq!(["2.5", "3.5", "-2.5", "1e3"].map(|number| rounded(number, "1").unwrap()), ["2", "4", "-2", "1000"]);
        assert_eq!(["12", "15", "25"].map(|number| rounded(number, "10").unwrap()), ["10", "20", "20"]);
        assert_eq!(rounded("1.3", "0.25").unwrap(), "1.25");
        assert_eq!(rounded("1e60", "0.2"), None);
    }

    #[test]
    fn numbers_have_their_own_order() {
        let numbers =
            ["-20", "-3", "-0.5", "0", "0.05", "0.5", "3", "20", "100"].map(|text| Decimal::parse(text).unwrap());
        for (at, number) in numbers.iter().enumerate() {
            for (other, with) in numbers.iter().enumerate() {
                assert_eq!(number.compare(with), at.cmp(&other));
            }
        }
    }
}
