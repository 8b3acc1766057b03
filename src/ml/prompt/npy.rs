//! Prompts as NPY, which others publish: read strictly, and written as NumPy does.

use super::Prompt;
use super::number::{Number, odd};
use crate::ml::error::{Error, Result};

/// The bytes with which every file begins.
pub(super) const SIGNATURE: &[u8] = b"\x93NUMPY";

/// Reads a prompt from NPY version 1.0: floats of 2, 4 or 8 bytes, of two dimensions in any order.
///
/// # Errors
/// [`Error::Prompt`] if it is cut off, of another version, shape or type, or has a value that is not a finite f32.
pub fn read(bytes: &[u8]) -> Result<Prompt> {
    let refused = |found: String| Error::Prompt(format!("NPY: {found}"));
    let Some(rest) = bytes.strip_prefix(SIGNATURE) else {
        return Err(refused("the file does not begin with the NPY signature".to_owned()));
    };
    let [major, minor, low, high, rest @ ..] = rest else {
        return Err(refused(format!("the file ends after {} bytes, inside its header", bytes.len())));
    };
    if (*major, *minor) != (1, 0) {
        return Err(refused(format!("version {major}.{minor}, expected 1.0")));
    }
    let length = usize::from(u16::from_le_bytes([*low, *high]));
    let Some((header, data)) = rest.split_at_checked(length) else {
        return Err(refused(format!("header of {length} bytes, but only {} follow", rest.len())));
    };
    let header = std::str::from_utf8(header).map_err(|_| refused("the header is not ASCII".to_owned()))?;
    let Header { number, turned, by_columns, shape: [length, width] } = Header::read(header).map_err(refused)?;
    let expected = length.checked_mul(width).and_then(|n| n.checked_mul(number.bytes()));
    if length == 0 || width == 0 || expected != Some(data.len()) {
        return Err(refused(format!("shape ({length}, {width}) of {number:?}, but {} bytes of data", data.len())));
    }
    let place = |at: usize| if by_columns { (at % length, at / length) } else { (at / width, at % width) };
    let values = number.read(data, turned).map_err(|(at, value)| {
        let (row, column) = place(at);
        odd("NPY array", row, column, value)
    })?;
    let values = match by_columns {
        true => (0..length * width).map(|at| values[at % width * length + at / width]).collect(),
        false => values,
    };
    Ok(Prompt { values, width })
}

