//! What an evaluation measured, as Parquet: a row for each metric, what it is of in columns, and more of that in the file's metadata.

use super::{Column, DataError, Table};
use crate::ml::metadata::Metadata;
use crate::ml::metrics::Metric;
use crate::ml::tasks::Split;

/// The row with the mean of the metrics.
const SCORE: &str = "score";

/// Room that a value has beyond its range for the rounding of sums.
const SLACK: f64 = 1e-6;

/// The scores of a prompt, or of several that voted, on a split.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoresFile {
    /// The task.
    pub task: String,
    /// The split that was answered.
    pub split: Split,
    /// Its metrics, in its order; none if all answers are hidden.
    pub metrics: Vec<(Metric, f64)>,
    /// Their mean, if there are some.
    pub score: Option<f64>,
    /// Examples whose answers are known; if none is, all.
    pub examples: usize,
    /// Digest of the examples that were answered.
    pub answered: String,
    /// Answers that are none: not a label, not a number.
    pub illegal: usize,
    /// How often each label was predicted; empty if answers are not labels.
    pub predicted: Vec<(String, usize)>,
    /// Score of always giving the most common answer.
    pub majority: Option<f64>,
    /// Prompts that voted; 0 for the model alone.
    pub prompts: usize,
    /// Seed of the run, if it is of a single one.
    pub seed: Option<u64>,
    /// The task of the prompt that the tuning began from.
    pub source: Option<String>,
    /// The seed of that prompt.
    pub source_seed: Option<u64>,
    /// The step of the prompt.
    pub step: Option<u64>,
    /// The score by which its checkpoint was chosen.
    pub validation: Option<f64>,
    /// Updates of the tunings of all prompts.
    pub steps: Option<u64>,
    /// Updates of the tunings that these began from.
    pub source_steps: Option<u64>,
}

impl ScoresFile {
    /// The file.
    ///
    /// # Errors
    /// If Parquet refuses.
    pub fn to_parquet(&self) -> Result<Vec<u8>, DataError> {
        let rows = self.metrics.iter().map(|(metric, value)| (metric.name(), *value));
        let (names, values): (Vec<String>, Vec<f64>) =
            rows.chain(self.score.map(|score| (SCORE, score))).map(|(n, v)| (n.to_owned(), v)).unzip();
        let count = names.len();
        // What the metadata say too: who reads many files as one table sees columns alone.
        let mut table = Table::new([
            ("task", Column::Text(vec![self.task.clone(); count])),
            ("split", Column::Text(vec![self.split.name().to_owned(); count])),
            ("seed", Column::OptUnsigned(vec![self.seed; count])),
            ("source", Column::OptText(vec![self.source.clone(); count])),
            ("source_seed", Column::OptUnsigned(vec![self.source_seed; count])),
            ("metric", Column::Text(names)),
            ("value", Column::Float(values)),
        ]);
        table.metadata = self.metadata().into();
        table.to_parquet()
    }

