//! Numbers as files keep them: in any precision that f32 holds without loss.

use crate::ml::error::Error;
use half::{bf16, f16};
use safetensors::Dtype;

/// How a file keeps a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// IEEE half precision.
    F16,
    /// The upper half of an `F32`.
    Bf16,
    /// Single precision.
    F32,
    /// Double precision.
    F64,
}

impl Number {
    /// `None` of what is not a fraction.
    pub(super) fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F32 => Some(Self::F32),
            Dtype::F16 => Some(Self::F16),
            Dtype::BF16 => Some(Self::Bf16),
            Dtype::F64 => Some(Self::F64),
            _ => None,
        }
    }

    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// The numbers of a whole array, `[n]`, `turned` ones with their first byte first; or the place of the first that
    /// is not an f32, and that number.
    ///
    /// # Errors
    /// That place and number.
    pub(super) fn read(self, bytes: &[u8], turned: bool) -> Result<Vec<f32>, (usize, f64)> {
        fn each<const N: usize, T>(bytes: &[u8], turned: bool, number: impl Fn([u8; N]) -> T) -> Vec<T> {
            let in_order = |mut bytes: [u8; N]| {
                if turned {
                    bytes.reverse();
                }
                number(bytes)
            };
            bytes.as_chunks().0.iter().map(|bytes| in_order(*bytes)).collect()
        }
        let numbers = match self {
            Self::F16 => each(bytes, turned, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Self::Bf16 => each(bytes, turned, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            Self::F32 => each(bytes, turned, f32::from_le_bytes),
            Self::F64 => {
                let wide = each(bytes, turned, f64::from_le_bytes);
                let odd = |value: &f64| value.is_finite() && f64::from(*value as f32) != *value;
                if let Some(at) = wide.iter().position(odd) {
                    return Err((at, wide[at]));
                }
                wide.into_iter().map(|value| value as f32).collect()
            }
        };
        match numbers.iter().position(|value| !value.is_finite()) {
            None => Ok(numbers),
            Some(at) => Err((at, numbers[at].into())),
        }
    }
}

/// That a number of a prompt is not finite, or none of single precision.
pub(super) fn odd(name: &str, row: usize, column: usize, value: f64) -> Error {
    let expected = match value.is_finite() {
        false => "expected a finite number",
        true => {
            "which is not a number in single precision; round the array before it is saved: `array.astype(\"float32\")`"
        }
    };
    Error::Prompt(format!("`{name}` is {value} at row {row}, column {column}, {expected}"))
}
