//! What an input says, whatever its template puts around it: by this the same text is found in two data sets.

use crate::braces::{Braces, Piece};
use tokenizers::NormalizedString;

/// A template, taken apart for finding what filled it.
#[derive(Clone, Debug)]
pub struct Content {
    /// The texts around the holes, one more than there are holes; none if no text was ever filled into it.
    around: Vec<String>,
}

impl Content {
    /// For inputs of this template; one that nobody can read leaves inputs whole.
    pub fn of(template: &str) -> Self {
        let mut around = vec![String::new()];
        for piece in Braces::parse(template).iter().flat_map(Braces::pieces) {
            match piece {
                Piece::Text(text) => around.last_mut().expect("there is one from the beginning").push_str(text),
                Piece::Name(_) => around.push(String::new()),
            }
        }
        Self { around }
    }

    /// A digest of what an input says: of the values that fill its template, in any order, without regard to case, white space and
    /// the form in which Unicode writes a character. Inputs that do not fit the template are taken whole.
    pub fn digest(&self, input: &str) -> u64 {
        let values = self.values(input).unwrap_or_else(|| vec![input]);
        let mut values: Vec<String> = values.into_iter().map(plain).filter(|value| !value.is_empty()).collect();
        values.sort_unstable();
        let mut hasher = blake3::Hasher::new_derive_key("spot content of an input v1");
        for value in &values {
            hasher.update(&(value.len() as u64).to_le_bytes()).update(value.as_bytes());
        }
        let mut digest = [0; 8];
        hasher.finalize_xof().fill(&mut digest);
        u64::from_le_bytes(digest)
    }

    /// What fills the holes, each up to the first place where the text behind it stands; `None` if the input does not fit.
    fn values<'i>(&self, input: &'i str) -> Option<Vec<&'i str>> {
        let (first, others) = self.around.split_first()?;
        let (last, between) = others.split_last()?;
        let mut rest = input.strip_prefix(first.as_str())?;
        let mut values = Vec::with_capacity(others.len());
        for text in between {
            let (value, behind) = rest.split_once(text.as_str())?;
            values.push(value);
            rest = behind;
        }
        values.push(rest.strip_suffix(last.as_str())?);
        Some(values)
    }
}

fn plain(text: &str) -> String {
    let composed = (!text.is_ascii()).then(|| {
        let mut text = NormalizedString::from(text);
        text.nfc();
        text.get().to_lowercase()
    });
    let lower = composed.unwrap_or_else(|| text.to_ascii_lowercase());
    let mut joined = String::with_capacity(lower.len());
    for word in lower.split_whitespace() {
        joined.extend((!joined.is_empty()).then_some(' '));
        joined.push_str(word);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    const GLUE: &str = "rte sentence1: {sentence1} sentence2: {sentence2}";
    const SUPERGLUE: &str = "rte hypothesis: {hypothesis} premise: {premise}";

    #[test]
    fn the_same_text_is_found_behind_other_words_and_in_another_order() {
        let [glue, superglue] = [GLUE, SUPERGLUE].map(Content::of);
        let one = glue.digest("rte sentence1: It rains. sentence2: It  pours\u{a0}.");
        assert_eq!(superglue.digest("rte hypothesis: it pours . premise: It RAINS."), one);
        assert_ne!(superglue.digest("rte hypothesis: it pours . premise: It snows."), one);
        // Values are framed: a text that moves from one to the other is another.
        assert_ne!(superglue.digest("rte hypothesis: it premise: pours . It RAINS."), one);
        assert_eq!(Content::of("{text}").digest("cafe\u{301} ÄRGER"), Content::of("t {x}!").digest("t café ärger!"));
    }

    #[test]
    fn what_does_not_fit_is_taken_whole() {
        let whole = Content::of("{text}").digest("It rains.");
        for template in ["rte {a}", "{a} b: {c}", "no hole", "{broken", "", "{a}{{"] {
            assert_eq!(Content::of(template).digest("It rains."), whole, "{template}");
        }
        assert_eq!(Content::of("{{{a}}} {b}").digest("{It} rains."), Content::of("{b}, {a}").digest("rains., It"));
    }
}