/// A prompt as NPY version 1.0, as `numpy.save` writes it.
pub fn write(prompt: &Prompt) -> Vec<u8> {
    let (length, width) = (prompt.length(), prompt.width);
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({length}, {width}), }}");
    // Signature, version and length take ten bytes; the data begin at a multiple of 64, after a line feed.
    let padded = (10 + header.len() + 1).next_multiple_of(64) - 10;
    header.extend(std::iter::repeat_n(' ', padded - header.len() - 1));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(header.len()).expect("a header of two sizes is short").to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(prompt.values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

/// What the header of an NPY file says.
struct Header {
    number: Number,
    /// Big-endian.
    turned: bool,
    /// Column by column, as Fortran has it.
    by_columns: bool,
    shape: [usize; 2],
}

impl Header {
    /// Reads a header such as `{'descr': '<f4', 'fortran_order': False, 'shape': (100, 768), }`.
    fn read(header: &str) -> std::result::Result<Self, String> {
        let inner = header
            .trim_end()
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
            .ok_or_else(|| "the header is not a dictionary".to_owned())?;
        let (dictionary, shape) = inner
            .split_once("'shape':")
            .and_then(|(before, rest)| {
                let (shape, after) = rest.trim_start().strip_prefix('(')?.split_once(')')?;
                Some((format!("{before}{after}"), shape))
            })
            .ok_or_else(|| "the header has no `shape`".to_owned())?;
        let mut entries: Vec<&str> = dictionary.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect();
        entries.sort_unstable();
        let value = |entry: &str, key: &str| Some(entry.strip_prefix(key)?.trim().trim_matches('\'').to_owned());
        let (descr, order) = match entries[..] {
            [descr, order] => (value(descr, "'descr':"), value(order, "'fortran_order':")),
            _ => (None, None),
        };
        let (Some(descr), Some(order)) = (descr, order) else {
            let found = entries.join(", ");
            return Err(format!("the header says {found}, expected `'descr'` and `'fortran_order'` beside `'shape'`"));
        };
        let (turned, number) = match descr.as_str() {
            "<f2" => (false, Number::F16),
            "<f4" => (false, Number::F32),
            "<f8" => (false, Number::F64),
            ">f2" => (true, Number::F16),
            ">f4" => (true, Number::F32),
            ">f8" => (true, Number::F64),
            other => {
                return Err(format!(
                    "an array of the type '{other}', expected floats of 2, 4 or 8 bytes; save `array.astype(\"float32\")`"
                ));
            }
        };
        let by_columns = match order.as_str() {
            "True" => true,
            "False" => false,
            other => return Err(format!("`fortran_order` is {other}, expected True or False")),
        };
        let sizes: Vec<&str> = shape.split(',').map(str::trim).filter(|size| !size.is_empty()).collect();
        let shape = match sizes[..] {
            [length, width] => length.parse().ok().zip(width.parse().ok()).map(|(length, width)| [length, width]),
            _ => None,
        };
        let wrong =
            || format!("shape ({}), expected two sizes, the length of the prompt and its width", sizes.join(", "));
        Ok(Self { number, turned, by_columns, shape: shape.ok_or_else(wrong)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
    }

    #[test]
    fn npy_is_read() {
        let data: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }      \n";
        assert_eq!(read(&npy(header, &data)).unwrap(), Prompt { values: vec![1.0, 2.0, 3.0, 4.0], width: 2 });
    }

    #[test]
    fn npy_is_read_in_any_precision_and_order() {
        // As `numpy.array([[1, -2.5, 3], [4, 0, 6]])` is kept.
        let rows: [f64; 6] = [1.0, -2.5, 3.0, 4.0, 0.0, 6.0];
        let columns: [f64; 6] = [1.0, 4.0, -2.5, 0.0, 3.0, 6.0];
        let expected = Prompt { values: rows.map(|x| x as f32).to_vec(), width: 3 };
        for (order, values) in [("False", rows), ("True", columns)] {
            let forms: [(&str, Vec<u8>); 6] = [
                ("<f2", values.iter().flat_map(|x| f16::from_f64(*x).to_le_bytes()).collect()),
                (">f2", values.iter().flat_map(|x| f16::from_f64(*x).to_be_bytes()).collect()),
                ("<f4", values.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect()),
                (">f4", values.iter().flat_map(|x| (*x as f32).to_be_bytes()).collect()),
                ("<f8", values.iter().flat_map(|x| x.to_le_bytes()).collect()),
                (">f8", values.iter().flat_map(|x| x.to_be_bytes()).collect()),
            ];
            for (descr, data) in forms {
                let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': (2, 3), }}");
                assert_eq!(read(&npy(&header, &data)).unwrap(), expected, "{descr} {order}");
            }
        }
        let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2), }";
        let inexact: Vec<u8> = [1.0, 0.1].iter().flat_map(|x: &f64| x.to_le_bytes()).collect();
        let error = read(&npy(header, &inexact)).unwrap_err().to_string();
        assert!(error.contains("is 0.1 at row 0, column 1, which is not a number in single precision"), "{error}");
    }

    #[test]
    fn npy_is_written_as_numpy_does() {
        let prompt = Prompt { values: vec![1.0, -2.5, 3.0, 4.0, 0.0, 6.0], width: 3 };
        let bytes = write(&prompt);
        assert_eq!(bytes.len(), 128 + 4 * 6);
        assert_eq!(bytes[127], b'\n');
        assert_eq!(read(&bytes).unwrap(), prompt);
    }

    #[test]
    fn hostile_npy_is_refused() {
        let cases = [
            ("{'descr': '<i8', 'fortran_order': False, 'shape': (1, 1), }", 8, "type '<i8', expected floats"),
            ("{'descr': '<f4', 'fortran_order': 1, 'shape': (1, 1), }", 4, "`fortran_order` is 1"),
            ("{'fortran_order': True, 'shape': (1, 1), }", 4, "the header says 'fortran_order': True, expected"),
            ("{'descr': [('a', '<f4')], 'fortran_order': True, 'shape': (1, 1), }", 4, "the header says"),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 2), }",
                16,
                "shape (1, 2, 2), expected two sizes",
            ),
            ("{'descr': '|O', 'fortran_order': False, 'shape': (1, 1), }", 4, "'|O'"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }", 16, "two sizes"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 2), }", 8, "two sizes"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }", 8, "8 bytes of data"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }", 0, "0 bytes of data"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 3), }", 0, "0 bytes of data"),
            ("{'descr': '<f4', 'fortran_order': False}", 0, "no `shape`"),
            ("__import__('os')", 0, "not a dictionary"),
        ];
        for (header, length, expected) in cases {
            let error = read(&npy(header, &vec![0; length])).unwrap_err().to_string();
            assert!(error.contains(expected), "{header}: {error}");
        }
        let bytes = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }", &[0; 8]);
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_err(), "{length} bytes");
        }
        assert!(read(b"\x93NUMPY\x02\x00\x00\x00\x00\x00").unwrap_err().to_string().contains("version 2.0"));
    }
}
