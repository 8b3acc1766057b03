//! Soft prompts as Hugging Face's PEFT keeps them: a folder with `adapter_config.json` and `adapter_model.safetensors`, or an older
//! `adapter_model.bin`.
//!
//! For an encoder-decoder PEFT allocates the rows twice, once for each of its two "transformer submodules", and uses the
//! first half (`PeftModelForSeq2SeqLM` in `peft_model.py`). What is written here has the first half again as the second.

use super::Prompt;
use super::file;
use super::saved::tensors;
use crate::ml::error::{Error, Result};
use crate::ml::pointer;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The file of settings.
pub const CONFIG: &str = "adapter_config.json";
/// The file of the prompt.
pub const WEIGHTS: &str = "adapter_model.safetensors";
/// The prompt in older adapters, and where `safe_serialization` is false: a file of `torch.save`.
pub const TORCH_WEIGHTS: &str = "adapter_model.bin";
/// The tensor in it.
pub const TENSOR: &str = "prompt_embeddings";
/// Encoder and decoder.
const SUBMODULES: usize = 2;

/// The prompt of an adapter, from the bytes of its two files, of which that of the prompt is called `name`.
///
/// Of the rows of two submodules those of the first are the prompt. The others are what they were drawn as, unless spot wrote
/// them: PEFT neither trains nor uses them.
///
/// # Errors
/// If the two do not fit together, or it was tuned in another way than by prompt tuning of an encoder-decoder.
pub fn read(name: &str, weights: &[u8], config: &[u8]) -> Result<Adapter> {
    let refused = |message: String| Error::Prompt(format!("`{CONFIG}` {message}"));
    pointer::refuse(config).map_err(|error| Error::Prompt(format!("`{CONFIG}`: {error}")))?;
    let config: Config =
        serde_json::from_slice(config).map_err(|error| Error::Prompt(format!("`{CONFIG}`: {error}")))?;
    config.check_kind().map_err(refused)?;
    let named = |error: Error| Error::Prompt(format!("`{name}`: {error}"));
    let file = tensors(weights).map_err(named)?;
    let mut prompt = file.prompt(TENSOR).map_err(named)?.clone();
    if let Some(other) = file.prompts.keys().find(|name| *name != TENSOR) {
        return Err(Error::Prompt(format!(
            "`{name}`: tensor `{other}` is not part of a prompt, expected `{TENSOR}` alone"
        )));
    }
    let rows = config.rows(&prompt).map_err(refused)?;
    prompt.values.truncate(rows * prompt.width);
    Ok(Adapter { prompt, base_model: config.base_model_name_or_path })
}

/// What an adapter holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    /// The prompt.
    pub prompt: Prompt,
    /// The name or folder of the model that it was tuned on, if the settings say.
    pub base_model: Option<String>,
}

/// What counts of [`CONFIG`]. Sizes are kept as they are written, for messages.
#[derive(Deserialize)]
struct Config {
    peft_type: Option<String>,
    task_type: Option<String>,
    base_model_name_or_path: Option<String>,
    #[serde(default)]
    num_virtual_tokens: Value,
    #[serde(default)]
    num_transformer_submodules: Value,
    #[serde(default)]
    token_dim: Value,
}

/// The only task of an encoder-decoder that PEFT has prompts for.
const TASK: &str = "SEQ_2_SEQ_LM";

impl Config {
    fn check_kind(&self) -> std::result::Result<(), String> {
        match self.peft_type.as_deref() {
            Some("PROMPT_TUNING") => {}
            Some(other) => return Err(format!("says `{other}`, expected `PROMPT_TUNING`")),
            None => return Err("has no `peft_type`, expected `PROMPT_TUNING`".to_owned()),
        }
        match self.task_type.as_deref() {
            None | Some(TASK) => Ok(()),
            Some(other) => {
                Err(format!("says the `task_type` `{other}`, expected `{TASK}`: a prompt of an encoder-decoder"))
            }
        }
    }

