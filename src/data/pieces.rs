//! Tables read piece by piece: a page, a record batch or a few lines are in memory at a time.

use super::packed::{LONGEST, Unpacking, is_packed, unpacked};
use super::sheet::{each_of_arrow_file, each_of_parquet, read_arrow, read_parquet};
use super::{DataError, Layout};
use crate::ml::tasks::{Dialect, Pieces, Quotes, Sheet, Wanted, is_array, may_be_quoted};
use std::io::{BufReader, Read, Seek};

/// Bytes of text that are read at a time.
const PIECE: usize = 1 << 20;

/// Bytes that a row of text may have.
const ROW: usize = 32 << 20;

/// Bytes of a file that are looked at first.
const AHEAD: usize = 1 << 16;

impl Layout {
    /// The wanted columns of a file with this name, as [`read`](Self::read) gives them of its bytes: `take` gets some rows after the
    /// other. What is read whole is said in docs/data.md.
    ///
    /// # Errors
    /// As [`read`](Self::read), if a row of text has more than 32 MiB, and what `take` returns.
    pub fn each<E: From<DataError>>(
        self,
        path: &str,
        file: &fs_err::File,
        (dialect, wanted): (Dialect<'_>, &[Wanted<'_>]),
        take: &mut dyn FnMut(Sheet) -> Result<(), E>,
    ) -> Result<(), E> {
        self.each_by(path, file, (dialect, wanted), (PIECE, ROW), take)
    }

    /// The same with other sizes of pieces and rows.
    fn each_by<E: From<DataError>>(
        self,
        path: &str,
        file: &fs_err::File,
        (dialect, wanted): (Dialect<'_>, &[Wanted<'_>]),
        sizes: (usize, usize),
        take: &mut dyn FnMut(Sheet) -> Result<(), E>,
    ) -> Result<(), E> {
        let open = || Text::open(path, file, sizes);
        match self {
            Self::Csv => open()?.each(Pieces::csv(dialect, wanted), take),
            Self::JsonLines => open()?.each(Pieces::json(wanted), take),
            Self::Tsv => match dialect.quotes {
                Some(Quotes::Text) => open()?.each(Pieces::lines(dialect, wanted), take),
                Some(Quotes::Fields) => open()?.each(Pieces::records(dialect, wanted), take),
                None if !open()?.may_be_quoted()? => open()?.each(Pieces::lines(dialect, wanted), take),
                // Which of two ways to read it is meant, only the whole file says.
                None => take(Sheet::from_tsv(&open()?.all()?, dialect, wanted).map_err(DataError::from)?),
            },
            Self::Parquet | Self::Arrow if is_packed(&first(file)?) => {
                let mut bytes = Vec::new();
                let mut reader = file;
                reader.rewind().and_then(|()| reader.read_to_end(&mut bytes)).map_err(DataError::from)?;
                let bytes = unpacked(&bytes, path)?;
                take(if self == Self::Parquet { read_parquet(&bytes, wanted) } else { read_arrow(&bytes, wanted) }?)
            }
            Self::Parquet | Self::Arrow => {
                // A name that says that the file is packed is wrong.
                unpacked(&first(file)?, path)?;
                if self == Self::Arrow {
                    return each_of_arrow_file(file, wanted, take);
                }
                let size = file.metadata().map_err(DataError::from)?.len();
                let source = file.file().try_clone().map_err(DataError::from)?;
                each_of_parquet(source, usize::try_from(size).unwrap_or(usize::MAX), wanted, take)
            }
        }
    }
}

/// The first bytes of a file.
fn first(mut file: &fs_err::File) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(AHEAD as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file of text, unpacked while it is read.
struct Text<'f> {
    unpacking: Unpacking<'f>,
    /// Bytes of a piece, and those that a row may have.
    piece: usize,
    row: usize,
}

impl<'f> Text<'f> {
    fn open(path: &str, mut file: &'f fs_err::File, (piece, row): (usize, usize)) -> Result<Self, DataError> {
        let size = file.metadata()?.len();
        file.rewind()?;
        let unpacking = Unpacking::new(BufReader::with_capacity(AHEAD, file), size, path)?;
        Ok(Self { unpacking, piece, row })
    }

