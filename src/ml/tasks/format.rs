//! What the format of a published data set is: what a file holds, how a row becomes an example, and which task that is.
//!
//! A format is a row of a suite's table. Most are a [`Layout`]: named columns, put into a sentence of the form
//! `mnli hypothesis: … premise: …`. The others bring a reader of their own. `published.rs` gathers the tables.

use super::error::ReadError;
use super::piece::Piece;
use super::rows::{Encoding, Header, Window};
use super::{Answer, Example, Metric, Spacing, Split, Task, layout};
use serde::{Deserialize, Serialize};

/// How a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Whether inputs begin with the task's name, as T5's do. Without it they are what Lester et al. 2021 call taskless.
    pub prefix: bool,
    /// Rows of the file that are left out in front, so that one file can serve as two splits.
    pub skip: usize,
    /// Rows that are read after them; all if `None`. A row is a line of a table or of JSON lines (MultiRC and ReCoRD: a
    /// passage), and a question of SQuAD.
    pub rows: Option<usize>,
    /// Whether table rows with too few or too many fields are left out, as TFDS does for QQP; they are an error otherwise.
    pub skip_malformed_rows: bool,
}

impl Default for Reading {
    fn default() -> Self {
        Self { prefix: true, skip: 0, rows: None, skip_malformed_rows: false }
    }
}

impl Reading {
    pub(super) fn window(&self) -> Window {
        Window { skip: self.skip, rows: self.rows }
    }
}

/// A row of a suite's table.
pub(super) struct Format {
    pub(super) name: &'static str,
    /// Name of the task.
    pub(super) task: &'static str,
    /// The first word of an input: T5's name of the task, or of the one that it is a test for.
    pub(super) word: &'static str,
    pub(super) labels: &'static [&'static str],
    pub(super) answer: Answer,
    pub(super) metrics: &'static [Metric],
    pub(super) source: Source,
}

/// Where a format's examples come from.
pub(super) enum Source {
    /// Rows with named columns, in a table or as JSON lines.
    Rows(Layout),
    /// Whatever this function reads.
    Other {
        template: &'static str,
        /// Whether every value of a file of JSON makes examples by itself, so that those on a line each need not all be there.
        by_value: bool,
        read: Reader,
    },
}

type Reader = fn(&Piece<'_>, Split, &Reading) -> Result<Read, ReadError>;

/// What was read of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Read {
    /// The examples.
    pub examples: Vec<Example>,
    /// Rows that are none.
    pub left_out: Vec<LeftOut>,
}

impl From<Vec<Example>> for Read {
    fn from(examples: Vec<Example>) -> Self {
        Self { examples, left_out: Vec::new() }
    }
}

/// Rows of a file that are not among its examples.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// How many.
    pub rows: usize,
    /// Why, as the end of a sentence.
    pub why: String,
}

impl LeftOut {
    /// So many rows for this reason, if there are any.
    pub(super) fn of(rows: usize, why: &str) -> Vec<Self> {
        if rows > 0 { vec![Self { rows, why: why.to_owned() }] } else { Vec::new() }
    }
}

/// Columns of a row.
pub(super) struct Layout {
    pub(super) encoding: Encoding,
    pub(super) header: Header,
    /// Fields of the input, in their order.
    pub(super) fields: &'static [Field],
    /// Accepted names of the column with the answer.
    pub(super) answer: &'static [&'static str],
    /// What stands there if the annotators could not decide; such rows are left out.
    pub(super) undecided: Option<&'static str>,
}

/// A field of an input, and the columns in which files keep it; the first is that of the hub.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) columns: &'static [&'static str],
}

/// The target of an example whose label is hidden.
pub const HIDDEN: &str = "<unk>";

impl Format {
    /// The examples of a file or a piece of it. Ids that repeat are left as they are.
    pub(super) fn read(&'static self, piece: &Piece<'_>, split: Split, reading: &Reading) -> Result<Read, ReadError> {
        match &self.source {
            Source::Rows(layout) => layout::read(self, layout, piece, split, reading),
            Source::Other { read, .. } => read(piece, split, reading),
        }
    }

    /// How the bytes of its files are text.
    pub(super) fn encoding(&self) -> Encoding {
        match &self.source {
            Source::Rows(layout) => layout.encoding,
            Source::Other { .. } => Encoding::Utf8,
        }
    }

    /// Whether rows may have ids that are not theirs alone: of files that are joined from several. They are numbered then.
    pub(super) fn may_repeat_ids(&self) -> bool {
        matches!(self.source, Source::Rows(_))
    }

    /// Whether its files can be read piece by piece. What a byte outside of ASCII is, only a whole file says where there are two ways.
    pub(super) fn streams(&self) -> bool {
        match &self.source {
            Source::Rows(layout) => layout.encoding == Encoding::Utf8,
            Source::Other { by_value, .. } => *by_value,
        }
    }

    pub(super) fn task(&self) -> Task {
        Task {
            name: self.task.to_owned(),
            format: None,
            labels: self.labels.iter().map(|label| (*label).to_owned()).collect(),
            answer: self.answer,
            metrics: self.metrics.to_vec(),
            around: None,
            spacing: Spacing::default(),
        }
    }
}

/// Puts fields in a row: `mnli hypothesis: H premise: P`.
pub(super) fn join(word: &str, prefix: bool, fields: &[(&str, &str)]) -> String {
    let mut input = String::new();
    if prefix {
        input.push_str(word);
    }
    for (name, value) in fields {
        if !input.is_empty() {
            input.push(' ');
        }
        input.push_str(name);
        input.push_str(": ");
        input.push_str(value);
    }
    input
}
