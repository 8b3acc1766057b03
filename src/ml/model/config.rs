//! The sizes of a T5, checked once, so that nothing later has to doubt a configuration file.

use super::Config;
use super::cpu::kernels::Activation;
use crate::ml::error::{Error, Result};
use crate::ml::pointer;

/// Sizes and variants of a T5 that its two engines need.
#[derive(Clone, Debug, PartialEq)]
pub struct Dims {
    /// V, rows of the embedding matrix (padded beyond the tokenizer's ids).
    pub vocab: usize,
    /// E, width of the residual stream.
    pub width: usize,
    /// H, heads of every attention.
    pub heads: usize,
    /// D, width of a head.
    pub head_width: usize,
    /// F, width of the feed-forward layers.
    pub ff: usize,
    /// Layers of the encoder.
    pub encoder_layers: usize,
    /// Layers of the decoder.
    pub decoder_layers: usize,
    /// Buckets of the relative position bias.
    pub buckets: usize,
    /// Distance from which on all positions share the last bucket.
    pub max_distance: usize,
    /// Every layer has a table of position biases of its own (umT5); else all layers share that of the first.
    pub bias_per_layer: bool,
    /// Added to the mean square in the RMS norm.
    pub epsilon: f32,
    /// What stands between the two linear layers of a feed-forward sublayer.
    pub activation: Activation,
    /// Which matrix the output head is.
    pub head: Head,
    /// The decoder's output is scaled by E^-0.5 in front of the head (v1.0).
    pub scaled: bool,
    /// Id of padding.
    pub pad: u32,
    /// Id that ends a target.
    pub eos: u32,
    /// Id in front of every target.
    pub start: u32,
}

/// Which matrix the output head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// The embedding (v1.0).
    Embedding,
    /// A matrix of its own, `lm_head.weight` (v1.1).
    Own,
    /// The one or the other, which only the weights say: `lm_head.weight` if it is there and is not the embedding again.
    /// Weights that were read have one of the other two.
    AsInFile,
}

/// Fields that candle's configuration does not have, or has with a default.
#[derive(serde::Deserialize)]
struct Newer {
    model_type: Option<String>,
    scale_decoder_outputs: Option<bool>,
    tie_word_embeddings: Option<bool>,
    transformers_version: Option<String>,
}

impl Newer {
    fn check_type(&self) -> Result<()> {
        let found = match self.model_type.as_deref() {
            None | Some("t5" | "mt5" | "umt5") => return Ok(()),
            Some(name @ "longt5") => format!("`{name}`, whose encoder attends locally or to global blocks"),
            Some(name @ ("t5gemma" | "t5gemma2")) => {
                format!("`{name}`, which is a Gemma: other norms, positions and attention")
            }
            Some(name @ "switch_transformers") => {
                format!("`{name}`, whose feed-forward layers are chosen among experts")
            }
            Some(other) => format!("`{other}`"),
        };
        Err(wrong("model_type", found, "`t5`, `mt5` or `umt5`"))
    }

    /// Which matrix the head is, and whether the decoder's output is scaled.
    ///
    /// Up to version 4 of transformers, `tie_word_embeddings` says both at once; where it is absent, it is true for a T5 and
    /// false for an mT5. Version 5 writes true for every model and what it meant before as `scale_decoder_outputs`; its mT5
    /// is never scaled and has no such field.
    fn head(&self) -> (Head, bool) {
        let is_mt5 = self.model_type.as_deref() == Some("mt5");
        let tied = self.tie_word_embeddings.unwrap_or(!is_mt5);
        let major =
            self.transformers_version.as_deref().and_then(|version| version.split('.').next()?.parse::<u32>().ok());
        match self.scale_decoder_outputs {
            _ if !tied => (Head::Own, self.scale_decoder_outputs.unwrap_or(false)),
            Some(scaled) => (Head::AsInFile, scaled),
            None if is_mt5 && major.is_some_and(|major| major >= 5) => (Head::AsInFile, false),
            None => (Head::Embedding, true),
        }
    }
}

/// Sizes beyond this are not a model but an attack on memory; T5-XXL's largest is 65,536.
const LARGEST: usize = 1 << 22;

