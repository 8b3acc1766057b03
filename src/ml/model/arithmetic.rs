//! How much arithmetic a model takes, by the parameters that a token meets.
//!
//! A token costs about two floating-point operations for each parameter that it meets on its way forward and four on the way back, one half
//! for the gradient of what it is computed from and one for that of the parameter (Kaplan et al. 2020, "Scaling Laws for Neural Language
//! Models", section 2.1: `C ≈ 6·N·D`). What attention computes between tokens is left out, as it is there: with as many tokens as
//! prompt tuning has it is small beside the products with matrices.

use super::layout::{Layer, Stack};
use super::{Dims, Layout};

/// Parameters that a token meets, the embedding aside, in which it is looked up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameters {
    /// A row of the encoder: its layers, and the keys and values that the decoder makes of it.
    pub encoder: f64,
    /// A token of the decoder: its layers and the output head.
    pub decoder: f64,
}

/// Tokens of an example, as a mean over many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tokens {
    /// Rows of the encoder: those of the prompt and the tokens of the input.
    pub encoder: f64,
    /// Tokens of the target.
    pub decoder: f64,
}

/// What becomes of an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// It is answered.
    Forward,
    /// A prompt learns from it: gradients go back through the activations, and no parameter has one.
    Prompt,
    /// All parameters learn from it.
    Weights,
}

impl Dims {
    /// The parameters that a token meets.
    pub fn parameters_of_a_token(&self) -> Parameters {
        let layout = Layout::new(self);
        let layer = |Layer { attention, cross, ff }: &Layer| {
            let cross = cross.as_ref().map_or(0, |cross| cross.query.len() + cross.out.len());
            attention.qkv.len() + attention.out.len() + cross + ff.inner.len() + ff.out.len()
        };
        let layers = |stack: &Stack| -> usize { stack.layers.iter().map(layer).sum() };
        Parameters {
            encoder: (layers(&layout.encoder) + layout.cross.len()) as f64,
            decoder: (layers(&layout.decoder) + layout.head.len()) as f64,
        }
    }
}

impl Parameters {
    /// Floating-point operations of an example.
    pub fn operations(&self, tokens: Tokens, pass: Pass) -> f64 {
        let of_a_parameter = match pass {
            Pass::Forward => 2.0,
            Pass::Prompt => 4.0,
            Pass::Weights => 6.0,
        };
        of_a_parameter * (self.encoder * tokens.encoder + self.decoder * tokens.decoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T5 v1.1 small as published: 8 + 8 layers of width 512, 6 heads of 64, a gated inner width of 1,024, 32,128 ids.
    const SMALL: &[u8] =
        br#"{"model_type": "t5", "vocab_size": 32128, "d_model": 512, "d_kv": 64, "d_ff": 1024, "num_layers": 8,
        "num_decoder_layers": 8, "num_heads": 6, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": false,
        "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0, "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128, "layer_norm_epsilon": 1e-6, "dropout_rate": 0.1, "initializer_factor": 1.0,
        "is_encoder_decoder": true}"#;

    #[test]
    fn parameters_are_those_of_the_matrices() {
        let parameters = Dims::from_json(SMALL).unwrap().parameters_of_a_token();
        let (attention, feed_forward) = (4 * 512 * 384, 3 * 512 * 1024);
        let cross_rows = 8 * 2 * 512 * 384;
        assert_eq!(parameters.encoder, f64::from(8 * (attention + feed_forward) + cross_rows));
        let cross = 2 * 512 * 384;
        assert_eq!(parameters.decoder, f64::from(8 * (attention + cross + feed_forward) + 32128 * 512));
    }

    #[test]
    fn learning_costs_more_than_answering() {
        let parameters = Parameters { encoder: 100.0, decoder: 50.0 };
        let tokens = Tokens { encoder: 3.0, decoder: 2.0 };
        assert_eq!(parameters.operations(tokens, Pass::Forward), 800.0);
        assert_eq!(parameters.operations(tokens, Pass::Prompt), 1600.0);
        assert_eq!(parameters.operations(tokens, Pass::Weights), 2400.0);
    }
}
