//! The bytes of prompt files: safetensors with metadata, which we write, and NPY and torch's own files, which others publish.
//!
//! All are read strictly, in any precision that f32 holds without loss. Nothing in a file is executed, and no allocation is
//! larger than twice the file.

use super::Prompt;
use super::peft;
use crate::ml::error::{Error, Result};
use crate::ml::pointer;
use crate::ml::torch;
use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// The name of the tensor in a file that holds one prompt.
pub const PROMPT: &str = "prompt";

/// The name of the tensor, in a file of checkpoints, with the prompt from which all runs of one origin begin.
pub const ORIGIN: &str = "origin";

/// The longest header that is read. Ours have some hundred bytes.
const LONGEST_HEADER: u64 = 1 << 20;

/// Prompts by name, and what is known of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PromptFile {
    /// `prompt`, or several such as `step_100`.
    pub prompts: BTreeMap<String, Prompt>,
    /// Among others `task`, `step`, `score`, `seed` and `backbone`, all as text.
    pub metadata: BTreeMap<String, String>,
}

impl PromptFile {
    /// A file with one prompt.
    pub fn of(prompt: Prompt, metadata: BTreeMap<String, String>) -> Self {
        Self { prompts: BTreeMap::from([(PROMPT.to_owned(), prompt)]), metadata }
    }

    /// A word of metadata.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// Task and seed of the tuning, `mnli,0`: what the prompt is called among others.
    pub fn name(&self) -> String {
        format!("{},{}", self.get("task").unwrap_or("?"), self.get("seed").unwrap_or("?"))
    }

    /// Validation score of the checkpoint, 0 to 100.
    pub fn score(&self) -> Option<f64> {
        self.get("score")?.parse().ok()
    }

    /// Updates of its own tuning and of those that it began from, if it says.
    pub fn steps_in_all(&self) -> Option<u64> {
        let steps = |key| self.get(key).map(str::parse::<u64>);
        let before = steps("source_steps").unwrap_or(Ok(0)).ok()?;
        // One that begins from another, but does not say how long that took, does not know.
        let known = self.get("source").is_none() || self.get("source_steps").is_some();
        known.then_some(steps("steps")?.ok()? + before)
    }

    /// Whether it was tuned on the backbone with this digest, if it says on which.
    pub fn check_backbone(&self, digest: &str) -> Result<()> {
        match self.get("backbone") {
            Some(own) if own != digest => Err(Error::Prompt(format!(
                "`{}` was tuned on the backbone {own:.12}, not on {digest:.12}; a prompt speaks to one model only",
                self.name()
            ))),
            _ => Ok(()),
        }
    }

    /// The prompt with this name.
    pub fn prompt(&self, name: &str) -> Result<&Prompt> {
        self.prompts.get(name).ok_or_else(|| {
            let names: Vec<String> = self.prompts.keys().map(|name| format!("`{name}`")).collect();
            Error::Prompt(format!("no tensor `{name}`; the file has {}", names.join(", ")))
        })
    }

    /// The file as safetensors. Equal content gives equal bytes: the crate's own writer takes its metadata in the order of a
    /// hash map.
    ///
    /// # Panics
    /// If a prompt has no rows or a ragged last one.
    pub fn to_bytes(&self) -> Vec<u8> {
        let prompts = self.prompts.iter();
        let tensors = prompts.map(|(name, prompt)| (name.as_str(), (&prompt.values[..], prompt.width))).collect();
        let mut bytes = Vec::new();
        write(&tensors, &self.metadata, &mut bytes).expect("memory takes everything");
        bytes
    }

    /// What safetensors say of themselves, whatever tensors they hold; these are not read.
    ///
    /// # Errors
    /// If the header is damaged or too long.
    pub fn metadata_of(bytes: &[u8]) -> Result<BTreeMap<String, String>> {
        pointer::refuse(bytes)?;
        let claimed = bytes.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
        if claimed > LONGEST_HEADER {
            return Err(Error::Prompt(format!(
                "safetensors header says it has {claimed} bytes, expected at most {LONGEST_HEADER}"
            )));
        }
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        Ok(header.metadata().clone().unwrap_or_default().into_iter().collect())
    }

    /// Reads safetensors in which every tensor is a prompt.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let file = Self::matrices(bytes)?;
        if file.prompts.is_empty() {
            return Err(Error::Prompt("the file has no tensors, expected `prompt`".to_owned()));
        }
        Ok(file)
    }

    /// Reads a file that may have no matrix at all, as that of an optimiser without moments.
    ///
    /// # Errors
    /// As [`from_bytes`](Self::from_bytes).
    pub fn matrices(bytes: &[u8]) -> Result<Self> {
        let metadata = Self::metadata_of(bytes)?;
        let tensors = SafeTensors::deserialize(bytes)?;
        let mut prompts = BTreeMap::new();
        for (name, view) in tensors.iter() {
            prompts.insert(name.to_owned(), prompt(name, &view)?);
        }
        Ok(Self { prompts, metadata })
    }
}