    /// The rows, some after the other.
    fn each<E: From<DataError>>(
        mut self,
        mut pieces: Pieces<'_>,
        take: &mut dyn FnMut(Sheet) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut bytes, mut is_last) = (Vec::new(), false);
        let whole = LONGEST as usize;
        while !is_last {
            // What did not make a row is read again together with as much, so that long rows cost no more than twice their bytes.
            let wanted = self.piece.max(bytes.len());
            // Of what has to be there as a whole, a byte too many is enough.
            let most = if pieces.needs_all() { (whole + 1).saturating_sub(bytes.len()) } else { usize::MAX };
            is_last = self.unpacking.more(&mut bytes, wanted.min(most))?;
            if pieces.needs_all() && bytes.len() > whole {
                return Err(DataError::Whole { limit: whole }.into());
            }
            let (sheet, taken) = pieces.take(&bytes, is_last).map_err(DataError::from)?;
            if !sheet.is_empty() {
                take(sheet)?;
            }
            bytes.drain(..taken);
            self.check(&bytes, &pieces)?;
        }
        pieces.finish().map_err(DataError::from)?;
        Ok(())
    }

    /// Whether what did not make a row may still become one.
    fn check(&self, rest: &[u8], pieces: &Pieces<'_>) -> Result<(), DataError> {
        if !pieces.needs_all() && rest.len() > self.row {
            return Err(DataError::Row { line: pieces.line(), limit: self.row });
        }
        Ok(())
    }

    /// Whether quotes might stand around fields of a text with tabs.
    fn may_be_quoted(mut self) -> Result<bool, DataError> {
        let (mut bytes, mut is_last, mut is_first) = (Vec::new(), false, true);
        while !is_last {
            is_last = self.unpacking.more(&mut bytes, self.piece)?;
            // Behind the first piece stands what was in front, and not the beginning of the text.
            let found = if is_first { may_be_quoted(&bytes) } else { may_be_quoted(&[b" ", &bytes[..]].concat()) };
            if found {
                return Ok(true);
            }
            is_first = is_first && bytes.is_empty();
            let last = bytes.pop();
            bytes.clear();
            bytes.extend(last);
        }
        Ok(false)
    }

    /// The whole text.
    fn all(mut self) -> Result<Vec<u8>, DataError> {
        let mut bytes = Vec::new();
        let whole = LONGEST as usize;
        if self.unpacking.more(&mut bytes, whole + 1)? { Ok(bytes) } else { Err(DataError::Whole { limit: whole }) }
    }
}

/// The lines of a file of text, unpacked while it is read.
pub struct Lines<'f> {
    text: Text<'f>,
    bytes: Vec<u8>,
    is_last: bool,
    /// The line that comes next, from 1.
    line: usize,
}

impl<'f> Lines<'f> {
    /// Of a file called `path`.
    ///
    /// # Errors
    /// If it cannot be read or unpacked.
    pub fn open(path: &str, file: &'f fs_err::File) -> Result<Self, DataError> {
        Ok(Self { text: Text::open(path, file, (PIECE, ROW))?, bytes: Vec::new(), is_last: false, line: 1 })
    }

    /// Whether a file called `path` is an array of JSON, whose values are not told apart by lines.
    ///
    /// # Errors
    /// If it cannot be read or unpacked.
    pub fn are_an_array(path: &str, file: &fs_err::File) -> Result<bool, DataError> {
        let mut bytes = Vec::new();
        Text::open(path, file, (AHEAD, ROW))?.unpacking.more(&mut bytes, AHEAD)?;
        Ok(is_array(&bytes))
    }

    /// The number of the first of some lines, from 1, their bytes, and whether nothing follows; `None` behind the last ones.
    ///
    /// # Errors
    /// If the file cannot be read or unpacked, or a line has more than 32 MiB.
    pub fn read(&mut self) -> Result<Option<(usize, Vec<u8>, bool)>, DataError> {
        while !self.is_last {
            let wanted = self.text.piece.max(self.bytes.len());
            self.is_last = self.text.unpacking.more(&mut self.bytes, wanted)?;
            let end = self.bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let end = if self.is_last { self.bytes.len() } else { end };
            if end > 0 || self.is_last {
                let rest = self.bytes.split_off(end);
                let lines = std::mem::replace(&mut self.bytes, rest);
                let first = self.line;
                self.line += lines.iter().filter(|byte| **byte == b'\n').count();
                return Ok(Some((first, lines, self.is_last)));
            }
            if self.bytes.len() > self.text.row {
                return Err(DataError::Row { line: self.line, limit: self.text.row });
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::random::Stream;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;
    use std::path::Path;

    fn wanted<'n>(names: &[&'n str]) -> Vec<Wanted<'n>> {
        names.iter().map(|name| Wanted::optional(name)).collect()
    }

