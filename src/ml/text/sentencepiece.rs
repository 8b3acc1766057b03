//! SentencePiece's own file of a Unigram tokenizer, `spiece.model`, as the `tokenizer.json` that everything here reads.
//!
//! The file is a Protocol Buffers message (`sentencepiece_model.proto`). Of it are read the pieces, what says how text is
//! normalised, and what would make ids other than they come out here: that is refused. Ids are those of SentencePiece
//! ([`super::tokens`]), also where Hugging Face's own tokenizers would read the `tokenizer.json` in another way.

use super::charsmap::Charsmap;
use crate::ml::error::{Error, Result};
use crate::ml::pointer;
use std::collections::BTreeSet;
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{NormalizerWrapper, Precompiled, Replace, Sequence};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer};

/// Bytes of the largest file: ten times that of mT5, which has the most pieces of any T5.
const LARGEST: usize = 48 << 20;
/// Pieces of the largest vocabulary.
const MOST_PIECES: usize = 1 << 20;
/// The sentinels that T5 adds to its pieces.
const SENTINELS: usize = 100;
/// What stands for a space in pieces.
const SPACE: char = '▁';

/// The `tokenizer.json` of a SentencePiece model, with T5's sentinels behind its pieces, as many as fit into a model's `rows`
/// of embeddings. The result depends on the bytes and `rows` alone.
///
/// # Errors
/// If the file is damaged, or says something of which the ids would not be SentencePiece's.
pub fn to_tokenizer_json(model: &[u8], rows: usize) -> Result<Vec<u8>> {
    let failed = |error: tokenizers::Error| Error::Tokenizer(error.to_string());
    pointer::refuse(model)?;
    let model = Model::read(model)?;
    let unknown = model.check()?;
    let mut tokenizer = Tokenizer::new(
        Unigram::from(model.pieces.iter().map(|p| (p.text.to_owned(), p.score.into())).collect(), Some(unknown), false)
            .map_err(failed)?,
    );
    // Words are cut before pieces are found, which is faster, where no piece goes over a space.
    let crosses = |piece: &Piece<'_>| piece.text.chars().skip(1).any(|c| c == SPACE);
    let splits = !model.pieces.iter().any(crosses);
    let metaspace = Metaspace::new(SPACE, PrependScheme::Always, splits);
    tokenizer
        .with_normalizer(Some(Sequence::new(model.normalizers()?)))
        .map_err(failed)?
        .with_pre_tokenizer(Some(metaspace.clone()))
        .with_decoder(Some(metaspace))
        .with_post_processor(model.closing()?);
    let special = |piece: &&Piece<'_>| piece.kind != Kind::Normal;
    let specials = model.pieces.iter().filter(special).map(|piece| AddedToken::from(piece.text.to_owned(), true));
    tokenizer.add_special_tokens(specials.collect::<Vec<_>>()).map_err(failed)?;
    let sentinels = SENTINELS.min(rows.saturating_sub(model.pieces.len()));
    let sentinels = (0..sentinels).rev().map(|i| AddedToken::from(format!("<extra_id_{i}>"), true));
    tokenizer.add_special_tokens(sentinels.collect::<Vec<_>>()).map_err(failed)?;
    tokenizer.to_string(false).map(String::into_bytes).map_err(failed)
}

/// What is read of a file. Defaults are those of `sentencepiece_model.proto`.
struct Model<'a> {
    pieces: Vec<Piece<'a>>,
    model_type: u64,
    whitespace_is_suffix: bool,
    eos: Option<u64>,
    charsmap: &'a [u8],
    prepends_space: bool,
    removes_extra_spaces: bool,
    escapes_spaces: bool,
}

struct Piece<'a> {
    text: &'a str,
    score: f32,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Normal,
    Unknown,
    /// `</s>`, which no text has.
    Control,
    /// There for its number only.
    Unused,
}

/// A number, or the bytes of a text or another message.
#[derive(Clone, Copy)]
enum Value<'a> {
    Number(u64),
    Bits(u32),
    Bytes(&'a [u8]),
}

fn wrong(message: impl Into<String>) -> Error {
    Error::Tokenizer(message.into())
}

fn damaged(at: &str) -> Error {
    wrong(format!("the file is cut off or not a SentencePiece model ({at})"))
}

