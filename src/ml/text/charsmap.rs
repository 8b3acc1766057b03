//! SentencePiece's compiled map of characters, `precompiled_charsmap`: what a text is rewritten by before it is cut into pieces.
//!
//! It is a double array (Aoe 1989) of 4-byte units behind its size in bytes, and then the texts that its leaves point to, each
//! ended by NUL. The reader of the `tokenizers` crate takes the first rule that fits a grapheme, so that of `e` with two marks
//! the second is lost; SentencePiece, and this reader, take the longest.

use crate::ml::error::{Error, Result};

/// A map that was checked: no text leads out of it.
#[derive(Clone, Debug)]
pub(in crate::ml) struct Charsmap {
    units: Vec<u32>,
    texts: String,
    /// For every byte of ASCII whether no rule fits a text that begins with it and goes on in ASCII.
    stays: [bool; 128],
}

/// Says that a unit is a leaf, whose other bits are a place among the texts.
const LEAF: u32 = 1 << 31;

impl Charsmap {
    /// Reads a map.
    ///
    /// # Errors
    /// If it is damaged.
    pub(in crate::ml) fn read(bytes: &[u8]) -> Result<Self> {
        let broken = |what: &str| Error::Tokenizer(format!("the normaliser's map of characters is damaged ({what})"));
        let (size, rest) = bytes.split_first_chunk::<4>().ok_or_else(|| broken("it has no size"))?;
        let size = u32::from_le_bytes(*size) as usize;
        if size == 0 || !size.is_multiple_of(4) || size > rest.len() {
            return Err(broken("the size of its index is wrong"));
        }
        let (index, texts) = rest.split_at(size);
        let texts = std::str::from_utf8(texts).map_err(|_| broken("its texts are not UTF-8"))?;
        let units = index.as_chunks::<4>().0.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
        let mut map = Self { units, texts: texts.to_owned(), stays: [false; 128] };
        map.check().map_err(broken)?;
        map.stays = std::array::from_fn(|byte| map.leaves_alone(byte as u8));
        Ok(map)
    }

    /// Follows every branch once.
    fn check(&self) -> std::result::Result<(), &'static str> {
        let mut seen = vec![false; self.units.len()];
        let mut open = vec![offset(self.units[0])];
        while let Some(node) = open.pop() {
            // Whatever byte follows, its place is one of the 256 around the node.
            if (node | 0xff) >= self.units.len() {
                return Err("a branch leads out of it");
            }
            if std::mem::replace(&mut seen[node], true) {
                continue;
            }
            for byte in 1..=u8::MAX {
                let Some((next, has_leaf)) = self.step(node, byte) else { continue };
                let value = self.units.get(next).map(|leaf| (leaf & !LEAF) as usize);
                if has_leaf && !value.is_some_and(|at| self.texts.is_char_boundary(at)) {
                    return Err("a leaf points to no text");
                }
                open.push(next);
            }
        }
        Ok(())
    }

    /// The node behind `byte`, and whether a rule ends there.
    fn step(&self, node: usize, byte: u8) -> Option<(usize, bool)> {
        let place = node ^ usize::from(byte);
        let unit = self.units[place];
        (unit & (LEAF | 0xff) == u32::from(byte)).then(|| (place ^ offset(unit), unit >> 8 & 1 == 1))
    }

    /// Whether no rule is for a byte of ASCII, or begins with it and another one.
    fn leaves_alone(&self, byte: u8) -> bool {
        let next = self.step(offset(self.units[0]), byte).filter(|_| byte != 0);
        next.is_none_or(|(node, ends)| !ends && (1..128).all(|second| self.step(node, second).is_none()))
    }

    /// Whether no rule fits a text that begins with this byte of ASCII and goes on in ASCII, or not at all.
    pub(super) fn stays(&self, byte: u8) -> bool {
        self.stays[usize::from(byte)]
    }

    /// The longest beginning of `text` that a rule is for: its length in bytes, and what becomes of it.
    pub(super) fn longest(&self, text: &str) -> Option<(usize, &str)> {
        let (mut node, mut found) = (offset(self.units[0]), None);
        for (at, byte) in text.bytes().enumerate() {
            // Rules have no NUL.
            let Some((next, ends)) = self.step(node, byte).filter(|_| byte != 0) else { break };
            node = next;
            if ends && text.is_char_boundary(at + 1) {
                found = Some((at + 1, node));
            }
        }
        let (length, leaf) = found?;
        let rest = &self.texts[(self.units[leaf] & !LEAF) as usize..];
        Some((length, rest.split_once('\0').map_or(rest, |(text, _)| text)))
    }
}

fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(units: &[u32], texts: &[u8]) -> Vec<u8> {
        let index: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        [&u32::try_from(index.len()).unwrap().to_le_bytes()[..], &index, texts].concat()
    }

    /// The root's children are at their own bytes; `a` has a leaf, which points to `b`, and so has `ab`, to `x`.
    fn units() -> Vec<u32> {
        let mut units = vec![0x8000_0000_u32; 512];
        units[0] = 0;
        // Behind `a` is the node 256, whose leaf is there, and whose child `b` has its leaf at 257.
        let a = usize::from(b'a');
        units[a] = u32::from(b'a') | 1 << 8 | u32::try_from(a ^ 256).unwrap() << 10;
        units[256] = LEAF | 2;
        let b = 256 ^ usize::from(b'b');
        units[b] = u32::from(b'b') | 1 << 8 | u32::try_from(b ^ 257).unwrap() << 10;
        units[257] = LEAF;
        units
    }

    #[test]
    fn the_longest_rule_is_taken() {
        let map = Charsmap::read(&bytes(&units(), b"x\0b\0")).unwrap();
        assert_eq!(map.longest("abc"), Some((2, "x")));
        assert_eq!(map.longest("ac"), Some((1, "b")));
        assert_eq!((map.longest("ca"), map.longest(""), map.longest("\0a")), (None, None, None));
        assert_eq!(map.longest("a\0b"), Some((1, "b")));
        assert!(!map.stays(b'a') && map.stays(b'b') && map.stays(0));
    }

    #[test]
    fn maps_that_lead_out_of_themselves_are_refused() {
        let mut units = units();
        let refused = |units: &[u32], texts: &[u8], what: &str| {
            let error = Charsmap::read(&bytes(units, texts)).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        };
        refused(&units, b"x", "a leaf points to no text");
        refused(&units[..511], b"x\0b\0", "a branch leads out of it");
        refused(&units, b"\xff", "not UTF-8");
        refused(&[], b"", "size of its index");
        units[usize::from(b'a')] = u32::from(b'a') | (1000 << 10);
        refused(&units, b"x\0b\0", "a branch leads out of it");
        assert!(Charsmap::read(&[]).is_err() && Charsmap::read(&[255; 8]).is_err());
    }
}
