//! Tensors with names and text metadata, as safetensors; soft prompts among them.

use super::{DataError, content};
use crate::ml::prompt::Prompt;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;

/// f32 tensors by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensors {
    /// Name, shape and values.
    pub tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
    /// Text by key.
    pub metadata: BTreeMap<String, String>,
}

impl Tensors {
    /// As safetensors; the header has its keys in order, so that equal content gives equal bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, DataError> {
        // The library writes metadata in the order of a hash map, so the header is written here.
        let mut sorted: Vec<&(String, Vec<usize>, Vec<f32>)> = self.tensors.iter().collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        let mut header = serde_json::Map::new();
        if !self.metadata.is_empty() {
            header.insert("__metadata__".to_owned(), serde_json::json!(self.metadata));
        }
        let mut at = 0;
        for (name, shape, values) in &sorted {
            if shape.iter().product::<usize>() != values.len() {
                return Err(content(format!("tensor `{name}`: {} values do not fill {shape:?}", values.len())));
            }
            let end = at + 4 * values.len();
            let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [at, end]});
            header.insert(name.clone(), entry);
            at = end;
        }
        let mut header = serde_json::to_vec(&serde_json::Value::Object(header)).map_err(|e| content(e.to_string()))?;
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header);
        for (_, _, values) in sorted {
            bytes.extend(values.iter().flat_map(|x| x.to_le_bytes()));
        }
        Ok(bytes)
    }

    /// Reads f32 tensors; others are an error, and so are numbers that are not finite.
    pub fn read(bytes: &[u8]) -> Result<Self, DataError> {
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let metadata: BTreeMap<String, String> =
            header.metadata().as_ref().map(|m| m.clone().into_iter().collect()).unwrap_or_default();
        let file = SafeTensors::deserialize(bytes)?;
        let mut names: Vec<&str> = file.names().into_iter().collect();
        names.sort_unstable();
        let tensors = names
            .into_iter()
            .map(|name| Ok((name.to_owned(), file.tensor(name)?.shape().to_vec(), values(name, &file.tensor(name)?)?)))
            .collect::<Result<_, DataError>>()?;
        Ok(Self { tensors, metadata })
    }

    /// Takes a tensor out.
    pub fn take(&mut self, name: &str) -> Option<(Vec<usize>, Vec<f32>)> {
        let at = self.tensors.iter().position(|(n, ..)| n == name)?;
        let (_, shape, values) = self.tensors.remove(at);
        Some((shape, values))
    }
}

fn values(name: &str, view: &TensorView<'_>) -> Result<Vec<f32>, DataError> {
    if view.dtype() != Dtype::F32 {
        return Err(content(format!("tensor `{name}` has the type {:?}, expected F32", view.dtype())));
    }
    let values: Vec<f32> = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    if values.iter().all(|x| x.is_finite()) {
        Ok(values)
    } else {
        Err(content(format!("tensor `{name}` holds a NaN or an infinity")))
    }
}

/// A soft prompt and what is known of it: `task`, `seed`, `step`, `score`, `backbone`, `source`.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptFile {
    /// The prompt.
    pub prompt: Prompt,
    /// Text by key.
    pub metadata: BTreeMap<String, String>,
}

impl PromptFile {
    /// As safetensors with one tensor, `prompt`, `[P, E]`.
    pub fn to_bytes(&self) -> Result<Vec<u8>, DataError> {
        let shape = vec![self.prompt.length(), self.prompt.width];
        let tensors = vec![("prompt".to_owned(), shape, self.prompt.values.clone())];
        Tensors { tensors, metadata: self.metadata.clone() }.to_bytes()
    }

    /// Reads such a file.
    pub fn read(bytes: &[u8]) -> Result<Self, DataError> {
        let mut file = Tensors::read(bytes)?;
        let Some((shape, values)) = file.take("prompt") else {
            return Err(content("no tensor `prompt`; this is no prompt"));
        };
        match shape[..] {
            [length, width] if length > 0 && width > 0 => {
                Ok(Self { prompt: Prompt { values, width }, metadata: file.metadata })
            }
            _ => Err(content(format!("the prompt has shape {shape:?}, expected [P, E]"))),
        }
    }

    /// A word of metadata.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// Task that it was tuned on.
    pub fn task(&self) -> Option<&str> {
        self.get("task")
    }

    /// Seed of its tuning.
    pub fn seed(&self) -> Option<&str> {
        self.get("seed")
    }

    /// Validation score of its checkpoint, 0 to 100.
    pub fn score(&self) -> Option<f64> {
        self.get("score")?.parse().ok()
    }

    /// `task,seed`.
    pub fn name(&self) -> String {
        format!("{},{}", self.task().unwrap_or("?"), self.seed().unwrap_or("?"))
    }

    /// Whether it was tuned on this backbone, if it says on which.
    pub fn check_backbone(&self, digest: &str) -> Result<(), DataError> {
        match self.get("backbone") {
            Some(own) if own != digest => Err(content(format!(
                "the prompt `{}` was tuned on the backbone {:.12}, not on {digest:.12}; a prompt speaks to one model only",
                self.name(),
                own
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt() -> PromptFile {
        let metadata = BTreeMap::from([("task".into(), "mnli".into()), ("seed".into(), "1".into())]);
        PromptFile { prompt: Prompt { values: vec![1.0, -2.0, 0.5, 3.0, 1e-30, 7.0], width: 3 }, metadata }
    }

    #[test]
    fn a_prompt_reads_back() {
        let bytes = prompt().to_bytes().unwrap();
        assert_eq!(bytes, prompt().to_bytes().unwrap());
        assert_eq!(PromptFile::read(&bytes).unwrap(), prompt());
        assert_eq!(PromptFile::read(&bytes).unwrap().name(), "mnli,1");
    }

    #[test]
    fn headers_that_lie_are_errors() {
        let good = prompt().to_bytes().unwrap();
        let mut long = good.clone();
        long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(PromptFile::read(&long).is_err());
        let text = String::from_utf8_lossy(&good).replace("[2,3]", "[9,9]").into_bytes();
        assert!(PromptFile::read(&text).is_err());
        assert!(PromptFile::read(&good[..good.len() - 1]).is_err());
        assert!(PromptFile::read(b"").is_err());
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        let mut file = prompt();
        file.prompt.values[2] = f32::NAN;
        let error = PromptFile::read(&file.to_bytes().unwrap()).unwrap_err();
        assert!(error.to_string().contains("NaN"), "{error}");
    }
}
