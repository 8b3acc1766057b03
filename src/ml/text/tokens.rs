//! Text to token ids and back, with Hugging Face's tokenizers.

use super::file::File;
use super::normalizer::Normalizer;
use crate::ml::error::{Error, Result};
use std::collections::BTreeMap;
use tokenizers::models::unigram::{Unigram, UnigramTrainer};
use tokenizers::normalizers::{NFKC, Replace, Sequence, Strip};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{
    AddedToken, NormalizedString, Normalizer as _, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
    Tokenizer,
};

/// A tokenizer, and the ids that T5 gives a meaning.
pub struct Tokens {
    file: File,
    eos: u32,
}

impl Tokens {
    /// Reads a `tokenizer.json`. `eos` is the id that ends a text, by the model's configuration.
    ///
    /// Text of a data set that looks like a control token (`</s>`, `<pad>`, `<unk>`) is treated as text, as SentencePiece does;
    /// other special tokens, such as the sentinel `<extra_id_0>`, are read as their ids, as T5 and Hugging Face do. Where the
    /// file is a SentencePiece model in other clothes, ids are SentencePiece's.
    ///
    /// # Errors
    /// If the file is damaged, or puts something else around a text than `eos` behind it.
    pub fn from_json(json: &[u8], eos: u32) -> Result<Self> {
        Ok(Self { file: File::read(json, eos)?, eos })
    }

    /// Number of ids, which a model's embedding must have as rows.
    pub fn size(&self) -> usize {
        self.file.size
    }

    /// The id that ends a text.
    pub fn eos(&self) -> u32 {
        self.eos
    }

    /// The pieces of a text, without a closing eos.
    ///
    /// # Errors
    /// If the tokenizer cannot take the text.
    pub fn pieces(&self, text: &str) -> Result<Vec<u32>> {
        let tokenizer = &self.file.tokenizer;
        let Some(unigram) = &self.file.unigram else {
            let encoding = tokenizer.encode_fast(text, false).map_err(|error| Error::Tokenizer(error.to_string()))?;
            return Ok(encoding.get_ids().to_vec());
        };
        let mut ids = Vec::new();
        if !text.bytes().any(|byte| self.file.starts[usize::from(byte)]) {
            unigram.encode(text, true, &mut ids);
            return Ok(ids);
        }
        let parts = tokenizer.get_added_vocabulary().extract_and_normalize(None::<&Normalizer>, text);
        for (part, (start, _), found) in parts.get_splits(OffsetReferential::Original, OffsetType::Byte) {
            match found {
                Some(tokens) => ids.extend(tokens.iter().map(|token| token.id)),
                None => unigram.encode(part, start == 0, &mut ids),
            }
        }
        Ok(ids)
    }

    /// The pieces of a text, cut so that with the closing eos there are at most `longest` ids (seqio's
    /// `append_eos_after_trim`).
    ///
    /// # Errors
    /// If the tokenizer cannot take the text.
    pub fn encode(&self, text: &str, longest: usize) -> Result<Vec<u32>> {
        Ok(self.encode_counted(text, longest)?.0)
    }

    /// As [`encode`](Self::encode), with the number of ids, eos included, that the text has before it is cut.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_counted(&self, text: &str, longest: usize) -> Result<(Vec<u32>, usize)> {
        let mut ids = self.pieces(text)?;
        let length = ids.len() + 1;
        ids.truncate(longest.saturating_sub(1));
        ids.push(self.eos);
        Ok((ids, length))
    }

    /// The text of ids up to the first eos, without special tokens.
    ///
    /// # Errors
    /// If the tokenizer cannot make a text of them.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        let text = ids.iter().copied().take_while(|id| *id != self.eos).filter(|id| !self.file.special.contains(id));
        let text: Vec<u32> = text.collect();
        self.file.tokenizer.decode(&text, true).map_err(|error| Error::Tokenizer(error.to_string()))
    }

    /// The piece with this id.
    pub fn piece(&self, id: u32) -> Option<String> {
        self.file.tokenizer.id_to_token(id)
    }

    /// The id of a piece.
    pub fn id(&self, piece: &str) -> Option<u32> {
        self.file.tokenizer.token_to_id(piece)
    }

    /// Ids of `<extra_id_0>`, `<extra_id_1>` and so on, as many as there are.
    pub fn sentinels(&self) -> Vec<u32> {
        (0..).map_while(|i| self.id(&format!("<extra_id_{i}>"))).collect()
    }
}

