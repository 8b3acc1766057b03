//! A small table with typed columns and text metadata, as Parquet.

use super::{DataError, content};
use arrow_array::builder::{FixedSizeListBuilder, Float32Builder, ListBuilder, StringBuilder, UInt32Builder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int64Type, UInt32Type};
use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A column; all columns of a table have as many values as it has rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Texts.
    Text(Vec<String>),
    /// Texts, some of them missing.
    OptText(Vec<Option<String>>),
    /// Whole numbers.
    Int(Vec<i64>),
    /// Whole numbers, some of them missing.
    OptInt(Vec<Option<i64>>),
    /// Numbers.
    Float(Vec<f64>),
    /// Numbers, some of them missing.
    OptFloat(Vec<Option<f64>>),
    /// Lists of token ids.
    Ids(Vec<Vec<u32>>),
    /// Lists of texts.
    Texts(Vec<Vec<String>>),
    /// Vectors of one width, row after row.
    Vectors {
        /// Numbers in a vector.
        width: usize,
        /// All of them.
        values: Vec<f32>,
    },
}

/// Named columns and metadata.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    columns: Vec<(String, Column)>,
    metadata: BTreeMap<String, String>,
}

/// Rows and bytes that a table of this program may have at most; more is a mistake or an attack.
const MOST_ROWS: i64 = 50_000_000;
const MOST_BYTES: i64 = 8 << 30;

impl Column {
    fn len(&self) -> usize {
        match self {
            Self::Text(v) => v.len(),
            Self::OptText(v) => v.len(),
            Self::Int(v) => v.len(),
            Self::OptInt(v) => v.len(),
            Self::Float(v) => v.len(),
            Self::OptFloat(v) => v.len(),
            Self::Ids(v) => v.len(),
            Self::Texts(v) => v.len(),
            Self::Vectors { width, values } => values.len() / width.max(&1),
        }
    }

    fn to_array(&self) -> ArrayRef {
        match self {
            Self::Text(v) => Arc::new(StringArray::from_iter_values(v)),
            Self::OptText(v) => Arc::new(v.iter().map(Option::as_deref).collect::<StringArray>()),
            Self::Int(v) => Arc::new(Int64Array::from(v.clone())),
            Self::OptInt(v) => Arc::new(Int64Array::from(v.clone())),
            Self::Float(v) => Arc::new(Float64Array::from(v.clone())),
            Self::OptFloat(v) => Arc::new(Float64Array::from(v.clone())),
            Self::Ids(rows) => {
                let mut builder = ListBuilder::new(UInt32Builder::new());
                for row in rows {
                    builder.values().append_slice(row);
                    builder.append(true);
                }
                Arc::new(builder.finish())
            }
            Self::Texts(rows) => {
                let mut builder = ListBuilder::new(StringBuilder::new());
                for row in rows {
                    row.iter().for_each(|text| builder.values().append_value(text));
                    builder.append(true);
                }
                Arc::new(builder.finish())
            }
            Self::Vectors { width, values } => {
                let size = i32::try_from(*width).expect("an embedding is narrower than 2^31");
                let mut builder = FixedSizeListBuilder::new(Float32Builder::new(), size);
                for row in values.chunks_exact(*width) {
                    builder.values().append_slice(row);
                    builder.append(true);
                }
                Arc::new(builder.finish())
            }
        }
    }

    fn is_optional(&self) -> bool {
        matches!(self, Self::OptText(_) | Self::OptInt(_) | Self::OptFloat(_))
    }

    fn from_array(name: &str, array: &ArrayRef, nullable: bool) -> Result<Self, DataError> {
        if !nullable && array.null_count() > 0 {
            return Err(content(format!("column `{name}` has missing values")));
        }
        let column = match array.data_type() {
            DataType::Utf8 if nullable => {
                Self::OptText(array.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect())
            }
            DataType::Utf8 => {
                Self::Text(array.as_string::<i32>().iter().flatten().map(str::to_owned).collect())
            }
            DataType::Int64 if nullable => Self::OptInt(array.as_primitive::<Int64Type>().iter().collect()),
            DataType::Int64 => Self::Int(array.as_primitive::<Int64Type>().values().to_vec()),
            DataType::Float64 if nullable => Self::OptFloat(array.as_primitive::<Float64Type>().iter().collect()),
            DataType::Float64 => Self::Float(array.as_primitive::<Float64Type>().values().to_vec()),
            DataType::List(field) if *field.data_type() == DataType::UInt32 => {
                let rows = array.as_list::<i32>().iter().flatten();
                Self::Ids(rows.map(|row| row.as_primitive::<UInt32Type>().values().to_vec()).collect())
            }
            DataType::List(field) if *field.data_type() == DataType::Utf8 => {
                let rows = array.as_list::<i32>().iter().flatten();
                Self::Texts(rows.map(|row| row.as_string::<i32>().iter().flatten().map(str::to_owned).collect()).collect())
            }
            DataType::FixedSizeList(field, size) if *field.data_type() == DataType::Float32 && *size > 0 => {
                let rows = array.as_fixed_size_list().iter().flatten();
                let values = rows.flat_map(|row| row.as_primitive::<Float32Type>().values().to_vec()).collect();
                Self::Vectors { width: *size as usize, values }
            }
            other => return Err(content(format!("column `{name}` has the type {other}, which no table here has"))),
        };
        if column.len() == array.len() { Ok(column) } else { Err(content(format!("column `{name}` has missing values"))) }
    }