/// The fields of a message, in order.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn number(&mut self) -> Result<u64> {
        let mut number = 0;
        for place in 0..10 {
            let (byte, rest) = self.rest.split_first().ok_or_else(|| damaged("in a number"))?;
            self.rest = rest;
            number |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(damaged("a number has more than ten bytes"))
    }

    fn bytes(&mut self, length: u64) -> Result<&'a [u8]> {
        let at = usize::try_from(length).ok().filter(|at| *at <= self.rest.len());
        let (bytes, rest) = self.rest.split_at(at.ok_or_else(|| damaged("a field is longer than what is left"))?);
        self.rest = rest;
        Ok(bytes)
    }

    fn field(&mut self) -> Result<(u64, Value<'a>)> {
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => Value::Number(self.number()?),
            1 => {
                let bytes = self.bytes(8)?;
                Value::Number(u64::from_le_bytes(bytes.try_into().expect("8 bytes were taken")))
            }
            2 => {
                let length = self.number()?;
                Value::Bytes(self.bytes(length)?)
            }
            5 => Value::Bits(u32::from_le_bytes(self.bytes(4)?.try_into().expect("4 bytes were taken"))),
            other => return Err(damaged(&format!("a field of the unknown wire type {other}"))),
        };
        Ok((tag >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

impl<'a> Model<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self> {
        if bytes.len() > LARGEST {
            return Err(wrong(format!("{} bytes are more than the {LARGEST} of any SentencePiece model", bytes.len())));
        }
        let mut model = Self {
            pieces: Vec::new(),
            model_type: 1,
            whitespace_is_suffix: false,
            eos: Some(2),
            charsmap: &[],
            prepends_space: true,
            removes_extra_spaces: true,
            escapes_spaces: true,
        };
        for field in (Fields { rest: bytes }) {
            match field? {
                (1, Value::Bytes(piece)) if model.pieces.len() < MOST_PIECES => {
                    let piece = Piece::read(piece, model.pieces.len())?;
                    model.pieces.push(piece);
                }
                (1, Value::Bytes(_)) => return Err(wrong(format!("more than {MOST_PIECES} pieces"))),
                (2, Value::Bytes(trainer)) => model.read_trainer(trainer)?,
                (3, Value::Bytes(normalizer)) => model.read_normalizer(normalizer)?,
                (1..=3, _) => return Err(damaged("a message is a number")),
                _ => {}
            }
        }
        Ok(model)
    }

    /// `TrainerSpec`.
    fn read_trainer(&mut self, bytes: &'a [u8]) -> Result<()> {
        for field in (Fields { rest: bytes }) {
            match field? {
                (3, Value::Number(model_type)) => self.model_type = model_type,
                (24, Value::Number(is_suffix)) => self.whitespace_is_suffix = is_suffix != 0,
                // Negative where there is none.
                (42, Value::Number(eos)) => self.eos = i64::try_from(eos).is_ok().then_some(eos),
                _ => {}
            }
        }
        Ok(())
    }

    /// `NormalizerSpec`.
    fn read_normalizer(&mut self, bytes: &'a [u8]) -> Result<()> {
        for field in (Fields { rest: bytes }) {
            match field? {
                (2, Value::Bytes(charsmap)) => self.charsmap = charsmap,
                (3, Value::Number(prepends)) => self.prepends_space = prepends != 0,
                (4, Value::Number(removes)) => self.removes_extra_spaces = removes != 0,
                (5, Value::Number(escapes)) => self.escapes_spaces = escapes != 0,
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether ids come out here as SentencePiece makes them; gives the id of what is unknown.
    fn check(&self) -> Result<usize> {
        if self.model_type != 1 {
            let name = ["", "Unigram", "BPE", "word", "character"].get(self.model_type as usize).unwrap_or(&"unknown");
            return Err(wrong(format!(
                "a SentencePiece model of the type {name}, expected Unigram, which every T5 has"
            )));
        }
        let settings = [
            (self.whitespace_is_suffix, "treat_whitespace_as_suffix", false),
            (self.prepends_space, "add_dummy_prefix", true),
            (self.removes_extra_spaces, "remove_extra_whitespaces", true),
            (self.escapes_spaces, "escape_whitespaces", true),
        ];
        if let Some((found, name, expected)) = settings.into_iter().find(|(found, _, expected)| found != expected) {
            let hint = "take a `tokenizer.json` that Hugging Face's tokenizers made of it";
            return Err(wrong(format!("`{name}` of the SentencePiece model is {found}, expected {expected}; {hint}")));
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = self.pieces.iter().find(|piece| !seen.insert(piece.text)) {
            return Err(wrong(format!("the piece `{}` is there twice", twice.text)));
        }
        let mut unknown = self.pieces.iter().enumerate().filter(|(_, piece)| piece.kind == Kind::Unknown);
        match (unknown.next(), unknown.next()) {
            (Some((id, _)), None) => Ok(id),
            (None, _) => {
                Err(wrong(format!("none of {} pieces is of the type unknown, expected one", self.pieces.len())))
            }
            (Some(_), Some((id, _))) => Err(wrong(format!("a second piece of the type unknown, with the id {id}"))),
        }
    }

    /// What becomes of a text before it is cut into pieces, in SentencePiece's order.
    fn normalizers(&self) -> Result<Vec<NormalizerWrapper>> {
        let regex = |pattern: &str, by: &str| {
            let replace = Replace::new(ReplacePattern::Regex(pattern.to_owned()), by);
            replace.map(NormalizerWrapper::from).map_err(|error| wrong(error.to_string()))
        };
        let mut all = Vec::new();
        if !self.charsmap.is_empty() {
            Charsmap::read(self.charsmap)?;
            let map = Precompiled::from(self.charsmap).map_err(|error| wrong(error.to_string()))?;
            all.push(map.into());
        }
        // Spaces alone: the map has made spaces of all white space that it knows, and the rest is text. At the end of a text
        // the sign for a space counts as one.
        all.extend([regex(&format!(r"\A +|[ {SPACE}]+\z"), "")?, regex(" {2,}", " ")?]);
        // The pre-tokenizer puts no space in front of a text that begins with the sign for one.
        all.push(regex(&format!(r"\A{SPACE}"), &format!("{SPACE}{SPACE}"))?);
        Ok(all)
    }

    /// What puts the closing eos, for other readers of the file.
    fn closing(&self) -> Result<Option<TemplateProcessing>> {
        let piece = |id: u64| Some((self.pieces.get(usize::try_from(id).ok()?)?, u32::try_from(id).ok()?));
        let Some((piece, id)) = self.eos.and_then(piece).filter(|(piece, _)| piece.kind == Kind::Control) else {
            return Ok(None);
        };
        let single = vec!["$A".to_owned(), piece.text.to_owned()];
        let built = TemplateProcessing::builder()
            .try_single(single)
            .map_err(wrong)?
            .special_tokens(vec![(piece.text.to_owned(), id)])
            .build();
        built.map(Some).map_err(|error| wrong(error.to_string()))
    }
}

impl<'a> Piece<'a> {
    /// The piece with this id.
    fn read(bytes: &'a [u8], id: usize) -> Result<Self> {
        let (mut text, mut score, mut kind): (&[u8], f32, u64) = (&[], 0.0, 1);
        for field in (Fields { rest: bytes }) {
            match field? {
                (1, Value::Bytes(bytes)) => text = bytes,
                (2, Value::Bits(bits)) => score = f32::from_bits(bits),
                (3, Value::Number(number)) => kind = number,
                _ => {}
            }
        }
        let text =
            std::str::from_utf8(text).map_err(|_| damaged(&format!("the piece with the id {id} is not UTF-8")))?;
        if text.is_empty() || !score.is_finite() {
            return Err(damaged(&format!("the piece with the id {id} is empty or has the score {score}")));
        }
        let kind = match kind {
            1 => Kind::Normal,
            2 => Kind::Unknown,
            3 => Kind::Control,
            5 => Kind::Unused,
            other => {
                let name = match other {
                    4 => "user-defined",
                    6 => "byte",
                    _ => "unknown to us",
                };
                return Err(wrong(format!(
                    "the piece `{text}` is of a type ({name}) that no T5 has, and would get other ids than SentencePiece's; \
                     take a `tokenizer.json` that Hugging Face's tokenizers made of it"
                )));
            }
        };
        Ok(Self { text, score, kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::text::tokens::Tokens;
    use serde::Deserialize;
    use std::path::{Path, PathBuf};

    const EOS: u32 = 1;

    /// Files of the shared data with text of several kinds.
    const TEXTS: [&str; 5] = [
        "glue/QQP/train_9k.tsv",
        "superglue/BoolQ/val.jsonl",
        "superglue/MultiRC/val.jsonl",
        "sentiment/GoEmotions/train.tsv",
        "nli/ANLI/test_r1_r2_r3.jsonl",
    ];

    fn golden(name: &str) -> Vec<u8> {
        fs_err::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/spiece").join(name)).unwrap()
    }

    /// A file of the shared data, which not every machine has.
    fn shared(name: &str) -> Option<Vec<u8>> {
        let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
        let root = std::env::var_os("SPOT_SHARED").map_or_else(default, PathBuf::from);
        let bytes = fs_err::read(root.join(name)).ok();
        if bytes.is_none() {
            println!("skipped: {name} of the shared data is not here");
        }
        bytes
    }

    fn tokens(model: &[u8], rows: usize) -> Tokens {
        Tokens::from_json(&to_tokenizer_json(model, rows).unwrap(), EOS).unwrap()
    }

    #[derive(Deserialize)]
    struct Golden {
        model: String,
        lines: Vec<(String, Vec<u32>, String)>,
    }

    #[test]
    fn ids_are_those_of_sentencepiece() {
        let golden_lines: Vec<Golden> = serde_json::from_slice(&golden("ids.json")).unwrap();
        assert_eq!(golden_lines.len(), 3);
        for Golden { model, lines } in golden_lines {
            let tokens = tokens(&golden(&model), 0);
            assert!(lines.len() > 300);
            for (text, ids, decoded) in lines {
                assert_eq!(tokens.pieces(&text).unwrap(), ids, "{model}: {text:?}");
                // A sign for a space that is text at the beginning comes back as a space here.
                if !ids.contains(&2) && !text.contains(SPACE) {
                    assert_eq!(tokens.decode(&ids).unwrap(), decoded, "{model}: {text:?}");
                }
            }
        }
    }

    #[derive(Deserialize)]
    struct Edge {
        text: String,
        hf_ids: Vec<u32>,
        sp_ids: Vec<u32>,
    }

    #[derive(Deserialize)]
    struct Marks {
        /// A text, its ids by a small model, and those by T5's.
        lines: Vec<(String, Vec<u32>, Vec<u32>)>,
    }

    #[test]
    fn t5_has_the_ids_of_its_vectors_and_of_its_tokenizer_json() {
        let (Some(model), Some(json)) = (shared("t5-tokenizer/spiece.model"), shared("t5-tokenizer/tokenizer.json"))
        else {
            return;
        };
        let (ours, theirs) = (tokens(&model, 32_128), Tokens::from_json(&json, EOS).unwrap());
        assert_eq!((ours.size(), ours.sentinels()), (theirs.size(), theirs.sentinels()));
        for id in 0..32_100 {
            assert_eq!(ours.piece(id), theirs.piece(id));
        }
        let books = shared("t5-tokenizer/vectors-opus-books.json").unwrap();
        let books: Vec<(String, Vec<u32>, String)> = serde_json::from_slice(&books).unwrap();
        for (text, ids, _) in &books {
            assert_eq!(&ours.encode(text, 10_000).unwrap(), ids, "{text:?}");
        }
        let marks: Marks = serde_json::from_slice(&golden("marks.json")).unwrap();
        for (text, _, ids) in &marks.lines {
            assert_eq!(&ours.pieces(text).unwrap(), ids, "{text:?}");
        }
        let edges = String::from_utf8(shared("t5-tokenizer/vectors-edge.jsonl").unwrap()).unwrap();
        for line in edges.lines() {
            let Edge { text, hf_ids, sp_ids } = serde_json::from_str(line).unwrap();
            match text.contains("<extra_id_") {
                true => assert_eq!(ours.encode(&text, 100).unwrap(), hf_ids, "{text:?}"),
                false => assert_eq!(ours.pieces(&text).unwrap(), sp_ids, "{text:?}"),
            }
        }
    }

    #[test]
    fn real_text_has_the_ids_of_tokenizer_json() {
        let (Some(model), Some(json)) = (shared("t5-tokenizer/spiece.model"), shared("t5-tokenizer/tokenizer.json"))
        else {
            return;
        };
        let (ours, theirs) = (tokens(&model, 32_128), Tokens::from_json(&json, EOS).unwrap());
        let mut lines = 0;
        for name in TEXTS {
            let text = String::from_utf8(shared(name).unwrap()).unwrap();
            for line in text.lines().take(1000) {
                let ids = ours.pieces(line).unwrap();
                assert_eq!(ids, theirs.pieces(line).unwrap(), "{name}: {line:?}");
                assert_eq!(ours.decode(&ids).unwrap(), theirs.decode(&ids).unwrap(), "{name}: {line:?}");
                lines += 1;
            }
        }
        assert!(lines > 3000, "{lines}");
    }

    #[test]
    fn sentinels_are_as_many_as_the_model_has_rows_for() {
        let model = golden("rules.model");
        let size = tokens(&model, 0).size();
        assert_eq!(tokens(&model, size + 128).sentinels().len(), 100);
        let few = tokens(&model, size + 3);
        assert_eq!(few.sentinels(), [size as u32 + 2, size as u32 + 1, size as u32]);
        let ids = few.pieces("<extra_id_0> </s> <extra_id_3>").unwrap();
        assert_eq!((ids[0], ids.iter().filter(|id| **id >= size as u32 || **id == EOS).count()), (size as u32 + 2, 1));
    }

    #[track_caller]
    fn refused(model: &[u8], message: &str) {
        let error = to_tokenizer_json(model, 0).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }

    /// A field of a message, short enough for a length of one byte.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
    }

    fn piece(text: &str, kind: u8) -> Vec<u8> {
        field(1, &[field(1, text.as_bytes()), vec![2 << 3 | 5, 0, 0, 0, 0], vec![3 << 3, kind]].concat())
    }

    #[test]
    fn what_would_get_other_ids_is_refused() {
        let good = [piece("<unk>", 2), piece("a", 1)].concat();
        assert!(to_tokenizer_json(&good, 0).is_ok());
        let with = |more: &[u8]| [&good[..], more].concat();
        refused(&with(&field(2, &[3 << 3, 2])), "of the type BPE, expected Unigram");
        refused(
            &with(&field(2, &[24 << 3 & 0x7f | 0x80, 1, 1])),
            "`treat_whitespace_as_suffix` of the SentencePiece model is true",
        );
        refused(
            &with(&field(3, &[3 << 3, 0])),
            "`add_dummy_prefix` of the SentencePiece model is false, expected true",
        );
        refused(&with(&field(3, &[4 << 3, 0])), "`remove_extra_whitespaces`");
        refused(&with(&piece("b", 4)), "the piece `b` is of a type (user-defined)");
        refused(&with(&piece("<0x00>", 6)), "(byte)");
        refused(&with(&piece("a", 1)), "`a` is there twice");
        refused(&with(&piece("b", 2)), "a second piece of the type unknown");
        refused(&piece("a", 1), "none of 1 pieces is of the type unknown");
        refused(b"", "none of 0 pieces");
    }

    #[test]
    fn damaged_files_are_refused_and_never_read_past_their_end() {
        let model = golden("rules.model");
        refused(&vec![0; LARGEST + 1], "are more than");
        refused(b"{\"version\": \"1.0\"}", "not a SentencePiece model");
        refused(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], "not a SentencePiece model");
        for end in (0..model.len()).step_by(97) {
            assert!(
                to_tokenizer_json(&model[..end], 0).map_or(true, |json| Tokens::from_json(&json, EOS).is_ok()),
                "{end}"
            );
        }
        // A flipped bit may leave a model of other pieces, but nothing that panics.
        let mut bits = (0..model.len() * 8).step_by(model.len() * 8 / 400);
        assert!(bits.all(|bit| {
            let mut damaged = model.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            match to_tokenizer_json(&damaged, 0).and_then(|json| Tokens::from_json(&json, EOS)) {
                Ok(tokens) => tokens.pieces("Ｆｕｌｌ ﬁ Å é 日本 ①").is_ok(),
                Err(error) => error.to_string().starts_with("tokenizer: "),
            }
        }));
    }
}