impl Dims {
    /// Reads a configuration in Hugging Face's layout, of transformers before and since version 5.
    ///
    /// # Errors
    /// If it is not a configuration, or one of a model that is not a T5.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        pointer::refuse(json)?;
        let newer: Newer = serde_json::from_slice(json).map_err(Error::ConfigSyntax)?;
        newer.check_type()?;
        if newer.model_type.as_deref() == Some("mt5") && newer.scale_decoder_outputs == Some(true) {
            return Err(wrong("scale_decoder_outputs", "true", "none in an mT5, which transformers 5 never scales"));
        }
        let (head, scaled) = newer.head();
        let bias_per_layer = newer.model_type.as_deref() == Some("umt5");
        let config: Config = serde_json::from_slice(json).map_err(Error::ConfigSyntax)?;
        Ok(Self { head, scaled, bias_per_layer, ..Self::new(&config)? })
    }

    /// Checks `config`.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first field outside its range, or an activation that this program lacks.
    pub fn new(config: &Config) -> Result<Self> {
        let decoder_layers = config.num_decoder_layers.unwrap_or(config.num_layers);
        for (field, value) in [
            ("vocab_size", config.vocab_size),
            ("d_model", config.d_model),
            ("d_kv", config.d_kv),
            ("d_ff", config.d_ff),
            ("num_heads", config.num_heads),
            ("num_layers", config.num_layers),
            ("num_decoder_layers", decoder_layers),
            ("relative_attention_num_buckets", config.relative_attention_num_buckets),
            ("relative_attention_max_distance", config.relative_attention_max_distance),
        ] {
            if value == 0 || value > LARGEST {
                return Err(wrong(field, value, format!("1 to {LARGEST}")));
            }
        }
        let buckets = config.relative_attention_num_buckets;
        if buckets < 4 || !buckets.is_multiple_of(4) {
            return Err(wrong("relative_attention_num_buckets", buckets, "a multiple of 4"));
        }
        if config.relative_attention_max_distance <= buckets / 2 {
            return Err(wrong(
                "relative_attention_max_distance",
                config.relative_attention_max_distance,
                format!("more than half of the {buckets} buckets"),
            ));
        }
        let epsilon = config.layer_norm_epsilon as f32;
        if !(epsilon > 0.0 && epsilon < 1.0) {
            return Err(wrong("layer_norm_epsilon", config.layer_norm_epsilon, "between 0 and 1"));
        }
        let feed_forward = &config.feed_forward_proj;
        let activation = match (feed_forward.gated, &feed_forward.activation) {
            (true, candle_nn::Activation::NewGelu) => Activation::GatedGelu,
            (true, candle_nn::Activation::Silu) => Activation::GatedSilu,
            (false, candle_nn::Activation::Relu) => Activation::Relu,
            _ => {
                let found = format!("{feed_forward:?}");
                return Err(wrong(
                    "feed_forward_proj",
                    found,
                    "`gated-gelu` (v1.1), `gated-silu` (UL2) or `relu` (v1.0)",
                ));
            }
        };
        let id = |field, value: usize| {
            u32::try_from(value)
                .ok()
                .filter(|_| value < config.vocab_size)
                .ok_or_else(|| wrong(field, value, format!("below vocab_size ({})", config.vocab_size)))
        };
        Ok(Self {
            vocab: config.vocab_size,
            width: config.d_model,
            heads: config.num_heads,
            head_width: config.d_kv,
            ff: config.d_ff,
            encoder_layers: config.num_layers,
            decoder_layers,
            buckets,
            max_distance: config.relative_attention_max_distance,
            bias_per_layer: false,
            epsilon,
            activation,
            head: if config.tie_word_embeddings { Head::Embedding } else { Head::Own },
            scaled: config.tie_word_embeddings,
            pad: id("pad_token_id", config.pad_token_id)?,
            eos: id("eos_token_id", config.eos_token_id)?,
            start: id("decoder_start_token_id", config.decoder_start_token_id.unwrap_or(config.pad_token_id))?,
        })
    }

    /// A T5 v1.1: V, E, H and D, F, and the layers of encoder and decoder.
    pub fn v1_1(
        vocab: usize,
        width: usize,
        (heads, head_width): (usize, usize),
        ff: usize,
        (encoder_layers, decoder_layers): (usize, usize),
    ) -> Self {
        Self {
            vocab,
            width,
            heads,
            head_width,
            ff,
            encoder_layers,
            decoder_layers,
            buckets: 32,
            max_distance: 128,
            bias_per_layer: false,
            epsilon: 1e-6,
            activation: Activation::GatedGelu,
            head: Head::Own,
            scaled: false,
            pad: 0,
            eos: 1,
            start: 0,
        }
    }

    /// I = H·D, width of queries, keys and values of all heads.
    pub fn inner(&self) -> usize {
        self.heads * self.head_width
    }

    /// Whether a decoder that reads this many tokens of an example had better look at the encoder's rows than at keys and
    /// values made of them. A row costs `8·I·E` operations forward and backward as keys and values, and `12·H·E` for each
    /// token without; they are equal at 2/3 of D tokens, but the latter products are small.
    pub fn absorbs(&self, tokens: usize) -> bool {
        tokens <= self.head_width / 2
    }

    /// The configuration as `config.json` in Hugging Face's layout, readable by `transformers`.
    pub fn to_json(&self) -> String {
        let mut value = serde_json::json!({
            "architectures": [if self.bias_per_layer { "UMT5ForConditionalGeneration" } else { "T5ForConditionalGeneration" }],
            "model_type": if self.bias_per_layer { "umt5" } else { "t5" },
            "vocab_size": self.vocab,
            "d_model": self.width,
            "d_kv": self.head_width,
            "d_ff": self.ff,
            "num_layers": self.encoder_layers,
            "num_decoder_layers": self.decoder_layers,
            "num_heads": self.heads,
            "relative_attention_num_buckets": self.buckets,
            "relative_attention_max_distance": self.max_distance,
            "dropout_rate": 0.1,
            "layer_norm_epsilon": f64::from(self.epsilon),
            "initializer_factor": 1.0,
            "feed_forward_proj": match self.activation {
                Activation::GatedGelu => "gated-gelu",
                Activation::GatedSilu => "gated-silu",
                Activation::Relu => "relu",
            },
            "is_encoder_decoder": true,
            "use_cache": true,
            "tie_word_embeddings": self.head != Head::Own || self.scaled,
            "pad_token_id": self.pad,
            "eos_token_id": self.eos,
            "decoder_start_token_id": self.start,
        });
        // The field before says all of the two usual models.
        if self.head == Head::AsInFile || self.scaled != (self.head == Head::Embedding) {
            value["scale_decoder_outputs"] = self.scaled.into();
        }
        serde_json::to_string_pretty(&value).expect("a JSON value has only string keys")
    }
}

