//! New inputs from known ones.

use spot::ml::random::Stream;

/// Bytes of the longest input.
pub(crate) const LONGEST: usize = 1 << 16;

/// Makes inputs of those that are known.
pub(crate) struct Mutation<'d> {
    /// What they are made from.
    pub(crate) known: Vec<Vec<u8>>,
    /// Texts that mean something to the reader.
    pub(crate) dictionary: &'d [&'d str],
}

/// Brackets that are nested deeply, with what closes them.
const NESTS: [(&str, &str); 6] = [("[", "]"), ("{\"a\":", "}"), ("{a: ", "}"), ("- ", ""), ("\"", "\""), ("${", "}")];

/// Numbers in text at which readers go wrong.
const NUMBERS: [&str; 14] = [
    "0",
    "-1",
    "1e309",
    "NaN",
    "1e-400",
    "65536",
    "2147483648",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
];

impl Mutation<'_> {
    /// An input of the stream.
    pub(crate) fn input(&self, stream: &mut Stream) -> Vec<u8> {
        let mut input = stream.choose(&self.known).clone();
        // One change, or some; a few times many.
        let changes = 1 + stream.below(4) * stream.below(3) + if stream.chance(0.02) { 30 } else { 0 };
        for _ in 0..changes {
            self.change(&mut input, stream);
            input.truncate(LONGEST);
        }
        input
    }

    fn change(&self, input: &mut Vec<u8>, stream: &mut Stream) {
        if input.is_empty() {
            input.extend_from_slice(stream.choose::<Vec<u8>>(&self.known));
        }
        if input.is_empty() {
            input.push(stream.bits() as u8);
        }
        match stream.below(16) {
            0 | 1 => flip(input, stream),
            2 => *place(input, stream) = stream.bits() as u8,
            3 => {
                *place(input, stream) =
                    *stream.choose(&[0, 1, 0x7f, 0x80, 0xff, b'\n', b'"', b',', b'\t', b' ', b'\r', 0xe2]);
            }
            4 | 5 => number(input, stream),
            6 => digits(input, stream),
            7 => input.truncate(stream.below(input.len() + 1)),
            8 => drop(input.drain(range(input, stream))),
            9 => repeat(input, stream),
            10 | 11 => self.word(input, stream),
            12 => self.splice(input, stream),
            13 => {
                let (from, to) = (range(input, stream), stream.below(input.len()));
                let part = input[from].to_vec();
                overwrite(input, to, &part);
            }
            14 => swap_lines(input, stream),
            _ => nest(input, stream),
        }
    }

    /// Puts a word of the dictionary somewhere, over what is there or before it.
    fn word(&self, input: &mut Vec<u8>, stream: &mut Stream) {
        let Some(word) = (!self.dictionary.is_empty()).then(|| stream.choose(self.dictionary).as_bytes()) else {
            return;
        };
        let at = stream.below(input.len() + 1);
        if stream.chance(0.5) { overwrite(input, at, word) } else { insert(input, at, word) }
    }

    /// The beginning of this input and the end of another, or a part of another inside this one.
    fn splice(&self, input: &mut Vec<u8>, stream: &mut Stream) {
        let other = stream.choose(&self.known);
        if other.is_empty() {
            return;
        }
        let at = stream.below(input.len() + 1);
        if stream.chance(0.5) {
            input.truncate(at);
            input.extend_from_slice(&other[stream.below(other.len())..]);
        } else {
            insert(input, at, &other[range(other, stream)]);
        }
    }
}

fn flip(input: &mut [u8], stream: &mut Stream) {
    let bit = 1 << stream.below(8);
    *place(input, stream) ^= bit;
}

fn place<'i>(input: &'i mut [u8], stream: &mut Stream) -> &'i mut u8 {
    let at = stream.below(input.len());
    &mut input[at]
}

/// Some of the bytes, seldom many.
fn range(input: &[u8], stream: &mut Stream) -> std::ops::Range<usize> {
    let start = stream.below(input.len());
    let most = (input.len() - start).min(*stream.choose(&[4, 16, 64, 1 << 16]));
    start..start + 1 + stream.below(most)
}

/// A number as lengths and places have it: of one of the usual sizes, near a limit, or near the length of what follows.
fn number(input: &mut Vec<u8>, stream: &mut Stream) {
    let at = stream.below(input.len());
    let rest = (input.len() - at) as u64;
    let near = [0, 1 << 7, 1 << 8, 1 << 15, 1 << 16, 1 << 31, 1 << 32, 1 << 63, u64::MAX, rest, input.len() as u64];
    let mut value = stream.choose(&near).wrapping_add(stream.below(9) as u64).wrapping_sub(4);
    let width = *stream.choose(&[1, 2, 4, 8]);
    if stream.chance(0.3) {
        // What is there, and a little more or less.
        let there: Vec<u8> = input[at..].iter().copied().take(width).chain([0; 8]).take(8).collect();
        value = u64::from_le_bytes(there.try_into().expect("eight bytes"))
            .wrapping_add(stream.below(33) as u64)
            .wrapping_sub(16);
    }
    let little = value.to_le_bytes();
    let mut bytes = little[..width].to_vec();
    if stream.chance(0.2) {
        bytes.reverse();
    }
    overwrite(input, at, &bytes);
}

/// Another number in place of one in text.
fn digits(input: &mut Vec<u8>, stream: &mut Stream) {
    let start = stream.below(input.len());
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let Some(at) = input[start..].iter().position(is_digit).map(|at| start + at) else { return };
    let end = input[at..].iter().position(|byte| !is_digit(byte)).map_or(input.len(), |length| at + length);
    let other = stream.choose(&NUMBERS).as_bytes().to_vec();
    input.splice(at..end, other);
}

/// A part again and again.
fn repeat(input: &mut Vec<u8>, stream: &mut Stream) {
    let from = range(input, stream);
    let part = input[from.clone()].to_vec();
    let room = LONGEST.saturating_sub(input.len()) / part.len();
    let times = room.min(*stream.choose(&[1, 2, 10, 300, 5000]));
    insert(input, from.end, &part.repeat(times));
}

fn swap_lines(input: &mut Vec<u8>, stream: &mut Stream) {
    let mut lines: Vec<&[u8]> = input.split_inclusive(|byte| *byte == b'\n').collect();
    let (one, other) = (stream.below(lines.len()), stream.below(lines.len()));
    lines.swap(one, other);
    *input = lines.concat();
}

fn nest(input: &mut Vec<u8>, stream: &mut Stream) {
    let (open, close) = *stream.choose(&NESTS);
    let times = *stream.choose(&[1, 20, 130, 3000]);
    let inner = range(input, stream);
    let part = [open.repeat(times).as_bytes(), &input[inner.clone()], close.repeat(times).as_bytes()].concat();
    input.splice(inner, part);
}

fn insert(input: &mut Vec<u8>, at: usize, part: &[u8]) {
    input.splice(at..at, part.iter().copied());
}

fn overwrite(input: &mut Vec<u8>, at: usize, part: &[u8]) {
    let end = input.len().min(at + part.len());
    input.splice(at..end, part.iter().copied());
}
