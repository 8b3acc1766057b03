//! The normalisers of a `tokenizer.json`: those of the `tokenizers` crate, but for the map of characters.

use super::charsmap::Charsmap;
use crate::ml::error::{Error, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tokenizers::{NormalizedString, NormalizerWrapper};

/// A normaliser as a `tokenizer.json` describes it.
#[derive(Clone, Debug)]
pub(super) enum Normalizer {
    /// `Precompiled`, which takes the longest rule, as SentencePiece does.
    Map(Charsmap),
    /// One after the other.
    Sequence(Vec<Self>),
    /// Any other.
    Theirs(Box<NormalizerWrapper>),
}

/// What [`Normalizer`] looks at by itself.
#[derive(Deserialize)]
struct Described {
    r#type: Option<String>,
    #[serde(default)]
    normalizers: Vec<Value>,
    precompiled_charsmap: Option<String>,
}

impl<'de> Deserialize<'de> for Normalizer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let described = Described::deserialize(&value).map_err(D::Error::custom)?;
        match (described.r#type.as_deref(), described.precompiled_charsmap) {
            (Some("Precompiled") | None, Some(map)) => read_map(&map).map(Self::Map).map_err(D::Error::custom),
            (Some("Sequence"), _) => {
                let parts =
                    described.normalizers.into_iter().map(Self::deserialize).collect::<std::result::Result<_, _>>();
                parts.map(Self::Sequence).map_err(D::Error::custom)
            }
            _ => NormalizerWrapper::deserialize(value)
                .map(|theirs| Self::Theirs(Box::new(theirs)))
                .map_err(D::Error::custom),
        }
    }
}

/// A map of characters as JSON holds it.
///
/// # Errors
/// If it is not base64, or not a map of characters.
pub(super) fn read_map(base64: &str) -> Result<Charsmap> {
    let bytes = BASE64_STANDARD.decode(base64);
    Charsmap::read(&bytes.map_err(|error| Error::Tokenizer(format!("`precompiled_charsmap`: {error}")))?)
}

impl tokenizers::Normalizer for Normalizer {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        match self {
            Self::Map(map) => {
                map_characters(map, text);
                Ok(())
            }
            Self::Sequence(parts) => parts.iter().try_for_each(|part| part.normalize(text)),
            Self::Theirs(theirs) => theirs.normalize(text),
        }
    }
}

/// Maps the characters of a text that keeps track of where they came from: to each new character belongs how many of the old
/// ones behind it are gone (negative), or that it is one more (1).
fn map_characters(map: &Charsmap, text: &mut NormalizedString) {
    let old = text.get().to_owned();
    let mut rest = old.as_str();
    let (mut new, mut gone_first): (Vec<(char, isize)>, usize) = (Vec::new(), 0);
    while let Some(first) = rest.chars().next() {
        let (length, to) = map.longest(rest).unwrap_or((first.len_utf8(), &rest[..first.len_utf8()]));
        let before = rest[..length].chars().count();
        rest = &rest[length..];
        let after = to.chars().count();
        new.extend(to.chars().enumerate().map(|(at, c)| (c, isize::from(at >= before))));
        let gone = before.saturating_sub(after);
        match new.last_mut() {
            Some((_, change)) => *change -= gone as isize,
            None => gone_first += gone,
        }
    }
    text.transform(new, gone_first);
}
