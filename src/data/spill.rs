//! What does not fit into memory, in files without a name: rows in the order in which they came, and numbers in sorted order.

use std::collections::BinaryHeap;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes and rows after which a block ends.
const BLOCK: usize = 1 << 20;
const ROWS: usize = 1024;

/// A file in a folder that nobody else sees, and that is gone once it is closed.
///
/// # Errors
/// If it cannot be made.
pub fn nameless(folder: &Path) -> io::Result<fs_err::File> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!(".spill-{}-{number}", std::process::id()));
    let file = fs_err::OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    fs_err::remove_file(&path)?;
    Ok(file)
}

/// Rows of bytes, written once from front to back and read in blocks. In memory is the block that is being filled, and 16 bytes for
/// every other.
pub struct Spill {
    file: fs_err::File,
    /// Where each block begins, and the number of its first row.
    blocks: Vec<(u64, u64)>,
    end: u64,
    rows: usize,
    open: Vec<u8>,
    open_rows: usize,
}

impl Spill {
    /// An empty one in a folder.
    ///
    /// # Errors
    /// If no file can be made there.
    pub fn new(folder: &Path) -> io::Result<Self> {
        Ok(Self { file: nameless(folder)?, blocks: Vec::new(), end: 0, rows: 0, open: Vec::new(), open_rows: 0 })
    }

    /// Appends a row, which `write` appends to the bytes that it gets.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        write(&mut self.open);
        self.open_rows += 1;
        if self.open.len() >= BLOCK || self.open_rows >= ROWS { self.close() } else { Ok(()) }
    }

    /// Ends the block that is being filled. What was pushed since the last block is there only then.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn close(&mut self) -> io::Result<()> {
        if self.open_rows == 0 {
            return Ok(());
        }
        self.file.write_all(&self.open)?;
        self.blocks.push((self.end, self.rows as u64));
        self.end += self.open.len() as u64;
        self.rows += self.open_rows;
        self.open.clear();
        self.open.shrink_to(BLOCK);
        self.open_rows = 0;
        Ok(())
    }

    /// Number of rows in blocks.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// The rows of a block, by their numbers.
    pub fn range(&self, block: usize) -> std::ops::Range<usize> {
        let end = self.blocks.get(block + 1).map_or(self.rows, |(_, first)| *first as usize);
        self.blocks[block].1 as usize..end
    }

    /// The block in which a row is.
    pub fn block_of(&self, row: usize) -> usize {
        self.blocks.partition_point(|(_, first)| *first as usize <= row).saturating_sub(1)
    }

    /// The bytes of a block.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read(&self, block: usize) -> io::Result<Vec<u8>> {
        let end = self.blocks.get(block + 1).map_or(self.end, |(start, _)| *start);
        let start = self.blocks[block].0;
        let mut bytes = vec![0; usize::try_from(end - start).map_err(io::Error::other)?];
        self.file.file().read_exact_at(&mut bytes, start)?;
        Ok(bytes)
    }
}

/// Bytes of records that are sorted in memory at a time.
const RUN: usize = 8 << 20;

/// Bytes of a run that are read at a time.
const AHEAD: usize = 64 << 10;

/// Any number of records of `N` numbers in sorted order: runs of 8 MiB in a file, which are merged when they are read.
pub struct Sorter<const N: usize> {
    folder: PathBuf,
    run: usize,
    records: Vec<[u64; N]>,
    file: Option<fs_err::File>,
    /// Records of each run in the file.
    runs: Vec<u64>,
    count: u64,
}

impl<const N: usize> Sorter<N> {
    /// An empty one, whose file is in a folder.
    pub fn new(folder: &Path) -> Self {
        Self::with_run(folder, RUN / (8 * N))
    }

    /// One with so many records in a run.
    fn with_run(folder: &Path, run: usize) -> Self {
        Self { folder: folder.to_owned(), run, records: Vec::new(), file: None, runs: Vec::new(), count: 0 }
    }

    /// Adds a record.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn push(&mut self, record: [u64; N]) -> io::Result<()> {
        self.records.push(record);
        self.count += 1;
        if self.records.len() >= self.run { self.spill() } else { Ok(()) }
    }

    /// Number of records.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn spill(&mut self) -> io::Result<()> {
        self.records.sort_unstable();
        if self.file.is_none() {
            self.file = Some(nameless(&self.folder)?);
        }
        let mut bytes = Vec::with_capacity(AHEAD);
        for records in self.records.chunks(AHEAD / (8 * N)) {
            bytes.clear();
            records.iter().flatten().for_each(|number| bytes.extend(number.to_le_bytes()));
            self.file.as_mut().map_or(Ok(()), |file| file.write_all(&bytes))?;
        }
        self.runs.push(self.records.len() as u64);
        self.records.clear();
        Ok(())
    }

    /// Ends the input. A few records stay in memory, more are all in the file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn close(&mut self) -> io::Result<()> {
        if self.file.is_some() && !self.records.is_empty() {
            self.spill()?;
        }
        self.records.sort_unstable();
        self.records.shrink_to_fit();
        Ok(())
    }

    /// The records in their order, as often as asked for; once the input has ended.
    pub fn sorted(&self) -> Sorted<'_, N> {
        let Some(file) = &self.file else { return Sorted::Held(self.records.iter()) };
        let (mut runs, mut start) = (Vec::new(), 0);
        for count in &self.runs {
            let end = start + count * 8 * N as u64;
            runs.push(Run { at: start, end, ahead: Vec::new(), next: 0 });
            start = end;
        }
        Sorted::Merged { file, runs, heads: None }
    }
}

