//! The file `tokenizer.json`: read as SentencePiece would read the text, and refused where something in it would be neither
//! obeyed nor without effect.

use super::charsmap::Charsmap;
use super::normalizer::{Normalizer, read_map};
use super::unigram::{Opening, SPACE, Unigram};
use crate::ml::error::{Error, Result};
use crate::ml::pointer;
use crate::panic::caught;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use tokenizers::{DecoderWrapper, ModelWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl};

/// A tokenizer of the crate, but for its normaliser.
pub(super) type Tokenizer =
    TokenizerImpl<ModelWrapper, Normalizer, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// Bytes of the longest piece. SentencePiece's have at most some dozens; the crate's reader takes a frame of the stack for each.
const LONGEST_PIECE: usize = 4096;

/// A `tokenizer.json` that was read.
pub(super) struct File {
    pub(super) tokenizer: Tokenizer,
    /// The same, where the file is a SentencePiece model in other clothes.
    pub(super) unigram: Option<Unigram>,
    /// Ids of special tokens, which are not text.
    pub(super) special: BTreeSet<u32>,
    /// For every byte whether a token that is found in a text before it is cut into pieces begins with it.
    pub(super) starts: [bool; 256],
    /// Number of ids.
    pub(super) size: usize,
}

/// What counts of a token beside the pieces of the model.
#[derive(Deserialize)]
struct Added {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
    #[serde(default)]
    normalized: bool,
}

impl File {
    /// Reads a file for a model whose texts end in `eos`.
    ///
    /// `truncation` and `padding` say what the last user of a tokenizer did with whole batches; they are left out. Added tokens
    /// are found in texts, but for the control tokens: `eos`, the unknown token, and special ones in front of all pieces.
    ///
    /// # Errors
    /// If it is a Git LFS pointer or not a tokenizer in JSON, its ids contradict each other, or it lacks `eos`.
    pub(super) fn read(json: &[u8], eos: u32) -> Result<Self> {
        pointer::refuse(json)?;
        let mut json: Value = serde_json::from_slice(json).map_err(|error| syntax(&error))?;
        let Some(fields) = json.as_object_mut() else { return Err(wrong("the file is not a JSON object")) };
        fields.remove("truncation");
        fields.remove("padding");
        check_pieces(&json["model"])?;
        let added = Added::all(&json)?;
        let ids = |of: &dyn Fn(&Added) -> bool| -> BTreeSet<u32> {
            added.iter().filter(|token| of(token)).map(|token| token.id).collect()
        };
        let special = ids(&|token| token.special);
        let control = ids(&|token| token.is_control(&special, eos, &json["model"]));
        mark(&mut json, &control);
        // Pieces that no text has by their letters.
        let hidden = &special | &control;
        let found = || added.iter().filter(|token| !control.contains(&token.id));
        let unigram = if found().any(|token| token.normalized) { None } else { sentencepiece(&json, &hidden)? };
        let mut starts = [false; 256];
        found().filter_map(|token| token.content.bytes().next()).for_each(|byte| starts[usize::from(byte)] = true);

        let read = caught(|| Tokenizer::deserialize(json)).map_err(|panic| crate_failed(&panic))?;
        let mut tokenizer = read.map_err(|error| crate_failed(&error.to_string()))?;
        tokenizer.set_encode_special_tokens(true);
        let size = tokenizer.get_vocab_size(true);
        added.iter().try_for_each(|token| token.check_id(&tokenizer))?;
        check_ends(&tokenizer, eos)?;
        if unigram.is_none() {
            hide(&mut tokenizer, &hidden)?;
        }
        Ok(Self { tokenizer, unigram, special, starts, size })
    }
}

impl Added {
    fn all(json: &Value) -> Result<Vec<Self>> {
        let added = json.get("added_tokens").map_or_else(|| Ok(Vec::new()), Vec::deserialize);
        added.map_err(|error| wrong(format!("`added_tokens`: {error}")))
    }

    /// Whether no text has this token: where its letters are in a text they are text, as SentencePiece has it.
    fn is_control(&self, special: &BTreeSet<u32>, eos: u32, model: &Value) -> bool {
        let in_front = self.special && (0..self.id).all(|id| special.contains(&id));
        let unknown = model["unk_id"] == self.id || model["unk_token"] == self.content;
        in_front || unknown || self.id == eos
    }