    fn append(&mut self, other: Self) {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a.extend(b),
            (Self::OptText(a), Self::OptText(b)) => a.extend(b),
            (Self::Int(a), Self::Int(b)) => a.extend(b),
            (Self::OptInt(a), Self::OptInt(b)) => a.extend(b),
            (Self::Float(a), Self::Float(b)) => a.extend(b),
            (Self::OptFloat(a), Self::OptFloat(b)) => a.extend(b),
            (Self::Ids(a), Self::Ids(b)) => a.extend(b),
            (Self::Texts(a), Self::Texts(b)) => a.extend(b),
            (Self::Vectors { values: a, .. }, Self::Vectors { values: b, .. }) => a.extend(b),
            _ => unreachable!("all batches of a file have its schema"),
        }
    }
}

impl Table {
    /// A table.
    ///
    /// # Panics
    /// If the columns differ in length.
    pub fn new(columns: Vec<(&str, Column)>) -> Self {
        let rows = columns.first().map_or(0, |(_, column)| column.len());
        assert!(columns.iter().all(|(_, column)| column.len() == rows), "all columns have a value for each row");
        let columns = columns.into_iter().map(|(name, column)| (name.to_owned(), column)).collect();
        Self { columns, metadata: BTreeMap::new() }
    }

    /// Adds a word of metadata.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.metadata.insert(key.to_owned(), value.to_owned());
        self
    }

    /// A word of metadata.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// Metadata by key.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The columns, in order.
    pub fn columns(&self) -> impl Iterator<Item = (&str, &Column)> {
        self.columns.iter().map(|(name, column)| (name.as_str(), column))
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, |(_, column)| column.len())
    }

    fn column(&self, name: &str) -> Result<&Column, DataError> {
        self.columns.iter().find(|(n, _)| n == name).map(|(_, column)| column).ok_or_else(|| {
            let known: Vec<&str> = self.columns().map(|(name, _)| name).collect();
            content(format!("no column `{name}`; there are {}", known.join(", ")))
        })
    }

    /// A column of texts.
    pub fn text(&self, name: &str) -> Result<&[String], DataError> {
        match self.column(name)? {
            Column::Text(values) => Ok(values),
            _ => Err(content(format!("column `{name}` is not text"))),
        }
    }

    /// A column of texts that may be missing.
    pub fn opt_text(&self, name: &str) -> Result<&[Option<String>], DataError> {
        match self.column(name)? {
            Column::OptText(values) => Ok(values),
            _ => Err(content(format!("column `{name}` is not optional text"))),
        }
    }

    /// A column of whole numbers.
    pub fn int(&self, name: &str) -> Result<&[i64], DataError> {
        match self.column(name)? {
            Column::Int(values) => Ok(values),
            _ => Err(content(format!("column `{name}` is not whole numbers"))),
        }
    }

    /// A column of whole numbers that may be missing.
    pub fn opt_int(&self, name: &str) -> Result<&[Option<i64>], DataError> {
        match self.column(name)? {
            Column::OptInt(values) => Ok(values),
            _ => Err(content(format!("column `{name}` is not optional whole numbers"))),
        }
    }

    /// A column of numbers.
    pub fn float(&self, name: &str) -> Result<&[f64], DataError> {
        match self.column(name)? {
            Column::Float(values) => Ok(values),
            _ => Err(content(format!("column `{name}` is not numbers"))),
        }
    }

    /// A column of id lists.
    pub fn ids(&self, name: &str) -> Result<&[Vec<u32>], DataError> {
        match self.column(name)? {
            Column::Ids(values) => Ok(values),
            _ => Err(content(format!("column `{name}` is not lists of ids"))),
        }
    }

    /// A column of text lists.
    pub fn texts(&self, name: &str) -> Result<&[Vec<String>], DataError> {
        match self.column(name)? {
            Column::Texts(values) => Ok(values),
            _ => Err(content(format!("column `{name}` is not lists of texts"))),
        }
    }

    /// A column of vectors: their width, and all values.
    pub fn vectors(&self, name: &str) -> Result<(usize, &[f32]), DataError> {
        match self.column(name)? {
            Column::Vectors { width, values } => Ok((*width, values)),
            _ => Err(content(format!("column `{name}` is not vectors"))),
        }
    }

    /// The table as Parquet.
    pub fn to_bytes(&self) -> Result<Vec<u8>, DataError> {
        let arrays: Vec<ArrayRef> = self.columns.iter().map(|(_, column)| column.to_array()).collect();
        let fields: Vec<Field> = self
            .columns
            .iter()
            .zip(&arrays)
            .map(|((name, column), array)| Field::new(name, array.data_type().clone(), column.is_optional()))
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let mut properties = WriterProperties::builder()
            .set_created_by("spot".to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
            .set_statistics_enabled(EnabledStatistics::None)
            .set_key_value_metadata(Some(
                self.metadata
                    .iter()
                    .map(|(key, value)| parquet::file::metadata::KeyValue::new(key.clone(), value.clone()))
                    .collect(),
            ));
        for (name, column) in &self.columns {
            if let Column::Vectors { .. } = column {
                // A dictionary of floats is larger than the floats.
                let path = parquet::schema::types::ColumnPath::from(vec![name.clone(), "list".into(), "item".into()]);
                properties = properties.set_column_dictionary_enabled(path, false);
            }
        }
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, schema.clone(), Some(properties.build()))?;
        writer.write(&RecordBatch::try_new(schema, arrays)?)?;
        writer.close()?;
        Ok(bytes)
    }

    /// Reads a table that [`to_bytes`](Self::to_bytes) wrote.
    pub fn read(bytes: &[u8]) -> Result<Self, DataError> {
        // Damaged files make the reader panic here and there; a panic is an unreadable file like any other.
        std::panic::catch_unwind(|| Self::read_trusting(bytes))
            .unwrap_or_else(|_| Err(DataError::Parquet("damaged".to_owned())))
    }

    fn read_trusting(bytes: &[u8]) -> Result<Self, DataError> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::copy_from_slice(bytes))?;
        let metadata = builder.metadata();
        let uncompressed: i64 = metadata.row_groups().iter().map(|group| group.total_byte_size()).sum();
        if metadata.file_metadata().num_rows() > MOST_ROWS || uncompressed > MOST_BYTES {
            return Err(content("the file claims to be larger than any table of this program"));
        }
        let pairs: HashMap<String, Option<String>> = metadata
            .file_metadata()
            .key_value_metadata()
            .map(|pairs| pairs.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect())
            .unwrap_or_default();
        let schema = builder.schema().clone();
        let mut columns: Vec<(String, Column)> = Vec::new();
        for batch in builder.with_batch_size(1 << 16).build()? {
            let batch = batch?;
            for (i, (field, array)) in schema.fields().iter().zip(batch.columns()).enumerate() {
                let column = Column::from_array(field.name(), array, field.is_nullable())?;
                match columns.get_mut(i) {
                    Some((_, whole)) => whole.append(column),
                    None => columns.push((field.name().clone(), column)),
                }
            }
        }
        if columns.is_empty() {
            // No batch: a table without rows.
            for field in schema.fields() {
                let empty = arrow_array::new_empty_array(field.data_type());
                columns.push((field.name().clone(), Column::from_array(field.name(), &empty, field.is_nullable())?));
            }
        }
        let metadata = pairs
            .into_iter()
            .filter(|(key, _)| key != "ARROW:schema")
            .filter_map(|(key, value)| Some((key, value?)))
            .collect();
        Ok(Self { columns, metadata })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table::new(vec![
            ("text", Column::Text(vec!["a".into(), "ü|\"".into(), String::new()])),
            ("opt", Column::OptInt(vec![Some(1), None, Some(-3)])),
            ("number", Column::Float(vec![0.5, -1e300, 3.0])),
            ("ids", Column::Ids(vec![vec![], vec![1, 2], vec![u32::MAX]])),
            ("texts", Column::Texts(vec![vec!["x".into()], vec![], vec!["y".into(), "z".into()]])),
            ("vector", Column::Vectors { width: 2, values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] }),
        ])
        .with("task", "mnli")
    }

    #[test]
    fn a_table_reads_back_and_equal_tables_have_equal_bytes() {
        let bytes = table().to_bytes().unwrap();
        assert_eq!(bytes, table().to_bytes().unwrap());
        assert_eq!(Table::read(&bytes).unwrap(), table());
    }

    #[test]
    fn a_table_without_rows_keeps_its_columns() {
        let empty = Table::new(vec![("step", Column::Int(vec![])), ("score", Column::OptFloat(vec![]))]);
        assert_eq!(Table::read(&empty.to_bytes().unwrap()).unwrap(), empty);
    }

    #[test]
    fn a_truncated_file_is_an_error_wherever_it_ends() {
        let bytes = table().to_bytes().unwrap();
        for tenth in 0..10 {
            assert!(Table::read(&bytes[..bytes.len() * tenth / 10]).is_err(), "{tenth} tenths");
        }
    }

    #[test]
    fn flipped_bytes_never_crash() {
        let bytes = table().to_bytes().unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            let _: Result<Table, DataError> = Table::read(&damaged);
        }
    }
}
