//! Compressed files. What a file is packed with shows in its first bytes; its name must not say otherwise.

use super::DataError;
use bzip2::read::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use std::borrow::Cow;
use std::io::{self, BufRead, Read};

/// Bytes that a file may unpack to; more is a mistake or an attack.
pub(super) const LONGEST: u64 = 1 << 30;

/// KiB that the dictionary of an xz file may take: those of `xz -9`, and some more for what goes with it.
const DICTIONARY: u32 = 128 << 10;

/// Packers that are known by the first bytes of their files and not read, with what unpacks them.
const OTHERS: [(&[u8], &str, &str); 3] =
    [(b"PK\x03\x04", "zip", "unzip"), (b"7z\xbc\xaf\x27\x1c", "7-Zip", "7z x"), (b"\x04\x22\x4d\x18", "LZ4", "unlz4")];

/// A packer whose files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packer {
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

impl Packer {
    /// With the endings of their files and the bytes that these begin with.
    const ALL: [(Self, &'static str, &'static [u8]); 4] = [
        (Self::Gzip, ".gz", b"\x1f\x8b"),
        (Self::Zstd, ".zst", b"\x28\xb5\x2f\xfd"),
        (Self::Bzip2, ".bz2", b"BZh"),
        (Self::Xz, ".xz", b"\xfd7zXZ\0"),
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        }
    }

    /// What has packed a file that begins with these bytes.
    fn of(bytes: &[u8]) -> Option<Self> {
        let (packer, ..) = Self::ALL.into_iter().find(|(.., magic)| bytes.starts_with(magic))?;
        // A text may begin with three letters, but not with the digits of pi, or of its root, behind a level.
        let is_block = || {
            let block = bytes.get(4..10);
            bytes.get(3).is_some_and(|level| (b'1'..=b'9').contains(level))
                && (block == Some(b"1AY&SY") || block == Some(b"\x17\x72\x45\x38\x50\x90"))
        };
        (packer != Self::Bzip2 || is_block()).then_some(packer)
    }

    /// What a file that is packed so holds.
    fn unpacking<'r>(self, reader: impl BufRead + 'r) -> Result<Box<dyn Read + 'r>, DataError> {
        Ok(match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(reader)),
            Self::Bzip2 => Box::new(MultiBzDecoder::new(reader)),
            Self::Xz => Box::new(XzReader::new_mem_limit(reader, true, DICTIONARY)),
            Self::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(reader);
                Box::new(decoder.map_err(|error| DataError::Packed(error.to_string()))?)
            }
        })
    }

    /// The packer that the name of a file ends in, and the name without that ending.
    fn named(name: &str) -> Option<(Self, &'static str, &str)> {
        Self::ALL.into_iter().find_map(|(packer, ending, _)| {
            let at = name.len().checked_sub(ending.len())?;
            let matches = name.get(at..)?.eq_ignore_ascii_case(ending);
            matches.then(|| (packer, ending, &name[..at]))
        })
    }
}

/// The name of a file without `.gz`, `.zst`, `.bz2` or `.xz`, whose ending says what is in it.
pub fn without_packing(name: &str) -> &str {
    Packer::named(name).map_or(name, |(_, _, inner)| inner)
}

/// Whether bytes that a file begins with say that it is packed, in a way that is unpacked here.
pub fn is_packed(bytes: &[u8]) -> bool {
    Packer::of(bytes).is_some()
}

/// The content of a file called `name`, unpacked if it is packed with gzip, zstd, bzip2 or xz.
///
/// # Errors
/// If it is packed with something else, cut off or damaged, unpacks to more than a gibibyte, or is not packed as its name says.
pub fn unpacked<'b>(bytes: &'b [u8], name: &str) -> Result<Cow<'b, [u8]>, DataError> {
    match packer(bytes, name)? {
        None => Ok(Cow::Borrowed(bytes)),
        Some(packer) => limited(packer.unpacking(bytes)?, LONGEST, bytes.len()),
    }
}

/// What has packed a file called `name` that begins with these bytes.
fn packer(bytes: &[u8], name: &str) -> Result<Option<Packer>, DataError> {
    let packed = |what: String| Err(DataError::Packed(what));
    if let Some((_, packer, program)) =
        OTHERS.into_iter().find(|(magic, ..)| bytes.starts_with(magic) && !is_text(bytes))
    {
        return packed(format!("is packed with {packer}, which is not read; unpack it, for instance with `{program}`"));
    }
    match (Packer::of(bytes), Packer::named(name)) {
        (Some(found), Some((named, ending, _))) if found != named => {
            packed(format!("ends in `{ending}`, but is packed with {}; rename it", found.name()))
        }
        (None, Some((packer, ending, _))) => {
            packed(format!("ends in `{ending}`, but is not packed with {}", packer.name()))
        }
        (found, _) => Ok(found),
    }
}

/// The content of a file, unpacked while it is read.
pub(super) struct Unpacking<'r> {
    reader: Box<dyn Read + 'r>,
    is_packed: bool,
    /// Bytes so far, and how many there may be.
    read: u64,
    limit: u64,
    size: u64,
}

