//! Text to token ids and back, with Hugging Face's tokenizers.

use super::error::{Error, Result};
use std::collections::BTreeMap;
use tokenizers::models::unigram::{Unigram, UnigramTrainer};
use tokenizers::normalizers::{NFKC, Replace, Sequence, Strip};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{
    AddedToken, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
    Tokenizer,
};

/// A tokenizer, and the ids that T5 gives a meaning.
pub struct Tokens {
    inner: Tokenizer,
    size: usize,
    eos: u32,
}

impl Tokens {
    /// Reads a `tokenizer.json`. `eos` is the id that ends a text, by the model's configuration.
    ///
    /// Text of a data set that looks like a special token (`</s>`) is treated as text, as SentencePiece does.
    pub fn from_json(json: &[u8], eos: u32) -> Result<Self> {
        let mut inner = Tokenizer::from_bytes(json).map_err(|error| Error::Tokenizer(error.to_string()))?;
        let size = inner.get_vocab_size(true);
        inner.set_encode_special_tokens(true);
        hide_special_pieces(&mut inner)?;
        Ok(Self { inner, size, eos })
    }

    /// Number of ids, which a model's embedding must have as rows.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The id that ends a text.
    pub fn eos(&self) -> u32 {
        self.eos
    }

    /// The pieces of a text, without a closing eos.
    pub fn pieces(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false).map_err(|error| Error::Tokenizer(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The pieces of a text, cut so that with the closing eos there are at most `longest` ids (seqio's
    /// `append_eos_after_trim`).
    pub fn encode(&self, text: &str, longest: usize) -> Result<Vec<u32>> {
        let mut ids = self.pieces(text)?;
        ids.truncate(longest.saturating_sub(1));
        ids.push(self.eos);
        Ok(ids)
    }

    /// The text of ids up to the first eos, without special tokens.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        let end = ids.iter().position(|id| *id == self.eos).unwrap_or(ids.len());
        self.inner.decode(&ids[..end], true).map_err(|error| Error::Tokenizer(error.to_string()))
    }

    /// The piece with this id.
    pub fn piece(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The id of a piece.
    pub fn id(&self, piece: &str) -> Option<u32> {
        self.inner.token_to_id(piece)
    }

    /// Ids of `<extra_id_0>`, `<extra_id_1>` and so on, as many as there are.
    pub fn sentinels(&self) -> Vec<u32> {
        (0..).map_while(|i| self.id(&format!("<extra_id_{i}>"))).collect()
    }
}

/// Makes the special tokens unreachable for text.
///
/// They are pieces of the model too, with the best score of all, so `</s>` in a data set would end the text even though
/// it is not split off as a special token. A name with a space, which text never has once spaces are `▁`, hides them; ids
/// keep their meaning, as special tokens have a table of their own.
fn hide_special_pieces(inner: &mut Tokenizer) -> Result<()> {
    let failed = |error: serde_json::Error| Error::Tokenizer(error.to_string());
    let mut model = serde_json::to_value(inner.get_model()).map_err(failed)?;
    if model.get("type").is_none_or(|name| name != "Unigram") {
        return Ok(());
    }
    for (id, _) in inner.get_added_tokens_decoder().into_iter().filter(|(_, token)| token.special) {
        if let Some(name) = model.pointer_mut(&format!("/vocab/{id}/0")) {
            *name = format!("special piece {id}").into();
        }
    }
    let model: tokenizers::ModelWrapper = serde_json::from_value(model).map_err(failed)?;
    inner.with_model(model);
    Ok(())
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
    use serde::Deserialize;
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
        /// Without eos.
        sp_ids: Vec<u32>,
    }

    #[test]
    fn odd_text_has_the_ids_of_sentencepiece() {
        let (Some(tokens), Some(vectors)) = (t5(), shared("vectors-edge.jsonl")) else { return };
        let vectors: Vec<Edge> = vectors.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(vectors.len(), 255);
        for Edge { text, sp_ids } in &vectors {
            assert_eq!(&tokens.pieces(text).unwrap(), sp_ids, "{text:?}");
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

    #[test]
    fn text_that_looks_special_is_text() {
        let tokens = Tokens::from_json(&trained(), EOS).unwrap();
        for text in ["ba</s>to", "<pad>", "bato <extra_id_0> lu", "<unk>"] {
            let ids = tokens.pieces(text).unwrap();
            let special = |id: &u32| [0, EOS, 116, 117, 118, 119].contains(id);
            assert!(!ids.iter().any(special), "{text}: {ids:?}");
        }
    }
}