    /// The rows of the prompt, which are all of the tensor, or its first half.
    fn rows(&self, prompt: &Prompt) -> std::result::Result<usize, String> {
        let (length, width) = (prompt.length(), prompt.width);
        if !self.token_dim.is_null() && self.token_dim != width {
            return Err(format!("says `token_dim` is {}, but `{TENSOR}` is {width} wide", self.token_dim));
        }
        let rows =
            self.num_virtual_tokens.as_u64().and_then(|rows| usize::try_from(rows).ok()).filter(|rows| *rows > 0);
        let Some(rows) = rows else {
            return Err(format!(
                "says `num_virtual_tokens` is {}, expected a whole number from 1",
                self.num_virtual_tokens
            ));
        };
        let submodules: &[usize] = match (&self.num_transformer_submodules, self.task_type.as_deref()) {
            // Without both, the rows themselves say which of the two.
            (Value::Null, None) => &[1, SUBMODULES],
            (Value::Null, Some(_)) => &[SUBMODULES],
            (given, _) if *given == 1 => &[1],
            (given, _) if *given == SUBMODULES => &[SUBMODULES],
            (given, _) => {
                return Err(format!("says `num_transformer_submodules` is {given}, expected 1 or {SUBMODULES}"));
            }
        };
        if submodules.iter().any(|submodules| rows.checked_mul(*submodules) == Some(length)) {
            return Ok(rows);
        }
        let submodules = submodules.iter().map(usize::to_string).collect::<Vec<_>>().join(" or ");
        Err(format!(
            "says `num_virtual_tokens` is {rows} and `num_transformer_submodules` {submodules}, but `{TENSOR}` has {length} rows, \
             expected their product"
        ))
    }
}

/// The bytes of [`WEIGHTS`].
pub fn weights(prompt: &Prompt) -> Vec<u8> {
    let values = prompt.values.repeat(SUBMODULES);
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let mut bytes = Vec::new();
    file::write(&BTreeMap::from([(TENSOR, (&values[..], prompt.width))]), &metadata, &mut bytes)
        .expect("memory takes everything");
    bytes
}