/// What a Unigram tokenizer is trained for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Training {
    /// Ids in all: special tokens, pieces and sentinels; texts with few different words give fewer.
    pub size: usize,
    /// Sentinels at the end of the vocabulary.
    pub sentinels: usize,
    /// Characters that occur less often become unknown.
    pub rarest_character: u32,
}

/// Trains a Unigram tokenizer (Kudo 2018) and returns its `tokenizer.json`.
///
/// Ids are as in T5: pad 0, eos 1, unknown 2, then pieces by decreasing probability, and the sentinels last, counted
/// down. The result depends on the texts alone: words are counted in sorted order, sums are taken by one thread, and what the
/// trainer leaves to a hash map's order is sorted afterwards.
///
/// # Errors
/// If the texts have no words of frequent characters, or `size` leaves no room for pieces.
pub fn train<'t>(texts: impl Iterator<Item = &'t str>, training: Training) -> Result<Vec<u8>> {
    let failed = |error: tokenizers::Error| Error::Tokenizer(error.to_string());
    let normalizer = Sequence::new(vec![
        NFKC.into(),
        Replace::new(tokenizers::normalizers::replace::ReplacePattern::Regex(r"\s+".to_owned()), " ")
            .map_err(failed)?
            .into(),
        Strip::new(true, true).into(),
    ]);
    let metaspace = Metaspace::new('▁', PrependScheme::Always, true);
    let words = count_words(texts, &normalizer, &metaspace, training.rarest_character).map_err(failed)?;
    if words.is_empty() {
        return Err(Error::Tokenizer("the texts to train on have no words of frequent characters".to_owned()));
    }

    let specials: Vec<AddedToken> = ["<pad>", "</s>", "<unk>"].map(|t| AddedToken::from(t, true)).to_vec();
    let pieces = training.size.checked_sub(training.sentinels).filter(|pieces| *pieces > specials.len());
    let Some(pieces) = pieces else {
        return Err(Error::Tokenizer(format!("{} ids leave no room for pieces", training.size)));
    };
    let trainer = UnigramTrainer::builder()
        .show_progress(false)
        .vocab_size(u32::try_from(pieces).map_err(|e| Error::Tokenizer(e.to_string()))?)
        .special_tokens(specials.clone())
        .unk_token(Some("<unk>".to_owned()))
        .build()
        .map_err(|error| Error::Tokenizer(error.to_string()))?;
    let mut model = Unigram::default();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().map_err(|e| Error::Tokenizer(e.to_string()))?;
    pool.install(|| trainer.do_train(words, &mut model)).map_err(failed)?;

    let mut tokenizer = Tokenizer::new(settle(&model, specials.len()).map_err(failed)?);
    tokenizer
        .with_normalizer(Some(normalizer))
        .map_err(failed)?
        .with_pre_tokenizer(Some(metaspace.clone()))
        .with_decoder(Some(metaspace))
        .with_post_processor(Some(
            TemplateProcessing::builder()
                .try_single("$A </s>")
                .map_err(Error::Tokenizer)?
                .special_tokens(vec![("</s>", 1)])
                .build()
                .map_err(|error| Error::Tokenizer(error.to_string()))?,
        ));
    tokenizer.add_special_tokens(specials).map_err(failed)?;
    let sentinels = (0..training.sentinels).rev().map(|i| AddedToken::from(format!("<extra_id_{i}>"), true));
    tokenizer.add_special_tokens(sentinels).map_err(failed)?;
    tokenizer.to_string(false).map(String::into_bytes).map_err(failed)
}

