//! Tables on disk: the one reader and writer of Parquet, and what is kept in it: data sets, scores, predictions, rankings and
//! trials, each with one reader and one writer.
//!
//! Files are written byte-deterministically: a fixed writer name, one order of columns and metadata, no times. Equal content
//! is equal bytes, which is what lets a rerun job leave everything after it fresh.

mod candidates;
mod card;
mod counting;
mod csv;
mod dataset;
mod dataset_file;
mod events;
mod features;
mod inputs;
mod layout;
#[cfg(test)]
mod oracle;
mod packed;
mod pieces;
mod predictions;
mod query;
mod ranking;
mod scores;
mod sheet;
mod spill;
mod table;
mod trials;

pub use candidates::{Candidate, Candidates};
pub use card::{Card, Lengths, SplitCard};
pub use counting::{CardWriter, Counter, Fact, Judge};
pub use dataset::{Dataset, DatasetWriter, Head, Part, Tokenized, read_dataset, read_task, write_dataset};
pub use dataset_file::{DatasetFile, IdFile};
pub use events::{Series, events, more_events};
pub use features::{MOST_NAMES, class_names};
pub use inputs::Inputs;
pub use layout::Layout;
pub use packed::{is_packed, unpacked, without_packing};
pub use pieces::Lines;
pub use predictions::Predictions;
pub use query::{Answer, Framed, Query, ROWS, Tables, names_in};
pub use ranking::{Ranked, Ranking};
pub use scores::{ScoresFile, values};
pub use spill::{Sorted, Sorter, Spill, nameless};
pub use table::{Column, Table};
pub use trials::{Trial, Trials};

use crate::ml::metadata::MetadataError;
use crate::ml::tasks::SheetError;

/// A file that is not the table it should be. The caller adds the file's name.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Bytes that are no Parquet file, or not the whole of one.
    #[error("not a readable Parquet file (cut off or damaged?): {0}")]
    Parquet(String),
    /// Bytes that are no Arrow, or not the whole of it.
    #[error("not a readable Arrow file (cut off or damaged?): {0}")]
    Arrow(String),
    /// A file that cannot be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A file that can only be read as a whole, and is too long for that.
    #[error(
        "more than {limit} bytes of text that can only be read as a whole; write an object on each line, or say what `quotes` are"
    )]
    Whole {
        /// Bytes that it may have.
        limit: usize,
    },
    /// A split of which there is more than is held in memory.
    #[error(
        "the {split} split has {rows} examples, of which {limit} may be held in memory; draw fewer by `rows` of its `ingest`"
    )]
    Many {
        /// The split.
        split: &'static str,
        /// Its examples.
        rows: usize,
        /// How many it may have.
        limit: usize,
    },
    /// A row that is longer than any row is.
    #[error("line {line}: a row of more than {} MiB, the most that a row may have; is there a quote or a newline missing?", .limit >> 20)]
    Row {
        /// The line in which it begins, from 1.
        line: usize,
        /// Bytes that it may have.
        limit: usize,
    },
    /// A file that would unpack to far more than its size suggests.
    #[error("unpacks to more than {limit} bytes from a file of {size}; refused")]
    Bomb {
        /// Bytes that were allowed.
        limit: usize,
        /// Bytes of the file.
        size: usize,
    },
    /// What a library noted about the columns, and is not what it writes.
    #[error("its metadata `huggingface` {0}")]
    Features(String),
    /// A compressed file that is not read.
    #[error("{0}")]
    Packed(String),
    /// A column that is not there.
    #[error("no column `{expected}`; the file has {found}")]
    Missing {
        /// Its name.
        expected: String,
        /// Columns that are there.
        found: String,
    },
    /// A column of another type.
    #[error("column `{column}` is {found}, expected {expected}")]
    Type {
        /// Name of the column.
        column: String,
        /// Its type.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// A cell that its column cannot have.
    #[error("row {row}, column `{column}`: {found}, expected {expected}")]
    Cell {
        /// Row, from 0.
        row: usize,
        /// Name of the column.
        column: String,
        /// What is there.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// A table that has no form in CSV.
    #[error("cannot be written as CSV: {0}")]
    Csv(String),
    /// A query that tables have no answer to.
    #[error("{0}")]
    Query(String),
    /// A table that no task can be made of.
    #[error(transparent)]
    Sheet(#[from] SheetError),
    /// Metadata that is missing or says something impossible.
    #[error("file metadata `{key}` {found}, expected {expected}")]
    Metadata {
        /// Its key.
        key: &'static str,
        /// What is there.
        found: String,
        /// What it may be.
        expected: String,
    },
}

impl From<MetadataError> for DataError {
    fn from(MetadataError { key, found, expected }: MetadataError) -> Self {
        Self::Metadata { key, found, expected: expected.to_owned() }
    }
}