    /// The rows of a file in pieces of `piece` bytes, and what is wrong with it.
    fn streamed(
        name: &str,
        bytes: &[u8],
        (dialect, wanted): (Dialect<'_>, &[Wanted<'_>]),
        piece: usize,
    ) -> Result<Sheet, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs_err::write(&path, bytes).unwrap();
        let file = fs_err::File::open(&path).unwrap();
        let mut sheets = Vec::new();
        let mut take = |sheet| {
            sheets.push(sheet);
            Ok::<_, DataError>(())
        };
        let layout = Layout::of(name).unwrap();
        let read = layout.each_by(name, &file, (dialect, wanted), (piece, ROW), &mut take);
        read.map_err(|error| error.to_string())?;
        Ok(Sheet::joined(sheets))
    }

    fn whole(name: &str, bytes: &[u8], (dialect, wanted): (Dialect<'_>, &[Wanted<'_>])) -> Result<Sheet, String> {
        Layout::of(name).unwrap().read(name, bytes, dialect, wanted).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn alike(name: &str, bytes: &[u8], how: (Dialect<'_>, &[Wanted<'_>])) {
        let expected = whole(name, bytes, how);
        let few = (1..40).chain([64, 100, 1000, PIECE]).filter(|piece| bytes.len() < 5000 || *piece > 60);
        for piece in few {
            assert_eq!(streamed(name, bytes, how, piece), expected, "{name} in pieces of {piece}");
        }
    }

    #[test]
    fn every_golden_table_is_the_same_in_pieces() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tables");
        let mut seen = 0;
        for item in fs_err::read_dir(folder).unwrap() {
            let path = item.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if Layout::of(&name).is_none() || ["expected.json", "nested.json"].contains(&name.as_str()) {
                continue;
            }
            let columns = ["text", "whole", "options[0]", "len(options)", "number", "id"];
            alike(&name, &fs_err::read(&path).unwrap(), (Dialect::default(), &wanted(&columns)));
            seen += 1;
        }
        assert!(seen > 20, "{seen}");
    }

    #[test]
    fn awkward_text_is_the_same_in_pieces() {
        let names = ["a", "b"].map(str::to_owned);
        let dialects = [
            Dialect::default(),
            Dialect { quotes: Some(Quotes::Text), columns: None },
            Dialect { quotes: Some(Quotes::Fields), columns: None },
            Dialect { quotes: None, columns: Some(&names) },
        ];
        let texts = [
            "\u{feff}a,b\r\n\"one, \"\"two\"\"\r\nthree\",\"\"\r\n\r\n x \"y\" ,é\r\n\"ü\n\n\",\"\"\"\"\n1,2",
            "a\tb\n\"He said.\t1\nx\t2\n\"He went.\"\t3\n\"Oh\" my\t4\n",
            "a\tb\n\"one\ttwo\"\t1\n\"x\ny \"\"z\"\"\"\t2\n",
            "a\tb\n1\t2\n\n\n3\té\r\n\r\n4\t5\r",
            "\n\n \n",
            "",
            "a,b",
            "a,b\n1\n",
            "a,b\n1,\"2\n3,4\n",
            "a,b\n1,\"2\"x\n3,4\n",
            "a,b\n1,x\ry\n",
            "a,b\r1,2\r",
            "a,a\n1,2\n",
            "c,d\n1,2\n",
            "{\"a\": 1}\n\n{\"b\": \"é\\n\"}\r\n{\"a\": [\"x\", \"y\"], \"b\": null}",
            "\u{feff}\n\n{\"a\": 1, \"c\": {}}\n{\"a\": 2}\n",
            "[{\"a\": 1},\n {\"a\": \"é\"}]\n",
            "\n {\n  \"a\": 1\n}\n{\n  \"a\": \"x\"\n}\n",
            "{\"a\": 1}\n{\"a\": }\n",
            "{\"a\": 1}\n{\"a\": 1, \"a\": 2}\n",
            "{\"a\": {\"x\": 1}}\n",
            "[{\"a\": 1},\n {\"a\": 1]",
            "{\"a\":\n1}{\"a\": \"x\"}",
        ];
        for text in texts {
            for name in ["x.csv", "x.tsv", "x.jsonl"] {
                for dialect in dialects {
                    alike(name, text.as_bytes(), (dialect, &wanted(&["a", "b"])));
                    let required = [Wanted::required("a")];
                    alike(name, text.as_bytes(), (dialect, &required));
                }
            }
        }
    }

    #[test]
    fn bytes_that_are_no_text_have_one_place_whatever_the_pieces() {
        for bytes in [&b"a,b\n1,2\n3,\xff\n"[..], b"\xff\xfea\0", b"a,b\n\"x\n\xe9\n\",2\n"] {
            alike("x.csv", bytes, (Dialect::default(), &wanted(&["a"])));
        }
    }

    /// Random fields of what makes tables awkward.
    fn random(stream: &mut Stream, delimiter: char) -> String {
        let parts = ["x", "é", "\"\"", "\n", "\r\n", ",", "\t", " ", "word", "€"];
        let mut text = format!("a{delimiter}b\n");
        for _ in 0..stream.below(60) {
            for end in [delimiter, '\n'] {
                let field: String = (0..stream.below(6)).map(|_| *stream.choose(&parts)).collect();
                text += &format!("\"{field}\"{end}");
            }
            text += if stream.chance(0.2) { "\r\n" } else { "" };
        }
        text
    }

    #[test]
    fn random_tables_are_the_same_in_pieces_of_any_size() {
        let mut stream = Stream::new(3, "tables in pieces");
        for _ in 0..60 {
            let (csv, tsv) = (random(&mut stream, ','), random(&mut stream, '\t'));
            for (name, text) in [("x.csv", &csv), ("x.tsv", &tsv)] {
                let expected = whole(name, text.as_bytes(), (Dialect::default(), &wanted(&["a", "b"])));
                for _ in 0..5 {
                    let piece = 1 + stream.below(80);
                    let found = streamed(name, text.as_bytes(), (Dialect::default(), &wanted(&["a", "b"])), piece);
                    assert_eq!(found, expected, "{piece} of {text:?}");
                }
            }
        }
    }

    #[test]
    fn a_row_without_an_end_is_refused_before_it_fills_memory() {
        let folder = tempfile::tempdir().unwrap();
        let error = |name: &str, text: &[u8]| {
            let path = folder.path().join(name);
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text).unwrap();
            fs_err::write(&path, encoder.finish().unwrap()).unwrap();
            let file = fs_err::File::open(&path).unwrap();
            let (layout, dialect) =
                (Layout::of(name).unwrap(), Dialect { quotes: Some(Quotes::Fields), columns: None });
            let mut take = |_| Ok::<_, DataError>(());
            let read = layout.each_by(name, &file, (dialect, &wanted(&["a"])), (100, 1 << 16), &mut take);
            read.unwrap_err().to_string()
        };
        let long = [b"x".repeat(1 << 18), b"\n".to_vec()].concat();
        let lines = [&b"1,\"x\n"[..], &b"3,4\n".repeat(1 << 16)].concat();
        let limit = "a row of more than 0 MiB, the most that a row may have; is there a quote or a newline missing?";
        assert_eq!(error("x.csv.gz", &[b"a,b\n1,2\n", &lines[..]].concat()), format!("line 3: {limit}"));
        assert_eq!(error("x.csv.gz", &[b"a,b\n1,2\n", &long[..]].concat()), format!("line 3: {limit}"));
        assert_eq!(error("x.tsv.gz", &[b"a\tb\n1\t2\n", &long[..]].concat()), format!("line 3: {limit}"));
        assert_eq!(error("x.jsonl.gz", &[b"{\"a\": 1}\n{", &long[..]].concat()), format!("line 2: {limit}"));
        assert_eq!(error("x.jsonl.gz", &[b"{", &long[..]].concat()), format!("line 1: {limit}"));
    }

    #[test]
    fn quotes_at_the_front_of_fields_are_found_wherever_a_piece_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tsv");
        for (text, expected) in [
            ("\"a\tb\n", true),
            ("\u{feff}\"a\tb\n", true),
            ("a\tb\nx\t\"y\n", true),
            ("a\tb\n\"x\ty\n", true),
            ("a\tb\"\nx \"y\tz\n", false),
            ("", false),
        ] {
            fs_err::write(&path, text).unwrap();
            let file = fs_err::File::open(&path).unwrap();
            for piece in 4..20 {
                let found = Text::open("x.tsv", &file, (piece, ROW)).unwrap().may_be_quoted().unwrap();
                assert_eq!(found, expected, "{text:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn lines_come_with_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.txt");
        let text = "line é\n".repeat(400_000) + "last";
        fs_err::write(&path, &text).unwrap();
        let file = fs_err::File::open(&path).unwrap();
        let (mut lines, mut found, mut next) = (Lines::open("x.txt", &file).unwrap(), Vec::new(), 1);
        while let Some((first, bytes, is_last)) = lines.read().unwrap() {
            assert!(first == next && (is_last || bytes.ends_with(b"\n")));
            next += bytes.iter().filter(|byte| **byte == b'\n').count();
            found.extend(bytes);
        }
        assert!(found == text.as_bytes());
    }
}