/// The text of [`CONFIG`]. `base_model` is the name or folder under which PEFT finds the model by itself; number of layers
/// and heads are left for it to take from there.
pub fn config(prompt: &Prompt, base_model: Option<&str>) -> String {
    let config = serde_json::json!({
        "auto_mapping": null,
        "base_model_name_or_path": base_model,
        "inference_mode": true,
        "modules_to_save": null,
        "num_attention_heads": null,
        "num_layers": null,
        "num_transformer_submodules": SUBMODULES,
        "num_virtual_tokens": prompt.length(),
        "peft_type": "PROMPT_TUNING",
        "prompt_tuning_init": "RANDOM",
        "prompt_tuning_init_text": null,
        "revision": null,
        "task_type": "SEQ_2_SEQ_LM",
        "token_dim": prompt.width,
        "tokenizer_kwargs": null,
        "tokenizer_name_or_path": null,
    });
    format!("{config:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::prompt::file::PromptFile;

    fn prompt() -> Prompt {
        Prompt { values: (0..6).map(|i| i as f32).collect(), width: 2 }
    }

    #[test]
    fn an_adapter_reads_back() {
        let config = config(&prompt(), Some("google/t5-small-lm-adapt"));
        let adapter = read(WEIGHTS, &weights(&prompt()), config.as_bytes()).unwrap();
        assert_eq!(adapter, Adapter { prompt: prompt(), base_model: Some("google/t5-small-lm-adapt".to_owned()) });
    }

    /// Settings with these fields instead of the usual ones.
    fn with(fields: &str) -> String {
        let mut config: serde_json::Map<String, Value> = serde_json::from_str(&config(&prompt(), None)).unwrap();
        config.extend(serde_json::from_str::<serde_json::Map<String, Value>>(fields).unwrap());
        serde_json::to_string(&config).unwrap()
    }

    fn rows(file: &[u8], fields: &str) -> std::result::Result<usize, String> {
        read(WEIGHTS, file, with(fields).as_bytes()).map(|read| read.prompt.length()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_first_half_of_two_is_the_prompt() {
        let mut values = prompt().values;
        values.extend([9.0; 6]);
        let apart = Prompt { values, width: 2 };
        let file = PromptFile { prompts: [(TENSOR.to_owned(), apart)].into(), ..PromptFile::default() }.to_bytes();
        assert_eq!(read(WEIGHTS, &file, with("{}").as_bytes()).unwrap().prompt, prompt());
    }

    #[test]
    fn rows_and_widths_must_be_those_of_the_settings() {
        let six = weights(&prompt());
        for (fields, expected) in [
            (r#"{"num_transformer_submodules": null}"#, 3),
            (r#"{"num_transformer_submodules": null, "task_type": null}"#, 3),
            (r#"{"num_virtual_tokens": 6, "num_transformer_submodules": null, "task_type": null}"#, 6),
            (r#"{"num_virtual_tokens": 6, "num_transformer_submodules": 1}"#, 6),
            (r#"{"token_dim": null}"#, 3),
        ] {
            assert_eq!(rows(&six, fields), Ok(expected), "{fields}");
        }
        for (fields, message) in [
            (
                r#"{"num_virtual_tokens": 2}"#,
                "says `num_virtual_tokens` is 2 and `num_transformer_submodules` 2, but `prompt_embeddings` has 6 rows",
            ),
            (r#"{"num_virtual_tokens": 6}"#, "is 6 and `num_transformer_submodules` 2"),
            (
                r#"{"num_virtual_tokens": 4, "num_transformer_submodules": null, "task_type": null}"#,
                "is 4 and `num_transformer_submodules` 1 or 2",
            ),
            (r#"{"num_virtual_tokens": 0}"#, "`num_virtual_tokens` is 0, expected a whole number from 1"),
            (r#"{"num_virtual_tokens": "3"}"#, r#"`num_virtual_tokens` is "3", expected"#),
            (r#"{"num_virtual_tokens": 3.0}"#, "`num_virtual_tokens` is 3.0, expected"),
            (r#"{"num_virtual_tokens": -3}"#, "`num_virtual_tokens` is -3, expected"),
            (r#"{"num_virtual_tokens": null}"#, "`num_virtual_tokens` is null, expected"),
            (r#"{"num_virtual_tokens": 4611686018427387904}"#, "is 4611686018427387904 and"),
            (r#"{"num_virtual_tokens": 9223372036854775808}"#, "is 9223372036854775808 and"),
            (r#"{"num_transformer_submodules": 3}"#, "`num_transformer_submodules` is 3, expected 1 or 2"),
            (r#"{"num_transformer_submodules": "2"}"#, r#"`num_transformer_submodules` is "2", expected 1 or 2"#),
            (r#"{"token_dim": 4}"#, "says `token_dim` is 4, but `prompt_embeddings` is 2 wide"),
            (r#"{"token_dim": "2"}"#, r#"says `token_dim` is "2", but"#),
            (r#"{"task_type": "CAUSAL_LM"}"#, "says the `task_type` `CAUSAL_LM`, expected `SEQ_2_SEQ_LM`"),
            (r#"{"peft_type": null}"#, "has no `peft_type`"),
        ] {
            let error = rows(&six, fields).unwrap_err();
            assert!(
                error.starts_with("prompt: `adapter_config.json` ") && error.contains(message),
                "{fields}: {error}"
            );
        }
    }

    #[test]
    fn what_is_no_soft_prompt_is_refused() {
        for kind in ["PREFIX_TUNING", "P_TUNING", "MULTITASK_PROMPT_TUNING", "LORA", "prompt_tuning"] {
            let error = rows(&weights(&prompt()), &format!(r#"{{"peft_type": "{kind}"}}"#)).unwrap_err();
            assert_eq!(error, format!("prompt: `adapter_config.json` says `{kind}`, expected `PROMPT_TUNING`"));
        }
        let file = |names: &[&str]| {
            let prompts = names.iter().map(|name| ((*name).to_owned(), prompt()));
            PromptFile { prompts: prompts.collect(), ..PromptFile::default() }.to_bytes()
        };
        let error = rows(&file(&["lora_A"]), "{}").unwrap_err();
        assert!(
            error.contains("`adapter_model.safetensors`: ") && error.contains("no tensor `prompt_embeddings`"),
            "{error}"
        );
        let error = rows(&file(&["head", TENSOR]), "{}").unwrap_err();
        assert!(error.contains("tensor `head` is not part of a prompt"), "{error}");
        for config in [&b"{"[..], b"[]", b"{\"peft_type\": 3}", b"version https://git-lfs.github.com/spec/v1\n"] {
            let error = read(WEIGHTS, &weights(&prompt()), config).unwrap_err().to_string();
            assert!(error.starts_with("prompt: `adapter_config.json`: "), "{error}");
        }
    }
}
