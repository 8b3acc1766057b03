//! SentencePiece's way from a text to ids of a Unigram model (Kudo 2018), to the last bit of its scores.
//!
//! The `tokenizers` crate differs from SentencePiece in two places, so both are done here: its reader of the map of characters
//! loses combining marks ([`Charsmap`]), and it adds scores word by word in f64, where SentencePiece adds those of the whole
//! text in f32. Pieces that can be cut in two equally good ways (`mmm` as `m mm` or `mm m`) come out as the rounding has it.

use super::charsmap::Charsmap;
use super::trie::Trie;

/// What stands for a space in pieces.
pub(super) const SPACE: char = '▁';
/// By how much an unknown character is worse than the worst piece.
const UNKNOWN_PENALTY: f32 = 10.0;

/// A Unigram model with its normaliser.
#[derive(Debug)]
pub(super) struct Unigram {
    map: Option<Charsmap>,
    trie: Trie,
    /// Of all ids; those of special tokens are never looked at.
    scores: Vec<f32>,
    unknown: u32,
    unknown_score: f32,
    opening: Opening,
}

/// Which parts of a text get a space in front, if special tokens cut it into parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// All of them.
    Every,
    /// The one with which the text begins.
    First,
}

/// The best way to the end of some character.
#[derive(Clone, Copy)]
struct Path {
    score: f32,
    /// Its last piece, and how many bytes that has.
    piece: u32,
    length: u32,
}

impl Unigram {
    /// The model of these pieces, whose ids are their places; `None` for those that no text has.
    pub(super) fn new(pieces: &[Option<(&str, f32)>], unknown: u32, map: Option<Charsmap>, opening: Opening) -> Self {
        let known = pieces.iter().zip(0..).filter_map(|(piece, id)| Some((piece.as_ref()?.0.as_bytes(), id)));
        let scores: Vec<f32> = pieces.iter().map(|piece| piece.map_or(0.0, |(_, score)| score)).collect();
        let worst = pieces.iter().flatten().map(|(_, score)| *score).fold(f32::MAX, f32::min);
        Self { map, trie: Trie::new(known.collect()), scores, unknown, unknown_score: worst - UNKNOWN_PENALTY, opening }
    }

    /// Appends the ids of a part of a text; `opens` is whether the text begins with it.
    pub(super) fn encode(&self, part: &str, opens: bool, ids: &mut Vec<u32>) {
        let normalized = self.normalize(part, opens || self.opening == Opening::Every);
        let first = ids.len();
        for id in self.best(&normalized) {
            // Unknown characters in a row are one id.
            if id != self.unknown || ids.len() == first || ids.last() != Some(&id) {
                ids.push(id);
            }
        }
    }

    /// The text as pieces are found in it: characters mapped, runs of spaces as one `▁`, none at the end, and one in front
    /// where the part is `opened`.
    fn normalize(&self, mut text: &str, opened: bool) -> String {
        let mut out = String::with_capacity(text.len() + SPACE.len_utf8());
        out.extend(opened.then_some(SPACE));
        let mut after_space = opened;
        while let Some(first) = text.chars().next() {
            let (same, rest) = text.split_at(self.unchanged(text));
            if !same.is_empty() {
                out.push_str(same);
                (text, after_space) = (rest, false);
                continue;
            }
            let mapped = self.map.as_ref().and_then(|map| map.longest(text));
            let (length, mut to) = mapped.unwrap_or((first.len_utf8(), &text[..first.len_utf8()]));
            text = &text[length..];
            if after_space {
                to = to.trim_start_matches(' ');
            }
            if !to.is_empty() {
                out.extend(to.chars().map(|c| if c == ' ' { SPACE } else { c }));
                after_space = to.ends_with(' ');
            }
        }
        // A `▁` of the text itself counts as a space here, and only here.
        out.truncate(out.trim_end_matches(SPACE).len());
        out
    }

    /// How many bytes in front of a text are no spaces and stay as they are by a look at each alone, as most do.
    fn unchanged(&self, text: &str) -> usize {
        let stays =
            |byte: &u8| byte.is_ascii() && *byte != b' ' && self.map.as_ref().is_none_or(|map| map.stays(*byte));
        let count = text.bytes().take_while(stays).count();
        // A rule may be for the last one together with what is behind it.
        let is_open = text.as_bytes().get(count).is_some_and(|next| !next.is_ascii());
        count.saturating_sub(usize::from(is_open))
    }

    /// The pieces whose scores have the largest sum. Candidates are compared in f64 with what is kept in f32, and the first of
    /// equals stays.
    fn best(&self, text: &str) -> Vec<u32> {
        let mut paths: Vec<Option<Path>> = vec![None; text.len() + 1];
        for (from, first) in text.char_indices() {
            let before = paths[from].map_or(0.0, |path| path.score);
            let mut offer = |length: usize, piece: u32, score: f32| {
                let path = &mut paths[from + length];
                if path.is_none_or(|path| score > path.score) {
                    *path = Some(Path { score, piece, length: length as u32 });
                }
            };
            let mut known = false;
            for (length, piece) in self.trie.prefixes(&text.as_bytes()[from..]) {
                let score = self.scores[piece as usize];
                offer(length, piece, score + before);
                known |= length == first.len_utf8();
            }
            if !known {
                offer(first.len_utf8(), self.unknown, self.unknown_score + before);
            }
        }
        // Text has some four bytes a piece.
        let mut pieces = Vec::with_capacity(text.len() / 3);
        let mut end = text.len();
        while let Some(path) = paths[end] {
            pieces.push(path.piece);
            end -= path.length as usize;
        }
        pieces.reverse();
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(opening: Opening) -> Unigram {
        let pieces = [("▁", -2.0), ("a", -3.0), ("▁a", -2.5), ("b", -3.5), (".", -3.0)];
        let pieces: Vec<_> = [None].into_iter().chain(pieces.map(Some)).collect();
        Unigram::new(&pieces, 0, None, opening)
    }

    fn ids(model: &Unigram, text: &str, opens: bool) -> Vec<u32> {
        let mut ids = Vec::new();
        model.encode(text, opens, &mut ids);
        ids
    }

    #[test]
    fn spaces_are_one_and_unknown_characters_are_one() {
        let model = model(Opening::Every);
        assert_eq!(ids(&model, "  a   b  ", true), [3, 1, 4]);
        assert_eq!(ids(&model, "xyz a", true), [1, 0, 3]);
        assert_eq!(ids(&model, "a xy▁", true), [3, 1, 0]);
        assert_eq!((ids(&model, "", true), ids(&model, "  ", true)), (vec![], vec![]));
    }

    #[test]
    fn a_later_part_gets_a_space_where_every_part_does() {
        assert_eq!(ids(&model(Opening::Every), ".", false), [1, 5]);
        let first = model(Opening::First);
        assert_eq!((ids(&first, ".", true), ids(&first, ".", false)), (vec![1, 5], vec![5]));
        assert_eq!(ids(&first, "  a", false), [3], "its own space stays");
    }
}
