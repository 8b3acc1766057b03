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
///
/// # Errors
/// If it is not Parquet, a wanted column is missing or has cells of no known type, or there are no rows.
pub(super) fn read_parquet(bytes: &[u8], wanted: &[Wanted<'_>]) -> Result<Sheet, DataError> {
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
            let sheet = read_parquet(&bytes, &own().wanted(Split::Train)).unwrap();
            let examples = own().examples(sheet, Split::Train, false).unwrap();
            let found: Vec<_> = examples.iter().map(|e| (&*e.id, &*e.input, e.label)).collect();
            assert_eq!(found, [("A", "A 3 1.5 true", Some(1)), ("B", "B   false", Some(0))]);
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_row() {
        let error = |table: &Table| {
            let sheet = read_parquet(&table.to_parquet().unwrap(), &own().wanted(Split::Train));
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
        assert!(read_parquet(b"PAR1", &own().wanted(Split::Train)).is_err());
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
            own.examples(read_parquet(&bytes, &own.wanted(Split::Train)).unwrap(), Split::Train, false).unwrap();
        assert_eq!((examples.len(), &*examples[99].target), (100, "good"));
    }
}