/// The most matrices of a torch file that are prompts. More are the weights of a model.
const MATRICES: usize = 64;

/// The prompts of a file of `torch.save`: a tensor, or all matrices of fractions among what a dict holds.
///
/// # Errors
/// If the file is damaged or holds anything but tensors and plain values, or no matrix, or more than some runs leave.
pub fn from_torch(bytes: &[u8]) -> Result<PromptFile> {
    let tensors = match torch::read(bytes)? {
        torch::Contents::Bare(tensor) => vec![(PROMPT.to_owned(), tensor)],
        torch::Contents::Named(tensors) => tensors,
    };
    let is_matrix = |view: &TensorView<'_>| view.shape().len() == 2 && Number::of(view.dtype()).is_some();
    let matrices: Vec<_> = tensors.iter().filter(|(_, view)| is_matrix(view)).collect();
    match (&matrices[..], &tensors[..]) {
        ([], [(name, view), ..]) => return Err(unlike(name, view.shape(), view.dtype())),
        (matrices, _) if matrices.len() > MATRICES => {
            return Err(Error::Prompt(format!(
                "{} matrices are the weights of a model, expected a prompt",
                matrices.len()
            )));
        }
        _ => {}
    }
    let mut file = PromptFile::default();
    for (name, view) in matrices {
        if file.prompts.insert(name.clone(), prompt(name, view)?).is_some() {
            return Err(Error::Prompt(format!("the file has two tensors `{name}`")));
        }
    }
    Ok(file)
}

/// The prompt that a tensor is.
fn prompt(name: &str, view: &TensorView<'_>) -> Result<Prompt> {
    let refused = || unlike(name, view.shape(), view.dtype());
    let [length, width] = *view.shape() else { return Err(refused()) };
    let number = Number::of(view.dtype()).filter(|_| length > 0 && width > 0).ok_or_else(refused)?;
    let values = number.read(view.data(), false);
    let values = values.map_err(|(at, value)| odd(name, at / width, at % width, value))?;
    Ok(Prompt { values, width })
}

/// Writes matrices by name, each as its values and the length of its rows, as [`PromptFile::to_bytes`] does.
///
/// # Errors
/// If `out` fails.
///
/// # Panics
/// If a matrix has no rows or a ragged last one.
pub fn write(
    tensors: &BTreeMap<&str, (&[f32], usize)>,
    metadata: &BTreeMap<String, String>,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut header = serde_json::Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".to_owned(), serde_json::json!(metadata));
    }
    let mut end = 0;
    for (name, (values, width)) in tensors {
        assert!(
            *width > 0 && !values.is_empty() && values.len() % width == 0,
            "prompt `{name}` has {} values in rows of {width}",
            values.len(),
        );
        let start = end;
        end += 4 * values.len();
        let shape = [values.len() / width, *width];
        let info = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]});
        header.insert((*name).to_owned(), info);
    }
    header.sort_keys();
    let mut header = serde_json::to_vec(&header).expect("texts and numbers are JSON");
    // Tensors begin at a multiple of eight bytes, as the crate writes them.
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    for (values, _) in tensors.values() {
        for some in values.chunks(1 << 14) {
            let bytes: Vec<u8> = some.iter().flat_map(|value| value.to_le_bytes()).collect();
            out.write_all(&bytes)?;
        }
    }
    Ok(())
}

fn unlike(name: &str, shape: &[usize], dtype: Dtype) -> Error {
    Error::Prompt(format!(
        "tensor `{name}` is {dtype:?} {shape:?}, expected F32, BF16, F16 or F64 [length, width], neither being 0"
    ))
}

/// How a file keeps a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    F16,
    Bf16,
    F32,
    F64,
}