    fn metadata(&self) -> Metadata {
        let Self { task, split, metrics: _, score: _, examples, answered, illegal, predicted, majority, .. } = self;
        let Self { prompts, seed, source, source_seed, step, validation, steps, source_steps, .. } = self;
        Metadata::default()
            .with("task", task)
            .with("split", &split.name().to_owned())
            .with("examples", examples)
            .with("answered", answered)
            .with("illegal", illegal)
            .with("predicted", &serde_json::json!(predicted).to_string())
            .with("prompts", prompts)
            .with_or_empty("seed", seed.as_ref())
            .with_or_empty("source", source.as_ref())
            .with_or_empty("source_seed", source_seed.as_ref())
            .with_or_empty("step", step.as_ref())
            .with_or_empty("validation", validation.as_ref())
            .with_known("steps", steps.as_ref())
            .with_known("source_steps", source_steps.as_ref())
            .with_known("majority", majority.as_ref())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If something is missing, or is not a value of its kind.
    pub fn from_parquet(bytes: &[u8]) -> Result<Self, DataError> {
        let mut table = Table::from_parquet(bytes)?;
        let (metrics, score) = measured(values_of(&mut table)?)?;
        let mut said = Metadata::from(table.metadata);
        Ok(Self {
            task: said.need("task")?,
            split: split(&mut said)?,
            metrics,
            score,
            examples: said.need("examples")?,
            answered: said.need("answered")?,
            illegal: said.need("illegal")?,
            predicted: predicted(&said.need::<String>("predicted")?)?,
            majority: said.take("majority")?,
            prompts: said.need("prompts")?,
            seed: said.take("seed")?,
            source: said.take("source")?,
            source_seed: said.take("source_seed")?,
            step: said.take("step")?,
            validation: said.take("validation")?,
            steps: said.take("steps")?,
            source_steps: said.take("source_steps")?,
        })
    }
}

/// The numbers of a file by name, the score among them, also of a file that another version of the program wrote.
///
/// # Errors
/// If it is not a table of scores.
pub fn values(bytes: &[u8]) -> Result<Vec<(String, f64)>, DataError> {
    values_of(&mut Table::from_parquet(bytes)?)
}

fn values_of(table: &mut Table) -> Result<Vec<(String, f64)>, DataError> {
    Ok(table.take_text("metric")?.into_iter().zip(table.take_float("value")?).collect())
}

/// Metrics and their mean.
type Measured = (Vec<(Metric, f64)>, Option<f64>);

fn measured(rows: Vec<(String, f64)>) -> Result<Measured, DataError> {
    let wrong = |row, column: &str, found: String, expected: String| {
        Err(DataError::Cell { row, column: column.to_owned(), found: format!("`{found}`"), expected })
    };
    let (mut metrics, mut score) = (Vec::new(), None);
    for (row, (name, value)) in rows.into_iter().enumerate() {
        let metric = Metric::named(&name);
        let (low, high) = metric.map_or((-100.0, 100.0), |metric| metric.range().into_inner());
        if !(low - SLACK..=high + SLACK).contains(&value) {
            return wrong(row, "value", value.to_string(), format!("{low} to {high}, the range of `{name}`"));
        }
        match metric {
            Some(metric) if metrics.iter().any(|(known, _)| *known == metric) => {
                return wrong(row, "metric", name, "each metric once".to_owned());
            }
            Some(metric) => metrics.push((metric, value)),
            None if name == SCORE && score.is_some() => {
                return wrong(row, "metric", name, "one score".to_owned());
            }
            None if name == SCORE => score = Some(value),
            None => return wrong(row, "metric", name, format!("`{SCORE}` or one of {}", names())),
        }
    }
    Ok((metrics, score))
}

fn names() -> String {
    let names: Vec<String> = Metric::ALL.iter().map(|metric| format!("`{}`", metric.name())).collect();
    names.join(", ")
}

/// The split that a file says it is of.
///
/// # Errors
/// If it names no split, or one that does not exist.
pub(super) fn split(said: &mut Metadata) -> Result<Split, DataError> {
    let name: String = said.need("split")?;
    Split::named(&name).ok_or_else(|| DataError::Metadata {
        key: "split",
        found: format!("is `{}`", name.escape_debug()),
        expected: "`train`, `validation` or `test`".to_owned(),
    })
}

fn predicted(text: &str) -> Result<Vec<(String, usize)>, DataError> {
    serde_json::from_str(text).map_err(|error| DataError::Metadata {
        key: "predicted",
        found: format!("cannot be read: {error}"),
        expected: "pairs of a label and a count as JSON".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores() -> ScoresFile {
        ScoresFile {
            task: "w_sum".to_owned(),
            split: Split::Validation,
            metrics: vec![(Metric::Accuracy, 100.0 / 3.0), (Metric::Matthews, -50.0)],
            score: Some(-25.0 / 3.0),
            examples: 6,
            answered: "ab12".to_owned(),
            illegal: 1,
            predicted: vec![("yes".to_owned(), 5), ("no".to_owned(), 0)],
            majority: Some(50.0),
            prompts: 1,
            seed: Some(3),
            source: Some("w_topic".to_owned()),
            source_seed: Some(0),
            step: Some(2),
            validation: Some(62.5),
            steps: Some(4),
            source_steps: Some(2),
        }
    }

    #[test]
    fn scores_come_back_as_they_were() {
        let alone = ScoresFile {
            metrics: Vec::new(),
            score: None,
            predicted: Vec::new(),
            majority: None,
            prompts: 0,
            seed: None,
            source: None,
            source_seed: None,
            step: None,
            validation: None,
            steps: None,
            source_steps: None,
            ..scores()
        };
        for scores in [scores(), alone] {
            let bytes = scores.to_parquet().unwrap();
            assert_eq!(ScoresFile::from_parquet(&bytes).unwrap(), scores);
        }
        let rows = values(&scores().to_parquet().unwrap()).unwrap();
        assert_eq!(rows.last().unwrap(), &("score".to_owned(), -25.0 / 3.0));
    }

    #[track_caller]
    fn refused(change: impl Fn(&mut Table), expected: &str) {
        let mut table = Table::from_parquet(&scores().to_parquet().unwrap()).unwrap();
        change(&mut table);
        let error = ScoresFile::from_parquet(&table.to_parquet().unwrap()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn what_must_be_there_is_asked_for_by_name() {
        for key in ["task", "split", "examples", "answered", "illegal", "predicted", "prompts"] {
            let expected = format!("file metadata `{key}` is missing, expected ");
            refused(|table| drop(table.metadata.remove(key)), &expected);
        }
    }

    #[test]
    fn what_is_no_value_is_named_and_never_becomes_nought() {
        let numbers = ["examples", "illegal", "prompts", "seed", "source_seed", "step", "steps", "source_steps"];
        for key in numbers {
            let expected = format!("file metadata `{key}` is `-1`, expected a whole number from 0");
            refused(|table| drop(table.metadata.insert(key.to_owned(), "-1".to_owned())), &expected);
        }
        for key in ["validation", "majority"] {
            let expected = format!("file metadata `{key}` is `NaN`, expected a number");
            refused(|table| drop(table.metadata.insert(key.to_owned(), "NaN".to_owned())), &expected);
        }
        let say = |key: &'static str, text: &'static str| {
            move |table: &mut Table| drop(table.metadata.insert(key.to_owned(), text.to_owned()))
        };
        refused(say("split", "dev"), "file metadata `split` is `dev`, expected `train`, `validation` or `test`");
        refused(say("predicted", "{}"), "file metadata `predicted` cannot be read: ");
    }

    #[test]
    fn metrics_must_be_known_and_in_their_range() {
        let put = |name: &'static str, value: f64| {
            move |table: &mut Table| {
                table.columns[5].1 = Column::Text([name, "matthews", "score"].map(str::to_owned).to_vec());
                table.columns[6].1 = Column::Float(vec![value, 0.0, 0.0]);
            }
        };
        refused(put("accuracy", -0.5), "row 0, column `value`: `-0.5`, expected 0 to 100, the range of `accuracy`");
        refused(put("accuracy", f64::NAN), "row 0, column `value`: `NaN`, expected 0 to 100");
        refused(put("acuracy", 5.0), "row 0, column `metric`: `acuracy`, expected `score` or one of `accuracy`, `f1`");
    }
}