/// Every word with its count, in sorted order, without words that hold a rare character.
fn count_words<'t>(
    texts: impl Iterator<Item = &'t str>,
    normalizer: &Sequence,
    metaspace: &Metaspace,
    rarest: u32,
) -> tokenizers::Result<Vec<(String, u32)>> {
    let mut words: BTreeMap<String, u32> = BTreeMap::new();
    for text in texts {
        let mut normalized = NormalizedString::from(text);
        normalizer.normalize(&mut normalized)?;
        let mut pre = PreTokenizedString::from(normalized);
        metaspace.pre_tokenize(&mut pre)?;
        for (word, _, _) in pre.get_splits(OffsetReferential::Normalized, OffsetType::None) {
            *words.entry(word.to_owned()).or_default() += 1;
        }
    }
    let mut characters: BTreeMap<char, u32> = BTreeMap::new();
    for (word, count) in &words {
        for c in word.chars() {
            *characters.entry(c).or_default() += count;
        }
    }
    words.retain(|word, _| word.chars().all(|c| characters[&c] >= rarest));
    Ok(words.into_iter().collect())
}

/// The trained model with ties and forced characters in a fixed order.
///
/// The trainer gives characters that lost their piece the scores just above the lowest, in the order of a hash map; here
/// they get them in the order of the characters.
fn settle(model: &Unigram, specials: usize) -> tokenizers::Result<Unigram> {
    let mut pieces: Vec<(String, f64)> = model.iter().cloned().collect();
    let mut learned = pieces.split_off(specials);
    let lowest = learned.iter().map(|(_, score)| *score).fold(f64::INFINITY, f64::min);
    let mut forced: Vec<usize> = Vec::new();
    // Scores rise from the lowest on by steps that the trainer adds up, as here; the first gap ends the run. A character that
    // has such a score by itself cannot be told apart, and takes part.
    let mut penalty = 0.0;
    loop {
        let fits = |(piece, score): &(String, f64)| piece.chars().count() == 1 && *score == lowest + penalty;
        let found: Vec<usize> = (0..learned.len()).filter(|at| fits(&learned[*at])).collect();
        if found.is_empty() {
            break;
        }
        forced.extend(found);
        penalty += 0.0001;
    }
    let mut characters: Vec<String> = forced.iter().map(|at| learned[*at].0.clone()).collect();
    characters.sort_unstable();
    for (at, character) in forced.into_iter().zip(characters) {
        learned[at].0 = character;
    }
    learned.sort_by(|(a, x), (b, y)| y.total_cmp(x).then_with(|| a.cmp(b)));
    pieces.append(&mut learned);
    Unigram::from(pieces, Some(2), false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::random::Stream;
    use crate::ml::text::sentencepiece;
    use serde::Deserialize;
    use serde_json::{Value, json};
    use std::path::PathBuf;

    const EOS: u32 = 1;

    /// A file of the T5 tokenizer's folder of the shared data, which not every machine has.
    fn shared(name: &str) -> Option<String> {
        let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
        let root = std::env::var_os("SPOT_SHARED").map_or_else(default, PathBuf::from);
        let text = fs_err::read_to_string(root.join("t5-tokenizer").join(name)).ok();
        if text.is_none() {
            println!("skipped: {name} of the shared data is not here");
        }
        text
    }

    fn t5() -> Option<Tokens> {
        Some(Tokens::from_json(shared("tokenizer.json")?.as_bytes(), EOS).unwrap())
    }

    #[test]
    fn lines_of_books_have_the_reference_ids_and_come_back() {
        let (Some(tokens), Some(vectors)) = (t5(), shared("vectors-opus-books.json")) else { return };
        let vectors: Vec<(String, Vec<u32>, String)> = serde_json::from_str(&vectors).unwrap();
        assert_eq!(vectors.len(), 1995);
        for (text, ids, _) in &vectors {
            assert_eq!(&tokens.encode(text, 10_000).unwrap(), ids, "{text:?}");
        }
    }

    #[derive(Deserialize)]
    struct Edge {
        text: String,
        /// Of SentencePiece, without eos.
        sp_ids: Vec<u32>,
        /// Of Hugging Face's tokenizers, with eos.
        hf_ids: Vec<u32>,
    }

    #[test]
    fn odd_text_has_the_ids_of_sentencepiece_and_sentinels_those_of_hugging_face() {
        let (Some(tokens), Some(vectors)) = (t5(), shared("vectors-edge.jsonl")) else { return };
        let vectors: Vec<Edge> = vectors.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(vectors.len(), 255);
        for Edge { text, sp_ids, hf_ids } in &vectors {
            match text.contains("<extra_id_") {
                true => assert_eq!(&tokens.encode(text, 100).unwrap(), hf_ids, "{text:?}"),
                false => assert_eq!(&tokens.pieces(text).unwrap(), sp_ids, "{text:?}"),
            }
        }
    }

    #[test]
    fn t5_has_its_sentinels_and_size() {
        let Some(tokens) = t5() else { return };
        assert_eq!(tokens.size(), 32_100);
        let sentinels = tokens.sentinels();
        assert_eq!((sentinels.len(), sentinels[0], sentinels[99]), (100, 32_099, 32_000));
    }

    /// Lines of words made of syllables, some frequent and most rare, with a few rare characters.
    fn texts() -> Vec<String> {
        let mut stream = Stream::new(1, "texts");
        let syllables = ["ba", "to", "ri", "ner", "sta", "lu", "ing", "é", "ow", "x", "7", "ch", "e", "s", "ﬁ", "qu"];
        let mut word = || (0..=stream.below(3)).map(|_| *stream.choose(&syllables)).collect::<String>();
        let words: Vec<String> = (0..300).map(|_| word()).collect();
        let mut stream = Stream::new(2, "texts");
        let mut line = || {
            let mut draw = || words[(stream.unit().powi(3) * 300.0) as usize].as_str();
            (0..8).map(|_| draw()).collect::<Vec<_>>().join(" ")
        };
        (0..500).map(|_| line()).chain(["z ÿ w".to_owned()]).collect()
    }

    fn trained() -> Vec<u8> {
        let training = Training { size: 120, sentinels: 4, rarest_character: 2 };
        train(texts().iter().map(String::as_str), training).unwrap()
    }

    #[test]
    fn training_is_deterministic() {
        let first = trained();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        for _ in 0..3 {
            assert!(pool.install(trained) == first);
        }
        let mut turned = texts();
        turned.reverse();
        let training = Training { size: 120, sentinels: 4, rarest_character: 2 };
        assert!(train(turned.iter().map(String::as_str), training).unwrap() == first, "the order of texts counts");
    }

    #[test]
    fn training_is_deterministic_where_many_characters_are_forced() {
        // Every character is in one word of its own kind, so that few of them keep a piece.
        let word = |i: u32| ["shore", "river", "boat"].map(|w| format!("{w}{}", char::from_u32(0x3b1 + i).unwrap()));
        let texts: Vec<String> = (0..50).flat_map(word).collect();
        let training = Training { size: 76, sentinels: 4, rarest_character: 1 };
        let first = train(texts.iter().map(String::as_str), training).unwrap();
        for _ in 0..10 {
            assert!(train(texts.iter().map(String::as_str), training).unwrap() == first);
        }
    }

    #[test]
    fn a_trained_tokenizer_has_the_ids_of_t5() {
        let tokens = Tokens::from_json(&trained(), EOS).unwrap();
        assert_eq!(tokens.size(), 120);
        assert_eq!(["<pad>", "</s>", "<unk>"].map(|piece| tokens.id(piece)), [Some(0), Some(1), Some(2)]);
        assert_eq!(tokens.sentinels(), [119, 118, 117, 116]);
        assert_eq!(tokens.piece(119).as_deref(), Some("<extra_id_0>"));
        let ids = tokens.encode("bato  ristax\tlu quing ", 100).unwrap();
        assert_eq!(ids.last(), Some(&EOS));
        assert_eq!(tokens.decode(&ids).unwrap(), "bato ristax lu quing");
        assert!(tokens.encode("bato ristax lu quing", 4).unwrap().ends_with(&[EOS]));
        assert_eq!(tokens.encode("bato ristax lu quing", 4).unwrap().len(), 4);
    }

    #[test]
    fn texts_without_words_are_refused() {
        let training = Training { size: 100, sentinels: 4, rarest_character: 2 };
        let error = train(["", "  \t"].into_iter(), training).unwrap_err().to_string();
        assert!(error.contains("no words"), "{error}");
    }

    /// The trained tokenizer as JSON, edited.
    fn edited(edit: impl FnOnce(&mut Value)) -> Result<Tokens> {
        let mut json = serde_json::from_slice(&trained()).unwrap();
        edit(&mut json);
        Tokens::from_json(&serde_json::to_vec(&json).unwrap(), EOS)
    }

    #[track_caller]
    fn refused(tokens: Result<Tokens>, message: &str) {
        let error = tokens.err().unwrap_or_else(|| panic!("not refused: {message}")).to_string();
        assert!(error.contains(message) && error.lines().count() == 1, "{error}");
    }

    const TEXT: &str = "bato ristax lu quing bato ristax lu quing";

    #[test]
    fn truncation_and_padding_of_a_file_are_left_out() {
        let plain = edited(|_| ()).unwrap().encode(TEXT, 100).unwrap();
        let truncation = json!({"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0});
        let padding = json!({"strategy": {"Fixed": 1_000_000_000}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
                             "pad_type_id": 0, "pad_token": "<pad>"});
        for (field, value) in [("truncation", truncation), ("padding", padding)] {
            for value in [value, json!({"strategy": "unheard of"})] {
                let tokens = edited(|json| json[field] = value).unwrap();
                assert_eq!(tokens.encode(TEXT, 100).unwrap(), plain, "{field}");
            }
        }
    }

    #[test]
    fn sentinels_are_read_and_control_tokens_are_text() {
        let tokens = Tokens::from_json(&trained(), EOS).unwrap();
        let [a, b] = ["bato", "ri"].map(|text| tokens.pieces(text).unwrap());
        assert_eq!(tokens.pieces("bato <extra_id_0> ri<extra_id_3>").unwrap(), [&a[..], &[119], &b, &[116]].concat());
        for text in ["</s>", "<pad>", "<unk>", "ba</s>to <pad>", "<extra_id_4>"] {
            let ids = tokens.pieces(text).unwrap();
            assert!(!ids.iter().any(|id| [0, 1].contains(id) || *id >= 116), "{text}: {ids:?}");
        }
        assert_eq!(tokens.decode(&[&a[..], &[119, 0], &b].concat()).unwrap(), "bato ri");
        // Eos and the unknown token need no mark for that.
        let unmarked = edited(|json| {
            for at in [1, 2] {
                json["added_tokens"][at]["special"] = false.into();
            }
        });
        assert_eq!(unmarked.unwrap().pieces("ba</s>to <unk>").unwrap(), tokens.pieces("ba</s>to <unk>").unwrap());
    }

    #[test]
    fn what_a_post_processor_adds_beside_the_closing_eos_is_refused() {
        let template = |single: &[&str]| {
            let item = |token: &&str| match *token {
                "$A" => json!({"Sequence": {"id": "A", "type_id": 0}}),
                token => json!({"SpecialToken": {"id": token, "type_id": 0}}),
            };
            let token = |name: &str, id: u32| json!({"id": name, "ids": [id], "tokens": [name]});
            let single: Vec<Value> = single.iter().map(item).collect();
            let tokens = json!({"</s>": token("</s>", 1), "<unk>": token("<unk>", 2), "<pad>": token("<pad>", 0)});
            json!({"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": tokens})
        };
        let with = |post_processor: Value| edited(|json| json["post_processor"] = post_processor);
        for ends in [&["$A", "</s>"][..], &["$A"]] {
            assert_eq!(
                with(template(ends)).unwrap().encode("bato", 9).unwrap(),
                edited(|_| ()).unwrap().encode("bato", 9).unwrap()
            );
        }
        assert!(with(Value::Null).is_ok() && with(json!({"type": "Sequence", "processors": []})).is_ok());
        for ends in [&["<unk>", "$A", "</s>"][..], &["$A", "<pad>"], &["</s>", "$A"], &["$A", "</s>", "</s>"]] {
            let error =
                with(template(ends)).err().map_or_else(|| format!("{ends:?} is taken"), |error| error.to_string());
            assert!(error.contains("`post_processor` makes `"), "{error}");
        }
        refused(
            with(template(&["<unk>", "$A", "</s>"])),
            "makes `<unk> ▁ a </s>` of the text `a`, expected `▁ a </s>` or",
        );
        let bert = json!({"type": "BertProcessing", "sep": ["</s>", 1], "cls": ["<unk>", 2]});
        refused(with(bert), "`post_processor` makes `<unk> ");
        // A template that names a token which it does not describe.
        let mut broken = template(&["$A", "</s>"]);
        broken["special_tokens"] = json!({});
        refused(with(broken), "tokenizer: ");
    }

    #[test]
    fn an_added_token_must_have_the_id_that_it_says() {
        let tokens = edited(|json| json["added_tokens"][3]["id"] = 40.into());
        refused(tokens, "says it has the id 40, but by its place it has 116");
    }

    #[test]
    fn files_that_are_cut_off_or_damaged_are_refused_in_one_line() {
        let whole = trained();
        for end in (0..whole.len()).step_by(23) {
            refused(Tokens::from_json(&whole[..end], EOS), "the file is cut off at line ");
        }
        refused(Tokens::from_json(b"[]", EOS), "not a JSON object");
        refused(Tokens::from_json(b"{]", EOS), "the file is damaged, or not JSON");
        refused(Tokens::from_json(b"version https://git-lfs.github.com/spec/v1\n", EOS), "Git LFS pointer");
        for part in ["decoder", "normalizer", "pre_tokenizer", "post_processor", "model", "added_tokens"] {
            for wrong in [
                json!(5),
                json!([]),
                json!({"type": "Unheard"}),
                json!({"type": "Sequence"}),
                json!("text"),
                json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
            ] {
                let tokens = edited(|json| json[part] = wrong.clone());
                if let Err(error) = tokens {
                    let error = error.to_string();
                    assert!(error.starts_with("tokenizer: ") && error.lines().count() == 1, "{part} {wrong}: {error}");
                }
            }
        }
        assert!(edited(|json| json["model"]["vocab"][9][0] = "a".repeat(4096).into()).is_ok());
        let long = "a".repeat(1_000_000);
        refused(edited(|json| json["model"]["vocab"][9][0] = long.into()), "has 1000000 bytes, expected at most 4096");
    }

    #[derive(Deserialize)]
    struct Golden {
        lines: Vec<(String, Vec<u32>, Vec<u32>)>,
    }

    fn golden(name: &str) -> Vec<u8> {
        fs_err::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/spiece").join(name)).unwrap()
    }

    /// Ways to write a SentencePiece model as `tokenizer.json`, of several versions of Hugging Face's converter.
    fn clothes(json: &Value) -> Vec<Value> {
        let map = json["normalizer"]["normalizers"][0].clone();
        let metaspace = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true});
        let older = json!({"type": "Metaspace", "replacement": "▁", "str_rep": "▁", "add_prefix_space": true});
        let split =
            |metaspace: &Value| json!({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]});
        let join = json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"});
        let strip = json!({"type": "Strip", "strip_left": false, "strip_right": true});
        let several = json!({"type": "Sequence", "normalizers": [map, strip, join]});
        let mut all = vec![json.clone()];
        for (normalizer, pre_tokenizer) in [(&map, split(&metaspace)), (&map, split(&older)), (&several, metaspace)] {
            let mut other = json.clone();
            (other["normalizer"], other["pre_tokenizer"]) = (normalizer.clone(), pre_tokenizer);
            all.push(other);
        }
        all
    }

    #[test]
    fn combining_marks_control_characters_and_ties_have_the_ids_of_sentencepiece() {
        let lines = serde_json::from_slice::<Golden>(&golden("marks.json")).unwrap().lines;
        assert!(lines.len() > 1000);
        let json = sentencepiece::to_tokenizer_json(&golden("marks.model"), 0).unwrap();
        for json in clothes(&serde_json::from_slice(&json).unwrap()) {
            let tokens = Tokens::from_json(&serde_json::to_vec(&json).unwrap(), EOS).unwrap();
            for (text, ids, _) in &lines {
                assert_eq!(&tokens.pieces(text).unwrap(), ids, "{text:?}");
            }
        }
    }

    #[test]
    fn combining_marks_control_characters_and_ties_have_the_ids_of_t5() {
        let lines = serde_json::from_slice::<Golden>(&golden("marks.json")).unwrap().lines;
        let Some(tokens) = t5() else { return };
        for (text, _, ids) in &lines {
            assert_eq!(&tokens.pieces(text).unwrap(), ids, "{text:?}");
        }
    }

    /// Beside another normaliser a map is read by the crate's machinery, which must lose no marks either.
    #[test]
    fn a_map_among_other_normalisers_loses_no_marks() {
        let json = sentencepiece::to_tokenizer_json(&golden("marks.model"), 0).unwrap();
        let mut json: Value = serde_json::from_slice(&json).unwrap();
        let parts = json["normalizer"]["normalizers"].as_array_mut().unwrap();
        parts.push(json!({"type": "Prepend", "prepend": ""}));
        let tokens = Tokens::from_json(&serde_json::to_vec(&json).unwrap(), EOS).unwrap();
        assert!(tokens.file.unigram.is_none());
        let lines = serde_json::from_slice::<Golden>(&golden("marks.json")).unwrap().lines;
        // Of the others the crate breaks ties in another way.
        let marked = lines.iter().filter(|(text, ..)| text.chars().any(|c| ('\u{300}'..'\u{1200}').contains(&c)));
        let mut texts = 0;
        for (text, ids, _) in marked {
            assert_eq!(&tokens.pieces(text).unwrap(), ids, "{text:?}");
            texts += 1;
        }
        assert!(texts > 700, "{texts}");
    }

    #[test]
    fn a_sentinel_opens_no_word_where_only_the_first_part_has_a_space() {
        let model = golden("marks.model");
        let mut json: Value =
            serde_json::from_slice(&sentencepiece::to_tokenizer_json(&model, 10_000).unwrap()).unwrap();
        json["pre_tokenizer"]["prepend_scheme"] = "first".into();
        let first = Tokens::from_json(&serde_json::to_vec(&json).unwrap(), EOS).unwrap();
        let every = Tokens::from_json(&sentencepiece::to_tokenizer_json(&model, 10_000).unwrap(), EOS).unwrap();
        let pieces = |tokens: &Tokens, text| -> Vec<String> {
            tokens.pieces(text).unwrap().into_iter().map(|id| tokens.piece(id).unwrap()).collect()
        };
        assert_eq!(pieces(&first, "m<extra_id_0>m"), ["▁m", "<extra_id_0>", "m"]);
        assert_eq!(pieces(&every, "m<extra_id_0>m"), ["▁m", "<extra_id_0>", "▁m"]);
    }
}