fn wrong(field: &'static str, found: impl std::fmt::Display, expected: impl Into<String>) -> Error {
    Error::Config { field, found: format!("{found}"), expected: expected.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1_1: &str = include_str!("../../../tests/golden/t5_v1_1/config.json");
    const V1_0: &str = include_str!("../../../tests/golden/t5_v1_0/config.json");

    #[test]
    fn configurations_survive_writing_and_reading() {
        for (json, tied) in [(V1_1, false), (V1_0, true)] {
            let dims = Dims::from_json(json.as_bytes()).unwrap();
            let head = if tied { Head::Embedding } else { Head::Own };
            assert_eq!((dims.head, dims.scaled), (head, tied));
            assert_eq!((dims.activation.is_gated(), dims.encoder_layers, dims.decoder_layers), (!tied, 2, 3));
            assert_eq!(Dims::from_json(dims.to_json().as_bytes()).unwrap(), dims);
        }
    }

    /// As transformers 5.24 and 4 read them.
    #[test]
    fn head_and_scale_are_two_things() {
        let own = r#""tie_word_embeddings": false"#;
        for (fields, expected) in [
            (r#""tie_word_embeddings": false"#, (Head::Own, false)),
            (r#""tie_word_embeddings": true"#, (Head::Embedding, true)),
            (r#""use_cache": true"#, (Head::Embedding, true)),
            (r#""tie_word_embeddings": true, "scale_decoder_outputs": false"#, (Head::AsInFile, false)),
            (r#""tie_word_embeddings": true, "scale_decoder_outputs": true"#, (Head::AsInFile, true)),
            (r#""scale_decoder_outputs": false"#, (Head::AsInFile, false)),
            (r#""tie_word_embeddings": false, "scale_decoder_outputs": true"#, (Head::Own, true)),
        ] {
            let json = V1_1.replace(r#""use_cache": true,"#, "").replace(own, fields);
            let dims = Dims::from_json(json.as_bytes()).unwrap();
            assert_eq!((dims.head, dims.scaled), expected, "{fields}");
            let read = Dims::from_json(dims.to_json().as_bytes()).unwrap();
            let head = if dims.head == Head::Own && dims.scaled { Head::AsInFile } else { dims.head };
            assert_eq!((read.head, read.scaled), (head, dims.scaled), "{fields}");
        }
        let mt5 = |fields: &str| {
            let json = V1_1.replace(r#""model_type": "t5""#, r#""model_type": "mt5""#).replace(own, fields);
            let dims = Dims::from_json(json.as_bytes()).unwrap();
            (dims.head, dims.scaled)
        };
        let umt5 = |fields: &str| {
            let json = V1_1.replace(r#""model_type": "t5""#, r#""model_type": "umt5""#).replace(own, fields);
            let dims = Dims::from_json(json.as_bytes()).unwrap();
            (dims.head, dims.scaled)
        };
        assert_eq!(umt5(r#""is_decoder": false"#), (Head::Embedding, true));
        assert_eq!(umt5(r#""tie_word_embeddings": false"#), (Head::Own, false));
        let saved = r#""tie_word_embeddings": true, "scale_decoder_outputs": "#;
        assert_eq!(umt5(&format!("{saved}false")), (Head::AsInFile, false));
        assert_eq!(umt5(&format!("{saved}true")), (Head::AsInFile, true));
        let scaled =
            V1_1.replace(r#""model_type": "t5""#, r#""model_type": "mt5""#).replace(own, &format!("{saved}true"));
        let error = Dims::from_json(scaled.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("`scale_decoder_outputs` is true, expected none in an mT5"), "{error}");
        assert_eq!(mt5(r#""is_decoder": false"#), (Head::Own, false));
        assert_eq!(mt5(r#""tie_word_embeddings": true, "transformers_version": "4.57.1""#), (Head::Embedding, true));
        assert_eq!(mt5(r#""tie_word_embeddings": true, "transformers_version": "5.24.0""#), (Head::AsInFile, false));
    }

    #[test]
    fn models_that_are_no_t5_are_refused_by_name() {
        for (name, reason) in [
            (
                "longt5",
                "`model_type` is `longt5`, whose encoder attends locally or to global blocks, expected `t5`, `mt5` or `umt5`",
            ),
            ("t5gemma", "which is a Gemma"),
            ("bart", "`model_type` is `bart`, expected"),
        ] {
            let json = V1_1.replace(r#""model_type": "t5""#, &format!(r#""model_type": "{name}""#));
            let error = Dims::from_json(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 700\n";
        assert!(Dims::from_json(pointer).unwrap_err().to_string().contains("Git LFS pointer"));
    }

    #[test]
    fn impossible_configurations_name_the_field() {
        for (from, to, field) in [
            (r#""d_model": 16"#, r#""d_model": 0"#, "d_model"),
            (r#""d_ff": 24"#, r#""d_ff": 4294967296"#, "d_ff"),
            (r#""eos_token_id": 1"#, r#""eos_token_id": 64"#, "eos_token_id"),
            (r#""gated-gelu""#, r#""gelu""#, "feed_forward_proj"),
            (
                r#""relative_attention_num_buckets": 32"#,
                r#""relative_attention_num_buckets": 6"#,
                "relative_attention_num_buckets",
            ),
        ] {
            let json = V1_1.replace(from, to);
            assert_ne!(json, V1_1);
            let error = Dims::from_json(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(&format!("`{field}`")), "{error}");
        }
    }
}
