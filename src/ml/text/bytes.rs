//! The tokenizer of ByT5 (Xue et al. 2022), which has no file: the ids are the bytes of a text in UTF-8, plus 3.

use crate::ml::error::{Error, Result};
use serde_json::{Value, json};

/// Ids in front of the bytes: padding, the end of a text, and one for what is unknown, which nothing is.
const CONTROL: [&str; 3] = ["<pad>", "</s>", "<unk>"];
/// Ids of control tokens and bytes.
const BYTES: usize = CONTROL.len() + 256;
/// Sentinels behind the bytes (`extra_ids` of Hugging Face's `ByT5Tokenizer`).
const SENTINELS: usize = 125;

/// A `tokenizer.json` that gives the ids of Hugging Face's `ByT5Tokenizer`, with as many sentinels as fit into a model's `rows`
/// of embeddings. Bytes that are not UTF-8 are decoded as U+FFFD, where `ByT5Tokenizer` leaves them out.
///
/// # Errors
/// If the model has fewer rows than there are bytes.
pub fn to_tokenizer_json(rows: usize) -> Result<Vec<u8>> {
    if rows < BYTES {
        let message = format!("ByT5's bytes need {BYTES} ids, but the model's embedding has {rows} rows");
        return Err(Error::Tokenizer(message));
    }
    let control = CONTROL.into_iter().map(str::to_owned);
    let bytes = letters().map(String::from);
    let vocabulary: serde_json::Map<String, Value> =
        control.chain(bytes).enumerate().map(|(id, piece)| (piece, id.into())).collect();
    let sentinels = (0..SENTINELS.min(rows - BYTES)).map(|i| (BYTES + i, format!("<extra_id_{i}>")));
    let tokens = CONTROL.into_iter().map(str::to_owned).enumerate().chain(sentinels);
    let added: Vec<Value> = tokens.map(|(id, content)| added(id, &content)).collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": byte_level,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}},
        },
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    });
    Ok(serde_json::to_vec(&tokenizer).expect("a JSON value has only string keys"))
}

fn added(id: usize, content: &str) -> Value {
    json!({
        "id": id, "content": content, "special": true,
        "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
    })
}

/// The letter that stands for each byte in byte-level vocabularies: its own where that is visible, else one from U+0100 on
/// (`bytes_to_unicode` of GPT-2).
fn letters() -> impl Iterator<Item = char> {
    let mut next = 0x100..;
    (0..=u8::MAX).map(move |byte| match byte {
        b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte),
        _ => next.next().and_then(char::from_u32).expect("68 letters from U+0100 on"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::text::tokens::Tokens;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Case {
        text: String,
        ids: Vec<u32>,
    }

    /// As Hugging Face's `ByT5Tokenizer` has it (`tests/golden/byt5.py`).
    #[test]
    fn ids_are_those_of_hugging_face() {
        let cases: Vec<Case> = serde_json::from_str(include_str!("../../../tests/golden/byt5.json")).unwrap();
        assert!(cases.len() > 10);
        let tokens = Tokens::from_json(&to_tokenizer_json(384).unwrap(), 1).unwrap();
        assert_eq!((tokens.size(), tokens.sentinels().len()), (384, 125));
        for Case { text, ids } in cases {
            assert_eq!(tokens.encode(&text, 10_000).unwrap(), ids, "{text:?}");
            if !text.contains("<extra_id") {
                assert_eq!(tokens.decode(&ids).unwrap(), text);
            }
        }
    }

    #[test]
    fn control_tokens_in_a_text_are_text_and_sentinels_fit_the_model() {
        let tokens = Tokens::from_json(&to_tokenizer_json(300).unwrap(), 1).unwrap();
        assert_eq!((tokens.size(), tokens.sentinels().len()), (300, 41));
        let bytes: Vec<u32> = "a</s>b<pad>".bytes().map(|byte| u32::from(byte) + 3).collect();
        assert_eq!(tokens.pieces("a</s>b<pad>").unwrap(), bytes);
        assert_eq!(tokens.decode(&[0xC3 + 3, 0x68 + 3, 1, 70]).unwrap(), "\u{FFFD}h");
        assert!(to_tokenizer_json(258).unwrap_err().to_string().contains("need 259 ids"));
    }
}