impl<'r> Unpacking<'r> {
    /// Of a file called `name` with this size.
    ///
    /// # Errors
    /// As [`unpacked`], as far as the first bytes say.
    pub(super) fn new(mut reader: impl BufRead + 'r, size: u64, name: &str) -> Result<Self, DataError> {
        let packer = packer(reader.fill_buf()?, name)?;
        let is_packed = packer.is_some();
        let reader = match packer {
            None => Box::new(reader),
            Some(packer) => packer.unpacking(reader)?,
        };
        let limit = LONGEST.max(size.saturating_mul(super::table::EXPANSION as u64));
        Ok(Self { reader, is_packed, read: 0, limit, size })
    }

    /// Appends at least `wanted` bytes, or what is left; whether that was all.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, or unpacks to a thousand times its size and more than a gibibyte.
    pub(super) fn more(&mut self, to: &mut Vec<u8>, wanted: usize) -> Result<bool, DataError> {
        let read = (&mut self.reader).take(wanted as u64).read_to_end(to);
        let read = read.map_err(|error| if self.is_packed { damaged(&error) } else { error.into() })?;
        self.read += read as u64;
        if self.is_packed && self.read > self.limit {
            let whole = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
            return Err(DataError::Bomb { limit: whole(self.limit), size: whole(self.size) });
        }
        Ok(read < wanted)
    }
}

/// Whether the first bytes are a text, which may begin as some packed files do.
fn is_text(bytes: &[u8]) -> bool {
    // Of a long file these are only the first bytes, and a letter may be cut at their end.
    let is_utf8 = std::str::from_utf8(bytes).map_or_else(|error| error.error_len().is_none(), |_| true);
    is_utf8 && !bytes[..bytes.len().min(64)].iter().any(|byte| byte.is_ascii_control() && !byte.is_ascii_whitespace())
}

/// The error of a packed file that is not what its packer wrote.
fn damaged(error: &io::Error) -> DataError {
    let what = if error.kind() == io::ErrorKind::UnexpectedEof { "is cut off".to_owned() } else { error.to_string() };
    DataError::Packed(format!("cannot be unpacked: {what}"))
}

/// All that a decoder gives, up to `limit` bytes from a file of `size`.
fn limited<'b>(decoder: impl Read, limit: u64, size: usize) -> Result<Cow<'b, [u8]>, DataError> {
    let mut content = Vec::new();
    decoder.take(limit + 1).read_to_end(&mut content).map_err(|error| damaged(&error))?;
    match usize::try_from(limit) {
        Ok(limit) if content.len() > limit => Err(DataError::Bomb { limit, size }),
        _ => Ok(Cow::Owned(content)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(content: &[u8]) -> Vec<u8> {
        zstd::encode_all(content, 1).unwrap()
    }

    #[test]
    fn gzip_and_zstd_are_unpacked_whatever_their_files_are_called() {
        for packed in
            [gzip(b"text"), zstd(b"text"), [gzip(b"te"), gzip(b"xt")].concat(), [zstd(b"te"), zstd(b"xt")].concat()]
        {
            assert_eq!(&*unpacked(&packed, "a.csv").unwrap(), b"text");
        }
        assert_eq!(&*unpacked(&gzip(b""), "a.csv.GZ").unwrap(), b"");
        assert!(matches!(unpacked(b"text", "a.csv").unwrap(), Cow::Borrowed(b"text")));
    }

    #[test]
    fn names_say_what_is_inside() {
        let names = ["a/b.csv.gz", "b.jsonl.ZST", "c.txt", ".gz", "é.gz", "gz"];
        assert_eq!(names.map(without_packing), ["a/b.csv", "b.jsonl", "c.txt", "", "é", "gz"]);
    }

    #[test]
    fn what_cannot_be_unpacked_is_named() {
        let error = |bytes: &[u8], name: &str| unpacked(bytes, name).unwrap_err().to_string();
        assert_eq!(error(b"text", "a.gz"), "ends in `.gz`, but is not packed with gzip");
        assert_eq!(error(&gzip(b"text"), "a.zst"), "ends in `.zst`, but is packed with gzip; rename it");
        assert_eq!(error(b"BZh91AY&SY\0", "a.bz2"), "cannot be unpacked: is cut off");
        assert_eq!(error(b"BZh,b\n1,2\n", "a.bz2"), "ends in `.bz2`, but is not packed with bzip2");
        assert_eq!(&*unpacked(b"BZh,b\n1,2\n", "a.csv").unwrap(), b"BZh,b\n1,2\n");
        assert!(error(b"PK\x03\x04...", "a.csv").starts_with("is packed with zip"));
        let long = gzip(&(0..60_000u32).flat_map(|i| (i * i).to_le_bytes()).collect::<Vec<u8>>());
        assert_eq!(error(&long[..long.len() / 2], "a.gz"), "cannot be unpacked: is cut off");
        let mut damaged = long.clone();
        damaged[long.len() / 2] ^= 0x10;
        assert!(error(&damaged, "a.gz").starts_with("cannot be unpacked: "));
        assert!(error(&zstd(&vec![7; 1 << 20])[..20], "a").starts_with("cannot be unpacked: "));
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_unpacked() {
        let bomb = gzip(&vec![0; 1 << 20]);
        let error = limited(MultiGzDecoder::new(&bomb[..]), 1 << 16, bomb.len()).unwrap_err();
        assert!(matches!(error, DataError::Bomb { limit: 65536, .. }));
    }
}