    /// Checks that the crate, which numbers tokens by their place, gives this one its id.
    fn check_id(&self, tokenizer: &Tokenizer) -> Result<()> {
        let Self { id, content, .. } = self;
        let own = tokenizer.token_to_id(content);
        if own == Some(*id) || content.is_empty() {
            return Ok(());
        }
        let own = own.map_or_else(|| "none".to_owned(), |id| id.to_string());
        Err(wrong(format!("the added token `{content}` says it has the id {id}, but by its place it has {own}")))
    }
}

/// Makes the control tokens special and no others: the crate finds either all special tokens in a text or none.
fn mark(json: &mut Value, control: &BTreeSet<u32>) {
    for token in json.get_mut("added_tokens").and_then(Value::as_array_mut).into_iter().flatten() {
        let id = token["id"].as_u64().and_then(|id| u32::try_from(id).ok());
        token["special"] = id.is_some_and(|id| control.contains(&id)).into();
    }
}

fn wrong(message: impl Into<String>) -> Error {
    Error::Tokenizer(message.into())
}

fn syntax(error: &serde_json::Error) -> Error {
    let (line, column) = (error.line(), error.column());
    if error.is_eof() {
        return wrong(format!("the file is cut off at line {line}, column {column}; copy or download it again"));
    }
    wrong(format!("{error}; the file is damaged, or not JSON: copy or download it again"))
}

/// That the crate cannot read a file, by its error or panic.
fn crate_failed(message: &str) -> Error {
    wrong(format!(
        "Hugging Face's tokenizers cannot read the file ({}); copy or download it again, or save it with `save_pretrained`",
        message.lines().next().unwrap_or_default()
    ))
}

fn check_pieces(model: &Value) -> Result<()> {
    let pieces = model["vocab"].as_array().into_iter().flatten().filter_map(|piece| piece[0].as_str());
    let words = model["vocab"].as_object().into_iter().flat_map(|words| words.keys().map(String::as_str));
    match pieces.chain(words).find(|piece| piece.len() > LONGEST_PIECE) {
        Some(piece) => {
            let begins: String = piece.chars().take(20).collect();
            Err(wrong(format!("the piece `{begins}…` has {} bytes, expected at most {LONGEST_PIECE}", piece.len())))
        }
        None => Ok(()),
    }
}

/// Whether the file says only what a SentencePiece model of the type Unigram says, as all `tokenizer.json` made of one do; then
/// that model. How such a file spells white space out differs from one program's version to the next, and none of them gives
/// SentencePiece's ids in all cases.
fn sentencepiece(json: &Value, hidden: &BTreeSet<u32>) -> Result<Option<Unigram>> {
    let model = &json["model"];
    let plain = model["type"].as_str().is_none_or(|name| name == "Unigram") && model["byte_fallback"] != true;
    let unknown = model["unk_id"].as_u64().and_then(|id| u32::try_from(id).ok());
    let (true, Some(unknown), Some(pieces)) = (plain, unknown, model["vocab"].as_array()) else { return Ok(None) };
    let Some(opening) = opening(&json["pre_tokenizer"]) else { return Ok(None) };
    let Some(map) = normalizer(&json["normalizer"])? else { return Ok(None) };
    let mut read = Vec::with_capacity(pieces.len());
    for (piece, id) in pieces.iter().zip(0..) {
        let (Some(text), Some(score)) = (piece[0].as_str(), piece[1].as_f64()) else { return Ok(None) };
        read.push((!hidden.contains(&id) && id != unknown).then_some((text, score as f32)));
    }
    Ok(((unknown as usize) < read.len()).then(|| Unigram::new(&read, unknown, map, opening)))
}

/// Which parts get a space in front, if the pre-tokenizer does nothing but make `▁` of spaces and cut there.
fn opening(pre_tokenizer: &Value) -> Option<Opening> {
    let metaspace = match pre_tokenizer["type"].as_str()? {
        "Metaspace" => pre_tokenizer,
        "Sequence" => match &pre_tokenizer["pretokenizers"].as_array()?[..] {
            [split, metaspace] if split["type"] == "WhitespaceSplit" && metaspace["type"] == "Metaspace" => metaspace,
            _ => return None,
        },
        _ => return None,
    };
    if metaspace["replacement"] != SPACE.to_string() || metaspace["add_prefix_space"] == false {
        return None;
    }
    match metaspace["prepend_scheme"].as_str().unwrap_or("always") {
        "always" => Some(Opening::Every),
        "first" => Some(Opening::First),
        _ => None,
    }
}