impl Number {
    fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F32 => Some(Self::F32),
            Dtype::F16 => Some(Self::F16),
            Dtype::BF16 => Some(Self::Bf16),
            Dtype::F64 => Some(Self::F64),
            _ => None,
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// The numbers of a whole array, `turned` ones with their first byte first; or the place of the first that no f32 is, and
    /// that number.
    fn read(self, bytes: &[u8], turned: bool) -> std::result::Result<Vec<f32>, (usize, f64)> {
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
fn odd(name: &str, row: usize, column: usize, value: f64) -> Error {
    let expected = match value.is_finite() {
        false => "expected a finite number",
        true => {
            "which is no number of single precision; round the array before it is saved: `array.astype(\"float32\")`"
        }
    };
    Error::Prompt(format!("`{name}` is {value} at row {row}, column {column}, {expected}"))
}

/// Reads a prompt from NPY version 1.0: floats of 2, 4 or 8 bytes, of two dimensions in any order.
pub fn read_npy(bytes: &[u8]) -> Result<Prompt> {
    let refused = |found: String| Error::Prompt(format!("NPY: {found}"));
    let Some(rest) = bytes.strip_prefix(b"\x93NUMPY") else {
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
pub fn to_npy(prompt: &Prompt) -> Vec<u8> {
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

/// Safetensors or a file of `torch.save`, told apart by how it begins.
pub(super) fn tensors(bytes: &[u8]) -> Result<PromptFile> {
    if torch::is(bytes) { from_torch(bytes) } else { PromptFile::from_bytes(bytes) }
}

/// A prompt file of any form, told apart by how it begins.
///
/// # Errors
/// If it is damaged, or a part of a PEFT adapter, whose rows are not all of the prompt.
pub fn read(bytes: &[u8]) -> Result<PromptFile> {
    if bytes.starts_with(b"\x93NUMPY") {
        return Ok(PromptFile::of(read_npy(bytes)?, BTreeMap::new()));
    }
    let file = tensors(bytes)?;
    match file.prompts.get(peft::TENSOR) {
        None => Ok(file),
        Some(prompt) => Err(Error::Prompt(format!(
            "the tensor `{}` has shape [{}, {}]; it is of a PEFT adapter, which keeps a prompt once or twice: name the adapter's \
             folder, whose `{}` says which (`spot prompt import FOLDER` makes a file of it)",
            peft::TENSOR,
            prompt.length(),
            prompt.width,
            peft::CONFIG
        ))),
    }
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

    fn file() -> PromptFile {
        let prompt = |scale: f32| Prompt { values: (0..6).map(|i| scale * i as f32).collect(), width: 3 };
        let metadata = [("task", "mnli"), ("step", "100"), ("score", "81.5"), ("seed", "0"), ("backbone", "ab12")];
        PromptFile {
            prompts: [("step_100", 1.0), ("step_200", -0.5)].map(|(n, s)| (n.to_owned(), prompt(s))).into(),
            metadata: metadata.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        }
    }

    #[test]
    fn safetensors_come_back_as_they_were() {
        let bytes = file().to_bytes();
        assert_eq!(PromptFile::from_bytes(&bytes).unwrap(), file());
        assert_eq!(bytes, file().to_bytes());
        let one = PromptFile::of(file().prompts["step_100"].clone(), BTreeMap::new());
        assert_eq!(
            PromptFile::from_bytes(&one.to_bytes()).unwrap().prompt(PROMPT).unwrap(),
            &file().prompts["step_100"]
        );
    }

    #[test]
    fn the_bytes_are_pinned() {
        let digest = blake3::hash(&file().to_bytes()).to_hex();
        assert_eq!(&digest[..16], PINNED, "a change here gives every prompt another digest");
    }

    const PINNED: &str = "afba22c29ded6823";

    #[test]
    fn metadata_are_read_without_tensors() {
        let bytes = safetensors(r#"{"__metadata__":{"task":"rte"}}"#, &[]);
        assert_eq!(PromptFile::metadata_of(&bytes).unwrap(), BTreeMap::from([("task".to_owned(), "rte".to_owned())]));
        assert!(PromptFile::from_bytes(&bytes).is_err(), "it has no prompt");
        assert!(PromptFile::metadata_of(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn an_unknown_name_is_named_with_those_that_are_there() {
        let error = file().prompt("prompt").unwrap_err().to_string();
        assert_eq!(error, "prompt: no tensor `prompt`; the file has `step_100`, `step_200`");
    }

    fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
    }

    #[test]
    fn headers_that_lie_are_refused() {
        let cases: [(&str, usize); 9] = [
            (r#"{"prompt":{"dtype":"F32","shape":[2,2],"data_offsets":[0,8]}}"#, 8),
            (r#"{"prompt":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#, 8),
            (r#"{"prompt":{"dtype":"F32","shape":[9223372036854775807,4],"data_offsets":[0,16]}}"#, 16),
            (r#"{"prompt":{"dtype":"F32","shape":[0,4],"data_offsets":[0,0]}}"#, 0),
            (r#"{"prompt":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#, 16),
            (r#"{"prompt":{"dtype":"I64","shape":[1,2],"data_offsets":[0,16]}}"#, 16),
            (r#"{"prompt":{"dtype":"F32","shape":[1,2],"data_offsets":[8,0]}}"#, 8),
            (r#"{"__metadata__":{"a":"b"}}"#, 0),
            ("not json", 0),
        ];
        for (header, length) in cases {
            assert!(PromptFile::from_bytes(&safetensors(header, &vec![0; length])).is_err(), "{header}");
        }
        let mut huge = safetensors("{}", &[]);
        huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        let error = PromptFile::from_bytes(&huge).unwrap_err().to_string();
        assert!(error.contains("18446744073709551615 bytes, expected at most 1048576"), "{error}");
    }

    #[test]
    fn every_shorter_file_is_refused() {
        let bytes = file().to_bytes();
        for length in 0..bytes.len() {
            assert!(PromptFile::from_bytes(&bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn numbers_must_be_finite() {
        let prompt = Prompt { values: vec![0.0, f32::NAN], width: 2 };
        let error = PromptFile::from_bytes(&PromptFile::of(prompt, BTreeMap::new()).to_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "prompt: `prompt` is NaN at row 0, column 1, expected a finite number");
    }

    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
    }

    #[test]
    fn npy_is_read() {
        let data: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }      \n";
        assert_eq!(read_npy(&npy(header, &data)).unwrap(), Prompt { values: vec![1.0, 2.0, 3.0, 4.0], width: 2 });
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
                assert_eq!(read_npy(&npy(&header, &data)).unwrap(), expected, "{descr} {order}");
            }
        }
        let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2), }";
        let inexact: Vec<u8> = [1.0, 0.1].iter().flat_map(|x: &f64| x.to_le_bytes()).collect();
        let error = read_npy(&npy(header, &inexact)).unwrap_err().to_string();
        assert!(error.contains("is 0.1 at row 0, column 1, which is no number of single precision"), "{error}");
    }

    #[test]
    fn tensors_of_other_precision_are_widened() {
        let data = |dtype: &str, data: &[u8]| {
            let header =
                format!(r#"{{"prompt":{{"dtype":"{dtype}","shape":[1,2],"data_offsets":[0,{}]}}}}"#, data.len());
            PromptFile::from_bytes(&safetensors(&header, data))
        };
        let values = [1.5, -0.25];
        for (dtype, bytes) in [
            ("F16", values.iter().flat_map(|x| f16::from_f64(*x).to_le_bytes()).collect::<Vec<u8>>()),
            ("BF16", values.iter().flat_map(|x| bf16::from_f64(*x).to_le_bytes()).collect()),
            ("F64", values.iter().flat_map(|x: &f64| x.to_le_bytes()).collect()),
        ] {
            assert_eq!(data(dtype, &bytes).unwrap().prompt(PROMPT).unwrap().values, [1.5, -0.25], "{dtype}");
        }
        let inexact: Vec<u8> = [0.1, 1e300].iter().flat_map(|x: &f64| x.to_le_bytes()).collect();
        assert!(data("F64", &inexact).unwrap_err().to_string().contains("`prompt` is 0.1 at row 0, column 0"));
        let overflown = data("F16", &f16::INFINITY.to_le_bytes().repeat(2)).unwrap_err().to_string();
        assert!(overflown.contains("`prompt` is inf at row 0, column 0, expected a finite number"), "{overflown}");
    }

    #[test]
    fn a_part_of_an_adapter_and_a_pointer_are_no_prompts() {
        let prompt = Prompt { values: vec![1.0; 6], width: 3 };
        let bytes =
            PromptFile { prompts: [(peft::TENSOR.to_owned(), prompt)].into(), ..PromptFile::default() }.to_bytes();
        let error = read(&bytes).unwrap_err().to_string();
        assert!(error.contains("`prompt_embeddings` has shape [2, 3]; it is of a PEFT adapter"), "{error}");
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 70\n";
        assert!(
            read(pointer).unwrap_err().to_string().starts_with("a Git LFS pointer in place of the file of 70 bytes")
        );
    }

    #[test]
    fn npy_is_written_as_numpy_does() {
        let prompt = Prompt { values: vec![1.0, -2.5, 3.0, 4.0, 0.0, 6.0], width: 3 };
        let bytes = to_npy(&prompt);
        assert_eq!(bytes.len(), 128 + 4 * 6);
        assert_eq!(bytes[127], b'\n');
        assert_eq!(read_npy(&bytes).unwrap(), prompt);
        assert_eq!(read(&bytes).unwrap().prompt(PROMPT).unwrap(), &prompt);
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
            let error = read_npy(&npy(header, &vec![0; length])).unwrap_err().to_string();
            assert!(error.contains(expected), "{header}: {error}");
        }
        let bytes = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }", &[0; 8]);
        for length in 0..bytes.len() {
            assert!(read_npy(&bytes[..length]).is_err(), "{length} bytes");
        }
        assert!(read_npy(b"\x93NUMPY\x02\x00\x00\x00\x00\x00").unwrap_err().to_string().contains("version 2.0"));
    }
}