/// The next record of a run, and which run that is.
type Head<const N: usize> = std::cmp::Reverse<([u64; N], usize)>;

/// Records in their order.
pub enum Sorted<'s, const N: usize> {
    /// From memory.
    Held(std::slice::Iter<'s, [u64; N]>),
    /// From runs in a file.
    Merged {
        /// The file.
        file: &'s fs_err::File,
        /// Its runs.
        runs: Vec<Run<N>>,
        /// The next record of every run, the least on top.
        heads: Option<BinaryHeap<Head<N>>>,
    },
}

/// A sorted part of a file.
pub struct Run<const N: usize> {
    at: u64,
    end: u64,
    ahead: Vec<[u64; N]>,
    next: usize,
}

impl<const N: usize> Run<N> {
    fn next(&mut self, file: &fs_err::File) -> io::Result<Option<[u64; N]>> {
        if self.next == self.ahead.len() {
            let most = (AHEAD / (8 * N) * 8 * N) as u64;
            let mut bytes = vec![0; (self.end - self.at).min(most) as usize];
            file.file().read_exact_at(&mut bytes, self.at)?;
            self.at += bytes.len() as u64;
            self.next = 0;
            let (numbers, _) = bytes.as_chunks::<8>();
            let (records, _) = numbers.as_chunks::<N>();
            self.ahead = records.iter().map(|record| record.map(u64::from_le_bytes)).collect();
        }
        let record = self.ahead.get(self.next).copied();
        self.next += 1;
        Ok(record)
    }
}

impl<const N: usize> Sorted<'_, N> {
    fn merged(&mut self) -> io::Result<Option<[u64; N]>> {
        let Self::Merged { file, runs, heads } = self else { return Ok(None) };
        let heads = match heads {
            Some(heads) => heads,
            None => {
                let mut first = BinaryHeap::new();
                for (at, run) in runs.iter_mut().enumerate() {
                    first.extend(run.next(file)?.map(|record| std::cmp::Reverse((record, at))));
                }
                heads.insert(first)
            }
        };
        let Some(std::cmp::Reverse((record, at))) = heads.pop() else { return Ok(None) };
        heads.extend(runs[at].next(file)?.map(|record| std::cmp::Reverse((record, at))));
        Ok(Some(record))
    }
}

impl<const N: usize> Iterator for Sorted<'_, N> {
    type Item = io::Result<[u64; N]>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Held(records) => records.next().map(|record| Ok(*record)),
            Self::Merged { .. } => self.merged().transpose(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::random::Stream;

    #[test]
    fn rows_come_back_in_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let mut spill = Spill::new(folder.path()).unwrap();
        let row = |number: usize| vec![number as u8; if number % 1000 == 7 { 700_000 } else { 1 + number % 5 }];
        for number in 0..5000 {
            spill.push(|to| to.extend(row(number))).unwrap();
        }
        spill.close().unwrap();
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 0, "nobody sees the file");
        let (mut next, mut found) = (0, Vec::new());
        for block in 0..spill.blocks() {
            let range = spill.range(block);
            assert_eq!(range.start, next);
            assert!(range.clone().all(|row| spill.block_of(row) == block));
            next = range.end;
            found.extend(spill.read(block).unwrap());
        }
        assert_eq!((next, spill.rows()), (5000, 5000));
        assert!(found == (0..5000).flat_map(row).collect::<Vec<_>>());
    }

    #[test]
    fn records_come_in_order_however_many_runs_there_are() {
        let folder = tempfile::tempdir().unwrap();
        let mut stream = Stream::new(1, "records");
        for (count, run) in [(0, 3), (2, 3), (3, 3), (10, 3), (1000, 7), (40_000, 10_000)] {
            let records: Vec<[u64; 2]> = (0..count).map(|_| [stream.below(50) as u64, stream.bits()]).collect();
            let mut sorter = Sorter::<2>::with_run(folder.path(), run);
            records.iter().for_each(|record| sorter.push(*record).unwrap());
            sorter.close().unwrap();
            let mut expected = records;
            expected.sort_unstable();
            for _ in 0..2 {
                let found: Vec<[u64; 2]> = sorter.sorted().map(Result::unwrap).collect();
                assert_eq!(found, expected, "{count} in runs of {run}");
            }
            assert_eq!(sorter.len(), count as u64);
        }
    }
}
