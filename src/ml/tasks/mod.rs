//! Tasks: how the rows of a published data set or of a user's own table become text-to-text examples, and how answers in
//! text become scores.

mod bag_of_words;
mod cell;
mod choices;
mod condition;
mod content;
pub mod documents;
mod draft;
mod drop;
mod error;
mod field;
mod format;
mod glue;
mod held_out;
mod json;
mod labels;
mod layout;
mod multirc;
mod own;
mod piece;
mod published;
mod record;
mod reviews;
mod rows;
mod score;
mod several;
mod sheet;
mod spacing;
mod squad;
mod superglue;
mod template;
pub mod unlabelled;
mod value;
mod whole;
mod wsc;

#[cfg(test)]
pub(crate) mod shared;

pub use super::metrics::Metric;
#[cfg(test)]
pub use bag_of_words::BagOfWords;
pub use bag_of_words::{WordCounts, Words};
pub use cell::Cell;
pub use choices::{Choices, Named};
pub use condition::Condition;
pub use content::Content;
pub use draft::{Answers, Draft, Drafts};
pub use error::{ReadError, shortened};
pub use format::{HIDDEN, LeftOut, Read, Reading};
pub use held_out::{Amount, Keys, hold_out, sample};
pub use json::is_array;
pub use labels::Labels;
pub use own::{Mistake, Own, behind, check_name};
pub use published::{FileInPieces, fills, formats, read, read_file, task, template};
pub use score::Scores;
pub use sheet::{At, Dialect, Pieces, Place, Quotes, Sheet, SheetError, Source, Wanted, may_be_quoted, no_rows};
pub use spacing::Spacing;
pub use template::Template;
pub use value::{Decimal, Value};
pub use whole::{Columns, Whole};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a data set says of its task: all that tuning and evaluation need to know, so that a data set file describes itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Short name, as in the first word of T5's inputs: `mnli`.
    pub name: String,
    /// The name of the published task that this is, where it goes by another one here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Label words in the order of the data set's label ids; empty if answers are free text or numbers.
    pub labels: Vec<String>,
    /// What an answer in text stands for.
    pub answer: Answer,
    /// The task's metrics, in the order in which they are reported; the task's score is their arithmetic mean. A task
    /// without metrics has no score.
    pub metrics: Vec<Metric>,
    /// What stands before and after the text in every input, where a metric compares answers with that text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub around: Option<(String, String)>,
    /// What becomes of white space in inputs, so that those of new rows are made alike.
    #[serde(default, skip_serializing_if = "Spacing::is_kept")]
    pub spacing: Spacing,
}

/// What an answer in text stands for, and so how predictions are compared with targets (`t5/data/postprocessors.py` of
/// google-research/text-to-text-transfer-transformer).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Exactly one of the label words.
    Label,
    /// A number.
    Number,
    /// Free text, scored against all accepted answers.
    Text,
    /// The referent of a pronoun (WSC), matched as a set of words.
    Referent,
    /// Exactly one of the choices that the example brings.
    Choice,
}

/// One example in text-to-text form.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// Unique within its split: the data set's own identifier where it has one, otherwise the row number from 0.
    pub id: String,
    /// What the model reads.
    pub input: String,
    /// What the model should write; `<unk>` where the label is hidden (test splits).
    pub target: String,
    /// Index into [`Task::labels`]; `None` for free text, numbers and hidden labels. For [`Answer::Referent`], 1 if the
    /// target is what the pronoun refers to and 0 if it is not; for [`Answer::Choice`] the index into `choices`.
    pub label: Option<u32>,
    /// Examples that are scored together (MultiRC question, ReCoRD passage and query).
    pub group: Option<String>,
    /// Accepted answers for [`Answer::Text`]; empty otherwise.
    pub answers: Vec<String>,
    /// The answers among which one of [`Answer::Choice`] is right; empty otherwise.
    pub choices: Vec<String>,
}

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Prompts learn from it.
    Train,
    /// Checkpoints are chosen on it and, as in the paper, scores reported on it.
    Validation,
    /// Held out; often without labels.
    Test,
}

impl Split {
    /// All splits, in their usual order.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// The name used in files: `train`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }

    /// The split with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|split| split.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_serialised_values() {
        for split in Split::ALL {
            assert_eq!(serde_json::to_value(split).unwrap(), split.name());
            assert_eq!(Split::named(split.name()), Some(split));
        }
    }
}