/// The map of characters, if there is one; `None` if the normaliser does more than map characters and remove spaces.
fn normalizer(normalizer: &Value) -> Result<Option<Option<Charsmap>>> {
    let parts = match normalizer["type"].as_str() {
        Some("Precompiled") => std::slice::from_ref(normalizer),
        Some("Sequence") => normalizer["normalizers"].as_array().map_or(&[][..], |parts| &parts[..]),
        _ => return Ok(None),
    };
    let (map, spaces) = match parts {
        [first, rest @ ..] if first["type"] == "Precompiled" => (first["precompiled_charsmap"].as_str(), rest),
        _ => (None, parts),
    };
    if map.is_none() && !spaces.iter().any(joins_spaces) || !spaces.iter().all(|part| joins_spaces(part) || trims(part))
    {
        return Ok(None);
    }
    map.map(read_map).transpose().map(Some)
}

/// The rule that makes one space of several.
fn joins_spaces(normalizer: &Value) -> bool {
    normalizer["type"] == "Replace" && normalizer["pattern"]["Regex"] == " {2,}"
}

/// The rules for spaces at the ends: that of converters, and those of [`super::sentencepiece`].
fn trims(normalizer: &Value) -> bool {
    let ours = [format!(r"\A +|[ {SPACE}]+\z"), format!(r"\A{SPACE}")];
    let pattern = normalizer["pattern"]["Regex"].as_str();
    normalizer["type"] == "Strip"
        || normalizer["type"] == "Replace" && pattern.is_some_and(|pattern| ours.iter().any(|known| known == pattern))
}

/// Checks that the file puts nothing around a text but the closing eos, which is what comes out here.
fn check_ends(tokenizer: &Tokenizer, eos: u32) -> Result<()> {
    for text in ["a", ""] {
        let ids = |whole: bool| tokenizer.encode_fast(text, whole).map(|encoding| encoding.get_ids().to_vec());
        let both = caught(|| Ok((ids(false)?, ids(true)?)));
        let both = both.map_err(|panic| crate_failed(&panic))?;
        let (plain, whole) = both.map_err(|error: tokenizers::Error| crate_failed(&error.to_string()))?;
        if !whole.strip_prefix(&plain[..]).is_some_and(|end| end.is_empty() || end == [eos]) {
            let shown = |ids: &[u32]| {
                let piece = |id: &u32| tokenizer.id_to_token(*id).unwrap_or_else(|| id.to_string());
                ids.iter().map(piece).collect::<Vec<_>>().join(" ")
            };
            return Err(wrong(format!(
                "`post_processor` makes `{}` of the text `{text}`, expected `{}` or nothing beside the text; a T5 reads no other \
                 token around it, so change `post_processor` to `$A {}` and the model's own eos",
                shown(&whole),
                shown(&[&plain[..], &[eos]].concat()),
                shown(&[eos]),
            )));
        }
    }
    Ok(())
}

/// Makes the special tokens unreachable for text.
///
/// They are pieces of the model too, with the best score of all, so `</s>` in a data set would end the text even though
/// it is not split off as a special token. A name with a space, which text never has once spaces are `▁`, hides them; ids
/// keep their meaning, as special tokens have a table of their own.
fn hide(tokenizer: &mut Tokenizer, hidden: &BTreeSet<u32>) -> Result<()> {
    let failed = |error: serde_json::Error| Error::Tokenizer(error.to_string());
    let mut model = serde_json::to_value(tokenizer.get_model()).map_err(failed)?;
    if model.get("type").is_none_or(|name| name != "Unigram") {
        return Ok(());
    }
    for id in hidden {
        if let Some(name) = model.pointer_mut(&format!("/vocab/{id}/0")) {
            *name = format!("special piece {id}").into();
        }
    }
    let model: ModelWrapper = serde_json::from_value(model).map_err(failed)?;
    tokenizer.with_model(model);
    Ok(())
}
