//! Pieces by their bytes, for all of them that a text begins with.

/// A prefix tree as a double array (Aoe 1989): what is behind a byte is found by one look into memory.
#[derive(Debug)]
pub(super) struct Trie {
    /// Blocks of 256 places, the root at the first of all.
    places: Vec<Place>,
}

/// A node, or a place where there is none.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The node in front; [`FREE`] where there is no node, [`NOBODY`] in front of the root.
    parent: u32,
    /// The node behind a byte is at `base ^ byte`, if its `parent` is this one.
    base: u32,
    /// The piece that ends here.
    piece: Option<u32>,
}

/// The parent of no node.
const FREE: u32 = u32::MAX;

/// The parent of the root.
const NOBODY: u32 = FREE - 1;

/// Places of a block.
const BLOCK: usize = 256;

/// Blocks at the end in which room is looked for: what is free in front of them stays free, so that no search is long.
const OPEN: usize = 4;

impl Trie {
    /// The tree of these pieces; of two with the same bytes the last counts. There are far fewer than 2³² bytes in all.
    pub(super) fn new(mut pieces: Vec<(&[u8], u32)>) -> Self {
        pieces.sort_unstable();
        let mut trie = Self { places: Vec::new() };
        trie.grow();
        trie.places[0].parent = NOBODY;
        let mut first_free = 1;
        // Breadth first: a node, the pieces that begin with it, and how long it is.
        let mut open = std::collections::VecDeque::from([(0, 0..pieces.len(), 0)]);
        while let Some((node, mut range, depth)) = open.pop_front() {
            while range.start < range.end && pieces[range.start].0.len() == depth {
                trie.places[node].piece = Some(pieces[range.start].1);
                range.start += 1;
            }
            let mut start = range.start;
            let same_byte = pieces[range].chunk_by(|(a, _), (b, _)| a[depth] == b[depth]);
            let children: Vec<(u8, usize)> = same_byte.map(|same| (same[0].0[depth], same.len())).collect();
            if children.is_empty() {
                continue;
            }
            let base = trie.room(&children, &mut first_free);
            trie.places[node].base = u32::try_from(base).expect("fewer than 2^32 places");
            for (byte, count) in children {
                let child = base ^ usize::from(byte);
                trie.places[child].parent = node as u32;
                open.push_back((child, start..start + count, depth + 1));
                start += count;
            }
        }
        trie
    }

    /// A base at which there is room for some children; `first_free` has no free place of the open blocks in front of it.
    fn room(&mut self, children: &[(u8, usize)], first_free: &mut usize) -> usize {
        let first = usize::from(children[0].0);
        *first_free = (*first_free).max(self.places.len().saturating_sub(OPEN * BLOCK));
        let is_free = |place: &Place| place.parent == FREE;
        *first_free += self.places[*first_free..].iter().take_while(|place| !is_free(place)).count();
        let fits = |place: &usize| {
            let base = place ^ first;
            children.iter().all(|(byte, _)| is_free(&self.places[base ^ usize::from(*byte)]))
        };
        let found = (*first_free..self.places.len()).find(fits);
        found.unwrap_or_else(|| self.grow()) ^ first
    }

    /// Adds a block of free places, the first of which it returns.
    fn grow(&mut self) -> usize {
        let first = self.places.len();
        self.places.resize(first + BLOCK, Place { parent: FREE, base: 0, piece: None });
        first
    }

    /// The pieces that `text` begins with and how long they are, the shortest first.
    pub(super) fn prefixes<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = (usize, u32)> + 'a {
        let mut node = 0;
        let ends = text.iter().map_while(move |byte| {
            let next = self.places[node].base ^ u32::from(*byte);
            let place = &self.places[next as usize];
            (place.parent as usize == node).then(|| {
                node = next as usize;
                place.piece
            })
        });
        ends.enumerate().filter_map(|(at, piece)| Some((at + 1, piece?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::random::Stream;

    #[test]
    fn all_prefixes_are_found() {
        let pieces: [(&[u8], u32); 6] = [(b"ab", 1), (b"a", 0), (b"abcd", 2), (b"b", 3), (b"ab", 7), (b"\xff", 4)];
        let trie = Trie::new(pieces.to_vec());
        let found = |text: &[u8]| trie.prefixes(text).collect::<Vec<_>>();
        assert_eq!(found(b"abce"), [(1, 0), (2, 7)]);
        assert_eq!(found(b"abcd"), [(1, 0), (2, 7), (4, 2)]);
        assert_eq!(found(b"\xff"), [(1, 4)]);
        assert_eq!((found(b""), found(b"c")), (vec![], vec![]));
        assert_eq!(Trie::new(Vec::new()).prefixes(b"a").count(), 0);
    }

    #[test]
    fn prefixes_are_those_of_a_look_at_every_piece() {
        let mut stream = Stream::new(1, "prefixes");
        for (count, bytes) in [(1, 256), (300, 2), (3000, 7), (3000, 256)] {
            let mut text = |longest: usize| -> Vec<u8> {
                let length = 1 + stream.below(longest);
                (0..length).map(|_| stream.below(bytes) as u8 ^ 0xa5).collect()
            };
            let pieces: std::collections::BTreeMap<Vec<u8>, u32> = (0..count).map(|piece| (text(9), piece)).collect();
            let trie = Trie::new(pieces.iter().map(|(bytes, piece)| (&bytes[..], *piece)).collect());
            for _ in 0..300 {
                let text = text(30);
                let prefixes = (1..=text.len()).filter_map(|length| Some((length, *pieces.get(&text[..length])?)));
                assert_eq!(trie.prefixes(&text).collect::<Vec<_>>(), prefixes.collect::<Vec<_>>());
            }
        }
    }
}
