//! The bytes of prompt files: safetensors with metadata.
//!
//! They are read strictly, in any precision that f32 holds without loss. Nothing in a file is executed, and no allocation is
//! larger than twice the file.

use super::Prompt;
use super::about::About;
use super::number::{Number, odd};
use crate::ml::error::{Error, Result};
use crate::ml::metadata::Metadata;
use crate::ml::pointer;
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
    /// What is known of all of them.
    pub about: About,
}

/// Matrices of safetensors by name, and what the file says of itself, whatever that means.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrices {
    /// By name.
    pub by_name: BTreeMap<String, Prompt>,
    /// What the file says.
    pub metadata: Metadata,
}

impl Matrices {
    /// Reads a file that may have no matrix at all, as that of an optimiser without moments.
    ///
    /// # Errors
    /// If it is damaged, or a tensor is not a matrix of finite numbers.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let metadata = metadata(bytes)?;
        let tensors = SafeTensors::deserialize(bytes)?;
        let mut by_name = BTreeMap::new();
        for (name, view) in tensors.iter() {
            by_name.insert(name.to_owned(), matrix(name, &view)?);
        }
        Ok(Self { by_name, metadata })
    }
}

/// A tensor, if it is a matrix of finite numbers.
///
/// # Errors
/// [`Error::Prompt`] if it has another shape or type, no rows, or a value that is not a finite f32.
pub(super) fn matrix(name: &str, view: &TensorView<'_>) -> Result<Prompt> {
    let unlike = || unlike(name, view.shape(), view.dtype());
    let [length, width] = view.shape() else { return Err(unlike()) };
    let number = Number::of(view.dtype()).filter(|_| *length > 0 && *width > 0).ok_or_else(unlike)?;
    let values = number.read(view.data(), false);
    let values = values.map_err(|(at, value)| odd(name, at / width, at % width, value))?;
    Ok(Prompt { values, width: *width })
}

/// What safetensors say of themselves, whatever tensors they hold; these are not read.
fn metadata(bytes: &[u8]) -> Result<Metadata> {
    pointer::refuse(bytes)?;
    let claimed = bytes.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
    if claimed > LONGEST_HEADER {
        return Err(Error::Prompt(format!(
            "safetensors header says it has {claimed} bytes, expected at most {LONGEST_HEADER}"
        )));
    }
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    let entries: BTreeMap<String, String> = header.metadata().clone().unwrap_or_default().into_iter().collect();
    Ok(entries.into())
}

impl PromptFile {
    /// A file with one prompt.
    pub fn of(prompt: Prompt, about: About) -> Self {
        Self { prompts: BTreeMap::from([(PROMPT.to_owned(), prompt)]), about }
    }

    /// The prompt with this name.
    ///
    /// # Errors
    /// [`Error::Prompt`] if there is none; names those that there are.
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
        write(&tensors, self.about.metadata().entries(), &mut bytes).expect("memory takes everything");
        bytes
    }

    /// What safetensors say of prompts, whatever tensors they hold; these are not read.
    ///
    /// # Errors
    /// If the header is damaged or too long, or says something impossible.
    pub fn about_in(bytes: &[u8]) -> Result<About> {
        Ok(About::read(metadata(bytes)?)?)
    }

    /// Reads safetensors in which every tensor is a prompt.
    ///
    /// # Errors
    /// If there is none, the file is damaged, or says something impossible.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let Matrices { by_name, metadata } = Matrices::from_bytes(bytes)?;
        if by_name.is_empty() {
            return Err(Error::Prompt("the file has no tensors, expected `prompt`".to_owned()));
        }
        Ok(Self { prompts: by_name, about: About::read(metadata)? })
    }
}

/// Writes matrices by name, each as its values, `[P, E]`, and E, as [`PromptFile::to_bytes`] does.
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

pub(super) fn unlike(name: &str, shape: &[usize], dtype: Dtype) -> Error {
    Error::Prompt(format!(
        "tensor `{name}` is {dtype:?} {shape:?}, expected F32, BF16, F16 or F64 [length, width], neither being 0"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    fn file() -> PromptFile {
        let prompt = |scale: f32| Prompt { values: (0..6).map(|i| scale * i as f32).collect(), width: 3 };
        let metadata = [("task", "mnli"), ("step", "100"), ("score", "81.5"), ("seed", "0"), ("backbone", "ab12")];
        PromptFile {
            prompts: [("step_100", 1.0), ("step_200", -0.5)].map(|(n, s)| (n.to_owned(), prompt(s))).into(),
            about: About::read(BTreeMap::from(metadata.map(|(k, v)| (k.to_owned(), v.to_owned())))).unwrap(),
        }
    }

    #[test]
    fn safetensors_come_back_as_they_were() {
        let bytes = file().to_bytes();
        assert_eq!(PromptFile::from_bytes(&bytes).unwrap(), file());
        assert_eq!(bytes, file().to_bytes());
        let one = PromptFile::of(file().prompts["step_100"].clone(), About::default());
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
        let about = About { task: Some("rte".to_owned()), ..About::default() };
        assert_eq!(PromptFile::about_in(&bytes).unwrap(), about);
        assert!(PromptFile::from_bytes(&bytes).is_err(), "it has no prompt");
        assert!(PromptFile::about_in(&bytes[..bytes.len() - 1]).is_err());
        let odd = safetensors(r#"{"__metadata__":{"score":"high"}}"#, &[]);
        let error = PromptFile::about_in(&odd).unwrap_err().to_string();
        assert_eq!(error, "file metadata `score` is `high`, expected a number");
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
        let error = PromptFile::from_bytes(&PromptFile::of(prompt, About::default()).to_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "prompt: `prompt` is NaN at row 0, column 1, expected a finite number");
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
}
