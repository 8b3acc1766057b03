//! Soft prompts as Hugging Face's PEFT keeps them: a folder with `adapter_config.json` and `adapter_model.safetensors`.
//!
//! For an encoder-decoder PEFT allocates the rows twice, once for each of its two "transformer submodules", and uses the
//! first half (`get_prompt` in `peft_model.py`). What is written here has the first half again as the second.

use super::error::{Error, Result};
use super::prompt::Prompt;
use super::prompt_file::{self, PromptFile};
use serde_json::Value;
use std::collections::BTreeMap;

/// The file of settings.
pub const CONFIG: &str = "adapter_config.json";
/// The file of the prompt.
pub const WEIGHTS: &str = "adapter_model.safetensors";
/// The tensor in it.
const TENSOR: &str = "prompt_embeddings";
/// Encoder and decoder.
const SUBMODULES: usize = 2;

/// The prompt of an adapter: the bytes of its two files. Without settings all rows are taken.
///
/// # Errors
/// If there is no such tensor, or it was tuned in another way than by prompt tuning.
pub fn read(weights: &[u8], config: Option<&[u8]>) -> Result<Prompt> {
    let mut prompt = PromptFile::from_bytes(weights)?.prompt(TENSOR)?.clone();
    let Some(config) = config else { return Ok(prompt) };
    let config: Value =
        serde_json::from_slice(config).map_err(|error| Error::Prompt(format!("`{CONFIG}`: {error}")))?;
    if let Some(other) = config["peft_type"].as_str().filter(|kind| *kind != "PROMPT_TUNING") {
        return Err(Error::Prompt(format!("`{CONFIG}` says `{other}`, expected `PROMPT_TUNING`")));
    }
    if let Some(rows) = config["num_virtual_tokens"].as_u64() {
        let rows = usize::try_from(rows).unwrap_or(usize::MAX).clamp(1, prompt.length());
        prompt.values.truncate(rows * prompt.width);
    }
    Ok(prompt)
}

/// The bytes of [`WEIGHTS`].
pub fn weights(prompt: &Prompt) -> Vec<u8> {
    let values = prompt.values.repeat(SUBMODULES);
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let mut bytes = Vec::new();
    prompt_file::write(&BTreeMap::from([(TENSOR, (&values[..], prompt.width))]), &metadata, &mut bytes)
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

    fn prompt() -> Prompt {
        Prompt { values: (0..6).map(|i| i as f32).collect(), width: 2 }
    }

    #[test]
    fn an_adapter_reads_back() {
        let config = config(&prompt(), Some("google/t5-small-lm-adapt"));
        assert_eq!(read(&weights(&prompt()), Some(config.as_bytes())).unwrap(), prompt());
        assert_eq!(read(&weights(&prompt()), None).unwrap().length(), 6);
    }

    #[test]
    fn what_is_no_soft_prompt_is_refused() {
        let other = br#"{"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3}"#;
        let error = read(&weights(&prompt()), Some(other)).unwrap_err().to_string();
        assert_eq!(error, "prompt: `adapter_config.json` says `PREFIX_TUNING`, expected `PROMPT_TUNING`");
        let lora = PromptFile { prompts: [("lora_A".to_owned(), prompt())].into(), ..PromptFile::default() };
        assert!(read(&lora.to_bytes(), None).unwrap_err().to_string().contains("no tensor `prompt_embeddings`"));
        assert!(read(&weights(&prompt()), Some(b"{")).is_err());
    }
}
