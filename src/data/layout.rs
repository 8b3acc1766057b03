//! Tables that people have, told apart by the endings of their names: the one place that reads them all.

use super::sheet::{read_arrow, read_parquet, whole_arrow, whole_parquet};
use super::{DataError, unpacked, without_packing};
use crate::ml::tasks::{Dialect, Sheet, Wanted, Whole};
use serde::Serialize;

/// How a table is laid out in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Commas between fields, which may stand in quotes.
    Csv,
    /// Tabs between fields.
    Tsv,
    /// An object on each line, or JSON of another form: the content says.
    JsonLines,
    /// Parquet of any program.
    Parquet,
    /// Arrow, with a footer or as a stream.
    Arrow,
}

impl Layout {
    /// The endings that names may have, for people.
    pub const ENDINGS: &'static str = "`.csv`, `.tsv`, `.jsonl`, `.ndjson`, `.parquet` or `.arrow`, or in `.json`; `.gz`, `.zst`, `.bz2` or `.xz` may follow";

    /// The layout of a file with this name, packed or not.
    pub fn of(path: &str) -> Option<Self> {
        let name = without_packing(path.rsplit(['/', '\\']).next()?);
        Some(match name.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
            "csv" => Self::Csv,
            "tsv" => Self::Tsv,
            "jsonl" | "ndjson" | "json" => Self::JsonLines,
            "parquet" => Self::Parquet,
            "arrow" => Self::Arrow,
            _ => return None,
        })
    }

    /// The wanted columns of a file with this name, which is unpacked; `dialect` is that of delimited text.
    ///
    /// # Errors
    /// If the file is damaged, or is not a table with these columns.
    pub fn read(
        self,
        path: &str,
        bytes: &[u8],
        dialect: Dialect<'_>,
        wanted: &[Wanted<'_>],
    ) -> Result<Sheet, DataError> {
        let bytes = unpacked(bytes, path)?;
        Ok(match self {
            Self::Csv => Sheet::from_csv(&bytes, dialect, wanted)?,
            Self::Tsv => Sheet::from_tsv(&bytes, dialect, wanted)?,
            Self::JsonLines => Sheet::from_json(&bytes, wanted)?,
            Self::Parquet => read_parquet(&bytes, wanted)?,
            Self::Arrow => read_arrow(&bytes, wanted)?,
        })
    }

    /// All columns of a file with this name, which is unpacked.
    ///
    /// # Errors
    /// If the file is damaged, or is no table.
    pub fn read_whole(self, path: &str, bytes: &[u8], dialect: Dialect<'_>) -> Result<Whole, DataError> {
        let bytes = unpacked(bytes, path)?;
        Ok(match self {
            Self::Csv => Whole::from_csv(&bytes, dialect)?,
            Self::Tsv => Whole::from_tsv(&bytes, dialect)?,
            Self::JsonLines => Whole::from_json(&bytes)?,
            Self::Parquet => whole_parquet(&bytes)?,
            Self::Arrow => whole_arrow(&bytes)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::tasks::{Answer, Labels, Metric, Own, Split, Template, Value};
    use serde_json::Value as Json;
    use std::path::{Path, PathBuf};

    #[test]
    fn layouts_are_told_by_the_last_ending_that_is_none_of_a_packing() {
        let of = |path| Layout::of(path);
        assert_eq!([of("a.b/rows.CSV"), of("rows.tsv.gz")], [Some(Layout::Csv), Some(Layout::Tsv)]);
        assert_eq!([of("rows.json"), of("c:\\rows.ndjson.zst")], [Some(Layout::JsonLines); 2]);
        assert_eq!([of("rows.parquet"), of("rows.txt"), of("csv")], [Some(Layout::Parquet), None, None]);
    }

    // What pandas, pyarrow and Python wrote (`tests/golden/tables.py`), and what they say is in it.

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tables")
    }

    fn expected() -> Json {
        serde_json::from_slice(&fs_err::read(folder().join("expected.json")).unwrap()).unwrap()
    }

    fn texts(list: &Json) -> Vec<&str> {
        list.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
    }

    fn own(column: &str, label: &str) -> Own {
        let template = Template::parse(&format!("{{{column}}}")).unwrap();
        let metrics = vec![Metric::ExactMatch];
        Own {
            template,
            label: label.to_owned(),
            labels: None,
            answer: Answer::Text,
            metrics,
            id: None,
            several: false,
            drop: Vec::new(),
            round: None,
            word: None,
            choices: None,
            name: "mood".to_owned(),
            group: None,
        }
    }

    fn sheet(name: &str, own: &Own, split: Split) -> Result<Sheet, DataError> {
        let bytes = fs_err::read(folder().join(name)).unwrap();
        Layout::of(name).unwrap().read(name, &bytes, Dialect::default(), &own.wanted(split))
    }

    /// The cells of a column of a file, as templates get them.
    fn column(name: &str, column: &str) -> Vec<String> {
        let own = own(column, "number of the row");
        // A test split may lack the answers, and so the column.
        let examples = own.examples(sheet(name, &own, Split::Test).unwrap(), Split::Test, false).unwrap();
        examples.examples.into_iter().map(|example| example.input).collect()
    }

    #[track_caller]
    fn check(name: &str, columns: &[&str]) {
        let expected = expected();
        for wanted in columns.iter().filter(|column| **column != "many") {
            let found = column(name, wanted);
            let said: Vec<&str> = expected["columns"][*wanted]
                .as_array()
                .unwrap()
                .iter()
                .map(|value| value.as_str().unwrap_or_default())
                .collect();
            assert_eq!(found.len(), said.len(), "{name} {wanted}");
            for (found, said) in found.iter().zip(said) {
                assert_eq!(Value::of(found), Value::of(said), "{name} {wanted}");
            }
        }
        if columns.contains(&"many") {
            let own = own("text", "many");
            let examples =
                own.examples(sheet(name, &own, Split::Train).unwrap(), Split::Train, false).unwrap().examples;
            let answers: Vec<&[String]> = examples.iter().map(|example| &*example.answers).collect();
            assert_eq!(serde_json::to_value(answers).unwrap(), expected["columns"]["many"], "{name}");
        }
    }

    #[test]
    fn every_codec_and_type_of_parquet_is_read() {
        let expected = expected();
        let columns: Vec<&str> = expected["columns"].as_object().unwrap().keys().map(String::as_str).collect();
        assert!(columns.len() > 10);
        for codec in ["pandas", "none", "snappy", "gzip", "brotli", "lz4", "zstd"] {
            check(&format!("{codec}.parquet"), &columns);
        }
    }

    #[test]
    fn every_form_of_text_and_json_is_read() {
        let expected = expected();
        for name in ["pandas.csv", "pandas.csv.gz", "pandas.tsv", "quoted.tsv"] {
            check(name, &texts(&expected["plain"]));
        }
        for name in ["lines.jsonl", "lines.json.gz", "array.json", "indented.json", "objects.json"] {
            check(name, &texts(&expected["json"]));
        }
    }

    #[test]
    fn numbers_are_those_of_pythons_json_with_all_their_digits() {
        let (found, expected) = (column("numbers.jsonl", "number"), expected());
        let said = texts(&expected["numbers"]);
        assert_eq!(found.len(), said.len());
        for (found, said) in found.iter().zip(said) {
            assert_eq!(Value::of(found), Value::of(said), "{said}");
        }
    }

    #[test]
    fn columns_without_values_hide_answers_whatever_their_type() {
        for label in ["nothing", "hidden_lists", "hidden_truths", "hidden_floats"] {
            let own = own("text", label);
            let examples =
                own.examples(sheet("snappy.parquet", &own, Split::Test).unwrap(), Split::Test, false).unwrap().examples;
            assert!(examples.len() == 3 && examples.iter().all(|example| !own.task(true).knows(example)), "{label}");
            let error = own.examples(sheet("snappy.parquet", &own, Split::Train).unwrap(), Split::Train, false);
            assert!(error.unwrap_err().to_string().starts_with(&format!("row 0: `{label}` is empty")), "{label}");
        }
        // A column of truth values with gaps hides some.
        let labels = Labels::Words(["True", "False"].map(str::to_owned).to_vec());
        let own = Own { labels: Some(labels), answer: Answer::Label, ..own("text", "maybe") };
        let examples = own.examples(sheet("snappy.parquet", &own, Split::Test).unwrap(), Split::Test, false);
        let found: Vec<Option<u32>> = examples.unwrap().examples.iter().map(|example| example.label).collect();
        assert_eq!(found, [Some(0), None, Some(1)]);
    }

    #[test]
    fn parts_of_nested_columns_are_read_from_every_layout() {
        let expected: Json = serde_json::from_slice(&fs_err::read(folder().join("nested.json")).unwrap()).unwrap();
        for name in ["nested.parquet", "nested.arrow", "stream.arrow", "nested.jsonl.bz2", "nested.jsonl.xz"] {
            for (part, said) in expected["parts"].as_object().unwrap() {
                assert_eq!(column(name, part), texts(said), "{name} {part}");
            }
            let error = |part: &str| sheet(name, &own(part, "id"), Split::Train).unwrap_err().to_string();
            assert!(
                error("options[9]").contains("`options` has 3 elements, so there is no `[9]`"),
                "{}",
                error("options[9]")
            );
            assert!(error("answers.txt[0]").contains("`answers` has no `txt` (did you mean `text`?)"), "{name}");
            assert!(error("answers").contains("`answers` is an object, expected a text"), "{name}");
            assert!(error("votes").contains("`votes` is a list with something else than texts"), "{name}");
        }
    }

    #[test]
    fn damaged_and_packed_arrow_is_refused() {
        let bytes = fs_err::read(folder().join("nested.arrow")).unwrap();
        let read = |bytes: &[u8]| {
            Layout::Arrow.read("x.arrow", bytes, Dialect::default(), &own("id", "id").wanted(Split::Train))
        };
        assert!(read(&bytes).is_ok());
        for end in (0..bytes.len()).step_by(7) {
            assert!(read(&bytes[..end]).is_err(), "{end}");
        }
        // Whatever flips, the answer is rows or an error.
        let mut stream = crate::ml::random::Stream::new(0, "flips of arrow");
        for _ in 0..2000 {
            let mut damaged = bytes.clone();
            damaged[stream.below(bytes.len())] ^= 1 << stream.below(8);
            let _ = read(&damaged);
        }
        let error = sheet("packed.arrow", &own("id", "id"), Split::Train).unwrap_err().to_string();
        assert!(error.contains("its columns are packed, and of Arrow only plain columns are read"), "{error}");
    }

    #[test]
    fn a_table_without_rows_is_refused() {
        let own = own("text", "many");
        assert_eq!(
            sheet("empty.parquet", &own, Split::Train).unwrap_err().to_string(),
            "row 0: no rows; expected at least one"
        );
    }
}
