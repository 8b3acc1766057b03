//! Pieces by their bytes, for all of them that a text begins with.

use std::ops::Range;

/// A prefix tree in two arrays.
#[derive(Debug)]
pub(super) struct Trie {
    nodes: Vec<Node>,
    /// Byte and node, sorted by byte within a node.
    edges: Vec<(u8, u32)>,
}

#[derive(Clone, Debug)]
struct Node {
    /// The piece that ends here.
    piece: Option<u32>,
    edges: Range<u32>,
}

impl Trie {
    /// The tree of these pieces; of two with the same bytes the last counts. There are fewer than 2³² bytes in all.
    pub(super) fn new(mut pieces: Vec<(&[u8], u32)>) -> Self {
        pieces.sort_unstable();
        let mut trie = Self { nodes: vec![Node { piece: None, edges: 0..0 }], edges: Vec::new() };
        // Breadth first: a node, the pieces that begin with it, and how long it is.
        let mut open = std::collections::VecDeque::from([(0, 0..pieces.len(), 0)]);
        while let Some((node, mut range, depth)) = open.pop_front() {
            while range.start < range.end && pieces[range.start].0.len() == depth {
                trie.nodes[node].piece = Some(pieces[range.start].1);
                range.start += 1;
            }
            let first = trie.edges.len() as u32;
            let mut start = range.start;
            for same in pieces[range].chunk_by(|(a, _), (b, _)| a[depth] == b[depth]) {
                let next = trie.nodes.len();
                trie.nodes.push(Node { piece: None, edges: 0..0 });
                trie.edges.push((same[0].0[depth], next as u32));
                open.push_back((next, start..start + same.len(), depth + 1));
                start += same.len();
            }
            trie.nodes[node].edges = first..trie.edges.len() as u32;
        }
        trie
    }

    /// The pieces that `text` begins with and how long they are, the shortest first.
    pub(super) fn prefixes<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = (usize, u32)> + 'a {
        let mut node = &self.nodes[0];
        let ends = text.iter().map_while(move |byte| {
            let edges = &self.edges[node.edges.start as usize..node.edges.end as usize];
            let at = edges.binary_search_by_key(byte, |(label, _)| *label).ok()?;
            node = &self.nodes[edges[at].1 as usize];
            Some(node.piece)
        });
        ends.enumerate().filter_map(|(at, piece)| Some((at + 1, piece?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
