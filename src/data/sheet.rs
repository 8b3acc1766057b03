//! Parquet files of other people, as the rows that tasks of their own are made of.

use super::DataError;
use super::table::{Table, each_array};
use crate::ml::tasks::{Cell, Place, Sheet, Wanted};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType};
use arrow_schema::DataType;
use std::collections::BTreeMap;

/// The wanted columns of a Parquet file; the others may be of any type.
pub fn read_sheet(bytes: &[u8], wanted: &[Wanted<'_>]) -> Result<Sheet, DataError> {
    let names = Table::names_from_parquet(bytes)?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Wanted::locate(wanted, &names, Place::Row(0))?;
    let is_wanted = |name: &str| wanted.iter().any(|column| column.name == name);
    let mut columns: BTreeMap<String, Vec<Cell>> =
        names.iter().filter(|name| is_wanted(name)).map(|name| ((*name).to_owned(), Vec::new())).collect();
    each_array(bytes, is_wanted, |name, array, row| {
        let column = columns.entry(name.to_owned()).or_default();
        cells(name, array, row).map(|cells| column.extend(cells))
    })?;
    Ok(Sheet::from_columns(&columns.into_iter().collect::<Vec<_>>(), wanted)?)
}

/// The rows of a piece of a column, the first of which has the number `first`. Floats have the shortest decimal of their width.
fn cells(name: &str, array: &ArrayRef, first: usize) -> Result<Vec<Cell>, DataError> {
    let text = |text: Option<&str>| text.map_or(Cell::Missing, |text| Cell::Text(text.to_owned()));
    Ok(match array.data_type() {
        DataType::Null => vec![Cell::Missing; array.len()],
        DataType::Utf8 => array.as_string::<i32>().iter().map(text).collect(),
        DataType::Boolean => array.as_boolean().iter().map(|value| value.map_or(Cell::Missing, Cell::Bool)).collect(),
        DataType::Int8 => whole::<Int8Type>(array),
        DataType::Int16 => whole::<Int16Type>(array),
        DataType::Int32 => whole::<Int32Type>(array),
        DataType::Int64 => whole::<Int64Type>(array),
        DataType::UInt8 => whole::<UInt8Type>(array),
        DataType::UInt16 => whole::<UInt16Type>(array),
        DataType::UInt32 => whole::<UInt32Type>(array),
        DataType::UInt64 => whole::<UInt64Type>(array),
        DataType::Float32 => numbers::<Float32Type>(array, |number| Cell::float(number, number.is_nan())),
        DataType::Float64 => numbers::<Float64Type>(array, |number| Cell::float(number, number.is_nan())),
        DataType::Decimal128(..) => {
            let decimals = array.as_primitive::<Decimal128Type>();
            let cell = |row| if decimals.is_null(row) { Cell::Missing } else { number(&decimals.value_as_string(row)) };
            (0..decimals.len()).map(cell).collect()
        }
        DataType::List(item) if matches!(item.data_type(), DataType::Utf8 | DataType::Null) => {
            lists(name, array, first)?
        }
        other => {
            return Err(DataError::Type {
                column: name.to_owned(),
                found: other.to_string(),
                expected: "text, numbers, booleans or lists of text".to_owned(),
            });
        }
    })
}

fn numbers<T: ArrowPrimitiveType>(array: &ArrayRef, cell: impl Fn(T::Native) -> Cell) -> Vec<Cell> {
    array.as_primitive::<T>().iter().map(|number| number.map_or(Cell::Missing, &cell)).collect()
}

fn whole<T: ArrowPrimitiveType<Native: ToString>>(array: &ArrayRef) -> Vec<Cell> {
    numbers::<T>(array, |value| number(&value.to_string()))
}

fn number(text: &str) -> Cell {
    Cell::float(text, false)
}

fn lists(name: &str, array: &ArrayRef, first: usize) -> Result<Vec<Cell>, DataError> {
    let list = |(row, list): (usize, Option<ArrayRef>)| {
        let Some(list) = list else { return Ok(Cell::Missing) };
        if list.null_count() > 0 || list.data_type() == &DataType::Null && !list.is_empty() {
            return Err(DataError::Cell {
                row: first + row,
                column: name.to_owned(),
                found: "a gap in a list".to_owned(),
                expected: "texts".to_owned(),
            });
        }
        let texts = list.as_string_opt::<i32>();
        Ok(Cell::Texts(texts.into_iter().flatten().flatten().map(str::to_owned).collect()))
    };
    array.as_list::<i32>().iter().enumerate().map(list).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Column;
    use crate::ml::tasks::{Answer, Labels, Metric, Own, Split, Template};

    fn own() -> Own {
        Own {
            name: "mood".to_owned(),
            template: Template::parse("{title} {stars} {price} {ok}").unwrap(),
            label: "label".to_owned(),
            labels: Some(Labels::Words(vec!["bad".to_owned(), "good".to_owned()])),
            answer: Answer::Label,
            metrics: vec![Metric::Accuracy],
            group: None,
            id: Some("title".to_owned()),
        }
    }

    fn table(label: Column) -> Table {
        Table::new([
            ("ok", Column::Bool(vec![true, false])),
            ("vector", Column::Vector { width: 1, values: vec![0.0, 1.0] }),
            ("title", Column::OptText(vec![Some("A".to_owned()), Some("B".to_owned())])),
            ("stars", Column::OptInt(vec![Some(3), None])),
            ("price", Column::OptFloat(vec![Some(1.5), None])),
            ("label", label),
        ])
    }

    #[test]
    fn texts_numbers_and_booleans_fill_templates_and_are_labels() {
        let labels = [
            Column::Text(vec!["good".to_owned(), "bad".to_owned()]),
            Column::Int(vec![1, 0]),
            Column::Float(vec![1.0, 0.0]),
        ];
        for label in labels {
            let bytes = table(label).to_parquet().unwrap();
            let sheet = read_sheet(&bytes, &own().wanted(Split::Train)).unwrap();
            let examples = own().examples(sheet, Split::Train, false).unwrap();
            let found: Vec<_> = examples.iter().map(|e| (&*e.id, &*e.input, e.label)).collect();
            assert_eq!(found, [("A", "A 3 1.5 true", Some(1)), ("B", "B   false", Some(0))]);
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_row() {
        let error = |table: &Table| {
            let sheet = read_sheet(&table.to_parquet().unwrap(), &own().wanted(Split::Train));
            match sheet {
                Err(error) => error.to_string(),
                Ok(sheet) => own().examples(sheet, Split::Train, false).unwrap_err().to_string(),
            }
        };
        assert_eq!(
            error(&table(Column::OptText(vec![Some("good".to_owned()), None]))),
            "row 1: `label` is empty, expected an answer; only a test split may hide it; leave the row out"
        );
        assert_eq!(
            error(&table(Column::Vector { width: 1, values: vec![0.0, 1.0] })),
            "column `label` is List(non-null Float32, field: 'element'), expected text, numbers, booleans or lists of text"
        );
        let mut renamed = table(Column::Int(vec![0, 1]));
        renamed.columns[5].0 = "labels".to_owned();
        assert!(error(&renamed).starts_with("row 0: no column `label` (did you mean `labels`?); found `ok`, `vector`"));
        assert!(read_sheet(b"PAR1", &own().wanted(Split::Train)).is_err());
    }

    /// What pandas, pyarrow and Python wrote (`tests/golden/tables.py`), and what they say is in it.
    mod golden {
        use super::*;
        use crate::data::unpacked;
        use crate::ml::tasks::Value;
        use serde_json::Value as Json;
        use std::path::{Path, PathBuf};

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
                ..super::own()
            }
        }

        fn sheet(name: &str, own: &Own, split: Split) -> Result<Sheet, DataError> {
            let packed = fs_err::read(folder().join(name)).unwrap();
            let (bytes, wanted) = (unpacked(&packed, name)?, own.wanted(split));
            let inner = crate::data::without_packing(name);
            let (_, ending) = inner.rsplit_once('.').unwrap();
            Ok(match ending {
                "parquet" => read_sheet(&bytes, &wanted)?,
                "csv" => Sheet::from_csv(&bytes, &wanted)?,
                "tsv" => Sheet::from_tsv(&bytes, None, &wanted)?,
                _ => Sheet::from_json(&bytes, &wanted)?,
            })
        }

        /// The cells of a column of a file, as templates get them.
        fn column(name: &str, column: &str) -> Vec<String> {
            let own = own(column, "number of the row");
            // A test split may lack the answers, and so the column.
            let examples = own.examples(sheet(name, &own, Split::Test).unwrap(), Split::Test, false).unwrap();
            examples.into_iter().map(|example| example.input).collect()
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
                let examples = own.examples(sheet(name, &own, Split::Train).unwrap(), Split::Train, false).unwrap();
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
                    own.examples(sheet("snappy.parquet", &own, Split::Test).unwrap(), Split::Test, false).unwrap();
                assert!(examples.len() == 3 && examples.iter().all(|example| !own.task().knows(example)), "{label}");
                let error = own.examples(sheet("snappy.parquet", &own, Split::Train).unwrap(), Split::Train, false);
                assert!(error.unwrap_err().to_string().starts_with(&format!("row 0: `{label}` is empty")), "{label}");
            }
            // A column of truth values with gaps hides some.
            let labels = Labels::Words(["True", "False"].map(str::to_owned).to_vec());
            let own = Own { labels: Some(labels), answer: Answer::Label, ..own("text", "maybe") };
            let examples = own.examples(sheet("snappy.parquet", &own, Split::Test).unwrap(), Split::Test, false);
            let found: Vec<Option<u32>> = examples.unwrap().iter().map(|example| example.label).collect();
            assert_eq!(found, [Some(0), None, Some(1)]);
        }

        #[test]
        fn a_table_without_rows_is_refused() {
            let own = own("text", "many");
            assert_eq!(
                sheet("empty.parquet", &own, Split::Train).unwrap_err().to_string(),
                "row 0: no rows; expected one at least"
            );
        }
    }

    /// pyarrow no longer writes the frames of Hadoop that go by the name of LZ4.
    #[test]
    fn lz4_of_hadoop_is_read() {
        use arrow_array::{RecordBatch, StringArray};
        use parquet::arrow::ArrowWriter;
        use parquet::basic::Compression;
        use parquet::file::properties::WriterProperties;
        use std::sync::Arc;

        let column = |text: &str| Arc::new(StringArray::from(vec![text; 100])) as ArrayRef;
        let names = ["title", "stars", "price", "ok", "label"];
        let batch = RecordBatch::try_from_iter(names.map(|name| (name, column("good")))).unwrap();
        let properties = WriterProperties::builder().set_compression(Compression::LZ4).build();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let own = Own { id: None, ..own() };
        let examples =
            own.examples(read_sheet(&bytes, &own.wanted(Split::Train)).unwrap(), Split::Train, false).unwrap();
        assert_eq!((examples.len(), &*examples[99].target), (100, "good"));
    }
}
