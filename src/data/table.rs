//! Tables with typed columns and text metadata, to Parquet and back.

use super::DataError;
use crate::panic::caught;
use arrow_array::builder::{
    BooleanBuilder, FixedSizeListBuilder, ListBuilder, PrimitiveBuilder, StringBuilder, UInt32Builder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{ColumnChunkMetaData, KeyValue, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::ChunkReader;
use parquet::file::writer::SerializedFileWriter;
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

/// Rows of a row group, and of what is turned into arrow's arrays at a time.
pub(super) const GROUP: usize = 16_384;

/// Rows that are unpacked before their size is looked at. Few, since a dictionary can make every row of a small file long.
const BATCH: usize = 256;

/// A file may unpack to this many times its size, and [`ALLOWANCE`] bytes on top. Text packs some tenfold; columns that
/// repeat one value pack without limit, but stay small.
pub(super) const EXPANSION: usize = 1000;
const ALLOWANCE: usize = 64 << 20;

/// Columns of equal length, and text metadata.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Names and columns, in the order of the file.
    pub columns: Vec<(String, Column)>,
    /// File metadata.
    pub metadata: BTreeMap<String, String>,
}

/// A column of one type.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Texts.
    Text(Vec<String>),
    /// Texts that may be missing.
    OptText(Vec<Option<String>>),
    /// Whole numbers.
    Int(Vec<i64>),
    /// Whole numbers that may be missing.
    OptInt(Vec<Option<i64>>),
    /// Whole numbers from 0 that may need all bits: seeds, digests.
    Unsigned(Vec<u64>),
    /// Such numbers that may be missing.
    OptUnsigned(Vec<Option<u64>>),
    /// Numbers.
    Float(Vec<f64>),
    /// Numbers that may be missing.
    OptFloat(Vec<Option<f64>>),
    /// Yes or no.
    Bool(Vec<bool>),
    /// Lists of texts.
    Texts(Vec<Vec<String>>),
    /// Lists of token ids.
    Ids(Vec<Vec<u32>>),
    /// Vectors of one width, such as embeddings, row after row.
    Vector {
        /// Numbers in each row.
        width: usize,
        /// All rows, one after the other.
        values: Vec<f32>,
    },
}

impl Column {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(rows) => rows.len(),
            Self::OptText(rows) => rows.len(),
            Self::Int(rows) => rows.len(),
            Self::OptInt(rows) => rows.len(),
            Self::Unsigned(rows) => rows.len(),
            Self::OptUnsigned(rows) => rows.len(),
            Self::Float(rows) => rows.len(),
            Self::OptFloat(rows) => rows.len(),
            Self::Bool(rows) => rows.len(),
            Self::Texts(rows) => rows.len(),
            Self::Ids(rows) => rows.len(),
            Self::Vector { width, values } => values.len() / width.max(&1),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::OptText(_) => "text with gaps",
            Self::Int(_) => "whole numbers",
            Self::OptInt(_) => "whole numbers with gaps",
            Self::Unsigned(_) => "whole numbers from 0",
            Self::OptUnsigned(_) => "whole numbers from 0 with gaps",
            Self::Float(_) => "numbers",
            Self::OptFloat(_) => "numbers with gaps",
            Self::Bool(_) => "booleans",
            Self::Texts(_) => "lists of text",
            Self::Ids(_) => "lists of whole numbers",
            Self::Vector { .. } => "vectors",
        }
    }
}

impl Table {
    /// A table of these columns.
    pub fn new<N: Into<String>>(columns: impl IntoIterator<Item = (N, Column)>) -> Self {
        Self { columns: columns.into_iter().map(|(name, column)| (name.into(), column)).collect(), ..Self::default() }
    }

    /// The same with one more entry of metadata.
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.metadata.insert(key.to_owned(), value.into());
        self
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, |(_, column)| column.len())
    }

    /// The table as Parquet. Equal tables give equal bytes.
    ///
    /// # Errors
    /// If Parquet refuses.
    ///
    /// # Panics
    /// If columns differ in length or share a name.
    pub fn to_parquet(&self) -> Result<Vec<u8>, DataError> {
        let mut writer = TableWriter::new(Vec::new(), self)?;
        for start in (0..self.rows()).step_by(GROUP) {
            writer.write_rows(self, start, self.rows().min(start + GROUP))?;
        }
        writer.finish()
    }

    /// Reads a table from Parquet, also from files that other programs wrote.
    ///
    /// # Errors
    /// If it is not Parquet, or a column has a type that tables lack.
    pub fn from_parquet(bytes: &[u8]) -> Result<Self, DataError> {
        guarded(|| decode(bytes, |_| true))
    }

    /// Reads some columns of a table from Parquet; the others may be of any type.
    ///
    /// # Errors
    /// If it is not Parquet, or a wanted column has a type that tables lack.
    pub fn columns_from_parquet(bytes: &[u8], wanted: impl Fn(&str) -> bool) -> Result<Self, DataError> {
        guarded(|| decode(bytes, wanted))
    }

    /// The names of the columns of a table in Parquet.
    ///
    /// # Errors
    /// If it is not Parquet.
    pub fn names_from_parquet(bytes: &[u8]) -> Result<Vec<String>, DataError> {
        guarded(|| Ok(open(bytes)?.schema().fields().iter().map(|field| field.name().clone()).collect()))
    }

    /// A text of the metadata of a file in Parquet, of which only the footer is read.
    ///
    /// # Errors
    /// If it is not Parquet.
    pub(super) fn note_in_parquet(bytes: &[u8], key: &str) -> Result<Option<String>, DataError> {
        guarded(|| {
            let footer = footer(bytes).ok_or_else(|| DataError::Parquet("it has no footer".to_owned()))?;
            let metadata = ParquetMetaDataReader::decode_metadata(footer).map_err(|error| failed(&error))?;
            let pairs = metadata.file_metadata().key_value_metadata().into_iter().flatten();
            Ok(pairs.into_iter().find(|pair| pair.key == key).and_then(|pair| pair.value.clone()))
        })
    }

    fn take(&mut self, name: &str) -> Result<Column, DataError> {
        match self.columns.iter().position(|(other, _)| other == name) {
            Some(at) => Ok(self.columns.remove(at).1),
            None => {
                let names: Vec<String> = self.columns.iter().map(|(name, _)| format!("`{name}`")).collect();
                Err(DataError::Missing { expected: name.to_owned(), found: names.join(", ") })
            }
        }
    }

    /// Takes out a column of texts.
    ///
    /// # Errors
    /// If it is missing, holds anything else, or has gaps.
    pub fn take_text(&mut self, name: &str) -> Result<Vec<String>, DataError> {
        match self.take(name)? {
            Column::Text(rows) => Ok(rows),
            Column::OptText(rows) => without_gaps(name, rows),
            other => Err(unexpected(name, &other, "text")),
        }
    }

    /// Takes out a column of texts that may be missing.
    ///
    /// # Errors
    /// If it is missing or holds anything else.
    pub fn take_opt_text(&mut self, name: &str) -> Result<Vec<Option<String>>, DataError> {
        match self.take(name)? {
            Column::Text(rows) => Ok(rows.into_iter().map(Some).collect()),
            Column::OptText(rows) => Ok(rows),
            other => Err(unexpected(name, &other, "text")),
        }
    }

    /// Takes out a column of whole numbers.
    ///
    /// # Errors
    /// If it is missing, holds anything else, or has gaps.
    pub fn take_int(&mut self, name: &str) -> Result<Vec<i64>, DataError> {
        match self.take(name)? {
            Column::Int(rows) => Ok(rows),
            Column::OptInt(rows) => without_gaps(name, rows),
            other => Err(unexpected(name, &other, "whole numbers")),
        }
    }

    /// Takes out a column of whole numbers that may be missing.
    ///
    /// # Errors
    /// If it is missing or holds anything else.
    pub fn take_opt_int(&mut self, name: &str) -> Result<Vec<Option<i64>>, DataError> {
        match self.take(name)? {
            Column::Int(rows) => Ok(rows.into_iter().map(Some).collect()),
            Column::OptInt(rows) => Ok(rows),
            other => Err(unexpected(name, &other, "whole numbers")),
        }
    }

    /// Takes out a column of whole numbers from 0.
    ///
    /// # Errors
    /// If it is missing, holds anything else, or has gaps.
    pub fn take_unsigned(&mut self, name: &str) -> Result<Vec<u64>, DataError> {
        match self.take(name)? {
            Column::Unsigned(rows) => Ok(rows),
            Column::OptUnsigned(rows) => without_gaps(name, rows),
            other => Err(unexpected(name, &other, "whole numbers from 0")),
        }
    }

    /// Takes out a column of whole numbers from 0 that may be missing.
    ///
    /// # Errors
    /// If it is missing or holds anything else.
    pub fn take_opt_unsigned(&mut self, name: &str) -> Result<Vec<Option<u64>>, DataError> {
        match self.take(name)? {
            Column::Unsigned(rows) => Ok(rows.into_iter().map(Some).collect()),
            Column::OptUnsigned(rows) => Ok(rows),
            other => Err(unexpected(name, &other, "whole numbers from 0")),
        }
    }

    /// Takes out a column of booleans.
    ///
    /// # Errors
    /// If it is missing or holds anything else.
    pub fn take_bool(&mut self, name: &str) -> Result<Vec<bool>, DataError> {
        match self.take(name)? {
            Column::Bool(rows) => Ok(rows),
            other => Err(unexpected(name, &other, "booleans")),
        }
    }

    /// Takes out a column of numbers.
    ///
    /// # Errors
    /// If it is missing, holds anything else, or has gaps.
    pub fn take_float(&mut self, name: &str) -> Result<Vec<f64>, DataError> {
        match self.take(name)? {
            Column::Float(rows) => Ok(rows),
            Column::OptFloat(rows) => without_gaps(name, rows),
            other => Err(unexpected(name, &other, "numbers")),
        }
    }

    /// Takes out a column of numbers that may be missing.
    ///
    /// # Errors
    /// If it is missing or holds anything else.
    pub fn take_opt_float(&mut self, name: &str) -> Result<Vec<Option<f64>>, DataError> {
        match self.take(name)? {
            Column::Float(rows) => Ok(rows.into_iter().map(Some).collect()),
            Column::OptFloat(rows) => Ok(rows),
            other => Err(unexpected(name, &other, "numbers")),
        }
    }

    /// Takes out a column of lists of texts.
    ///
    /// # Errors
    /// If it is missing or holds anything else.
    pub fn take_texts(&mut self, name: &str) -> Result<Vec<Vec<String>>, DataError> {
        match self.take(name)? {
            Column::Texts(rows) => Ok(rows),
            other => Err(unexpected(name, &other, "lists of text")),
        }
    }

    /// Takes out a column of lists of token ids.
    ///
    /// # Errors
    /// If it is missing or holds anything else.
    pub fn take_ids(&mut self, name: &str) -> Result<Vec<Vec<u32>>, DataError> {
        match self.take(name)? {
            Column::Ids(rows) => Ok(rows),
            other => Err(unexpected(name, &other, "lists of whole numbers")),
        }
    }

    /// Takes out a column of vectors: their width, and all of them one after the other.
    ///
    /// # Errors
    /// If it is missing or holds anything else.
    pub fn take_vectors(&mut self, name: &str) -> Result<(usize, Vec<f32>), DataError> {
        match self.take(name)? {
            Column::Vector { width, values } => Ok((width, values)),
            other => Err(unexpected(name, &other, "vectors")),
        }
    }
}

/// A table that is written to Parquet row group by row group, with the bytes that [`Table::to_parquet`] makes of all rows. The columns of a
/// row group are packed on all threads.
pub(super) struct TableWriter<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    columns: ArrowRowGroupWriterFactory,
    schema: Arc<Schema>,
}

impl<W: Write + Send> TableWriter<W> {
    /// A file with the columns and the metadata of a table, whose rows are not written yet.
    ///
    /// # Errors
    /// If Parquet refuses, or `to` cannot be written.
    ///
    /// # Panics
    /// If columns share a name.
    pub(super) fn new(to: W, table: &Table) -> Result<Self, DataError> {
        for (at, (name, _)) in table.columns.iter().enumerate() {
            assert!(table.columns[..at].iter().all(|(other, _)| other != name), "column `{name}` twice");
        }
        let fields: Vec<Field> = table.columns.iter().map(|(name, column)| field(name, column)).collect();
        // Metadata goes into the file's own list: the schema keeps its metadata in a hash map, whose order differs by run.
        let schema = Arc::new(Schema::new(fields));
        let metadata = table.metadata.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect();
        let properties = WriterProperties::builder()
            .set_created_by("spot".to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).expect("3 is a level of zstd")))
            .set_max_row_group_row_count(Some(GROUP))
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_key_value_metadata(Some(metadata))
            .build();
        let writer = ArrowWriter::try_new(to, schema.clone(), Some(properties)).map_err(|error| failed(&error))?;
        let (writer, columns) = writer.into_serialized_writer().map_err(|error| failed(&error))?;
        Ok(Self { writer, columns, schema })
    }

    /// Writes a row group: the rows of a table with the same columns. All but the last must have [`GROUP`] rows.
    ///
    /// # Errors
    /// If Parquet refuses, or the file cannot be written.
    ///
    /// # Panics
    /// If columns differ in length.
    pub(super) fn write(&mut self, table: &Table) -> Result<(), DataError> {
        self.write_rows(table, 0, table.rows())
    }

    fn write_rows(&mut self, table: &Table, start: usize, end: usize) -> Result<(), DataError> {
        for (name, column) in &table.columns {
            assert_eq!(column.len(), table.rows(), "column `{name}` has another length than the first");
        }
        if start == end {
            return Ok(());
        }
        let arrays = table.columns.par_iter().map(|(_, column)| array(column, start, end)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(end - start));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .map_err(|error| DataError::Parquet(error.to_string()))?;
        self.write_group(&batch).map_err(|error| failed(&error))
    }

    fn write_group(&mut self, batch: &RecordBatch) -> parquet::errors::Result<()> {
        let writers = self.columns.create_column_writers(self.writer.flushed_row_groups().len())?;
        let columns = self.schema.fields().par_iter().zip(batch.columns());
        let chunks: Vec<_> =
            writers.into_par_iter().zip(columns).map(|(writer, (field, array))| packed(writer, field, array)).collect();
        let mut group = self.writer.next_row_group()?;
        for chunk in chunks {
            chunk?.append_to_row_group(&mut group)?;
        }
        group.close()?;
        Ok(())
    }

    /// Writes the footer, and gives back what was written to.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub(super) fn finish(self) -> Result<W, DataError> {
        self.writer.into_inner().map_err(|error| failed(&error))
    }
}

/// A column of a row group. None of ours is more than one column of Parquet.
fn packed(mut writer: ArrowColumnWriter, field: &Field, array: &ArrayRef) -> parquet::errors::Result<ArrowColumnChunk> {
    for leaf in compute_leaves(field, array)? {
        writer.write(&leaf)?;
    }
    writer.close()
}

fn without_gaps<T>(name: &str, rows: Vec<Option<T>>) -> Result<Vec<T>, DataError> {
    match rows.iter().position(Option::is_none) {
        None => Ok(rows.into_iter().flatten().collect()),
        Some(row) => Err(DataError::Cell {
            row,
            column: name.to_owned(),
            found: "missing".to_owned(),
            expected: "a value in every row".to_owned(),
        }),
    }
}

fn unexpected(name: &str, found: &Column, expected: &str) -> DataError {
    DataError::Type { column: name.to_owned(), found: found.describe().to_owned(), expected: expected.to_owned() }
}

fn field(name: &str, column: &Column) -> Field {
    let list = |item| DataType::List(Arc::new(element(item)));
    let (kind, gaps) = match column {
        Column::Text(_) => (DataType::Utf8, false),
        Column::OptText(_) => (DataType::Utf8, true),
        Column::Int(_) => (DataType::Int64, false),
        Column::OptInt(_) => (DataType::Int64, true),
        Column::Unsigned(_) => (DataType::UInt64, false),
        Column::OptUnsigned(_) => (DataType::UInt64, true),
        Column::Float(_) => (DataType::Float64, false),
        Column::OptFloat(_) => (DataType::Float64, true),
        Column::Bool(_) => (DataType::Boolean, false),
        Column::Texts(_) => (list(DataType::Utf8), false),
        Column::Ids(_) => (list(DataType::UInt32), false),
        Column::Vector { width, .. } => {
            (DataType::FixedSizeList(Arc::new(element(DataType::Float32)), to_i32(*width)), false)
        }
    };
    Field::new(name, kind, gaps)
}

fn element(kind: DataType) -> Field {
    Field::new("element", kind, false)
}

fn to_i32(width: usize) -> i32 {
    i32::try_from(width).expect("vectors have fewer than 2^31 numbers")
}

fn array(column: &Column, start: usize, end: usize) -> ArrayRef {
    match column {
        Column::Text(rows) => texts(rows[start..end].iter().map(|text| Some(text.as_str()))),
        Column::OptText(rows) => texts(rows[start..end].iter().map(Option::as_deref)),
        Column::Int(rows) => numbers::<Int64Type>(rows[start..end].iter().map(|number| Some(*number))),
        Column::OptInt(rows) => numbers::<Int64Type>(rows[start..end].iter().copied()),
        Column::Unsigned(rows) => numbers::<UInt64Type>(rows[start..end].iter().map(|number| Some(*number))),
        Column::OptUnsigned(rows) => numbers::<UInt64Type>(rows[start..end].iter().copied()),
        Column::Float(rows) => numbers::<Float64Type>(rows[start..end].iter().map(|number| Some(*number))),
        Column::OptFloat(rows) => numbers::<Float64Type>(rows[start..end].iter().copied()),
        Column::Bool(rows) => {
            let mut builder = BooleanBuilder::with_capacity(end - start);
            builder.append_slice(&rows[start..end]);
            Arc::new(builder.finish())
        }
        Column::Texts(rows) => {
            let mut builder = ListBuilder::new(StringBuilder::new()).with_field(element(DataType::Utf8));
            for row in &rows[start..end] {
                row.iter().for_each(|text| builder.values().append_value(text));
                builder.append(true);
            }
            Arc::new(builder.finish())
        }
        Column::Ids(rows) => {
            let mut builder = ListBuilder::new(UInt32Builder::new()).with_field(element(DataType::UInt32));
            for row in &rows[start..end] {
                builder.values().append_slice(row);
                builder.append(true);
            }
            Arc::new(builder.finish())
        }
        Column::Vector { width, values } => {
            let numbers = PrimitiveBuilder::<Float32Type>::new();
            let mut builder = FixedSizeListBuilder::new(numbers, to_i32(*width)).with_field(element(DataType::Float32));
            for row in values[start * width..end * width].chunks_exact(*width) {
                builder.values().append_slice(row);
                builder.append(true);
            }
            Arc::new(builder.finish())
        }
    }
}

fn texts<'t>(rows: impl Iterator<Item = Option<&'t str>>) -> ArrayRef {
    let mut builder = StringBuilder::new();
    rows.for_each(|text| builder.append_option(text));
    Arc::new(builder.finish())
}

fn numbers<T: ArrowPrimitiveType>(rows: impl Iterator<Item = Option<T::Native>>) -> ArrayRef {
    let mut builder = PrimitiveBuilder::<T>::new();
    rows.for_each(|number| builder.append_option(number));
    Arc::new(builder.finish())
}

/// Some damaged files make the decoder panic on an index or a length; that must not end the program.
fn guarded<T>(decode: impl FnOnce() -> Result<T, DataError>) -> Result<T, DataError> {
    guarded_as(DataError::Parquet, decode)
}

/// What a decoder makes of a file that may be damaged; a panic is an error too.
///
/// # Errors
/// Those of the decoder.
pub(super) fn guarded_as<T>(
    failed: fn(String) -> DataError,
    decode: impl FnOnce() -> Result<T, DataError>,
) -> Result<T, DataError> {
    caught(decode).unwrap_or_else(|_| Err(failed("the decoder failed on its content".to_owned())))
}

fn failed(error: &dyn std::fmt::Display) -> DataError {
    DataError::Parquet(error.to_string())
}

/// The metadata at the end of a file, without their length and the letters that every file ends in.
fn footer(bytes: &[u8]) -> Option<&[u8]> {
    let (rest, length) = bytes.strip_suffix(b"PAR1")?.split_last_chunk::<4>()?;
    rest.get(rest.len().checked_sub(usize::try_from(u32::from_le_bytes(*length)).ok()?)?..)
}

fn open(bytes: &[u8]) -> Result<ParquetRecordBatchReaderBuilder<Bytes>, DataError> {
    open_from(Bytes::copy_from_slice(bytes))
}

/// A file whose pages are read as they are needed.
fn open_from<R: ChunkReader + 'static>(source: R) -> Result<ParquetRecordBatchReaderBuilder<R>, DataError> {
    // The types of Parquet say all we need; a schema that a writer left for itself is one more thing that can lie.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    ParquetRecordBatchReaderBuilder::try_new_with_options(source, options).map_err(|error| failed(&error))
}

fn decode(bytes: &[u8], wanted: impl Fn(&str) -> bool) -> Result<Table, DataError> {
    let reader = open(bytes)?;
    let pairs = reader.metadata().file_metadata().key_value_metadata();
    let metadata = pairs
        .into_iter()
        .flatten()
        .filter(|pair| pair.key != "ARROW:schema")
        .map(|pair| (pair.key.clone(), pair.value.clone().unwrap_or_default()))
        .collect();
    let mut columns: Vec<(String, Column)> = Vec::new();
    for field in reader.schema().fields().iter().filter(|field| wanted(field.name())) {
        columns.push((field.name().clone(), empty(field)?));
    }
    unpack(bytes.len(), reader, None, wanted, |batch, row| {
        for ((name, column), array) in columns.iter_mut().zip(batch.columns()) {
            append(column, name, array, row)?;
        }
        Ok::<_, DataError>(())
    })?;
    Ok(Table { columns, metadata })
}

/// Unpacks columns of a file of `size` bytes piece by piece, of all row groups or of one: `take` gets some rows of the wanted columns, and
/// the number of the first.
fn unpack<R: ChunkReader + 'static, E: From<DataError>>(
    size: usize,
    mut reader: ParquetRecordBatchReaderBuilder<R>,
    group: Option<usize>,
    wanted: impl Fn(&str) -> bool,
    mut take: impl FnMut(&RecordBatch, usize) -> Result<(), E>,
) -> Result<(), E> {
    let all = reader.schema().fields();
    let kept: Vec<usize> = (0..all.len()).filter(|at| wanted(all[*at].name())).collect();
    let limit = size.saturating_mul(EXPANSION).saturating_add(ALLOWANCE);
    let groups = reader.metadata().row_groups();
    let all_rows = reader.metadata().file_metadata().num_rows();
    if rows_of(groups).and_then(|rows| i64::try_from(rows).ok()) != Some(all_rows) {
        let message = format!("the footer says {all_rows} rows, but its row groups have others");
        return Err(DataError::Parquet(message).into());
    }
    let (first, expected) = match group {
        Some(at) => (rows_of(&groups[..at]).unwrap_or_default(), groups[at].num_rows()),
        None => (0, all_rows),
    };
    let bomb = || DataError::Bomb { limit, size };
    let values = |group: &RowGroupMetaData| group.columns().iter().map(ColumnChunkMetaData::num_values).max();
    if reader.metadata().row_groups().iter().filter_map(values).chain([all_rows]).any(|n| n as u64 > limit as u64) {
        return Err(bomb().into());
    }
    let (mut row, mut unpacked) = (0, 0_usize);
    let mask = ProjectionMask::roots(reader.parquet_schema(), kept);
    if let Some(group) = group {
        reader = reader.with_row_groups(vec![group]);
    }
    let mut batches =
        guarded(|| reader.with_projection(mask).with_batch_size(BATCH).build().map_err(|error| failed(&error)))?;
    while let Some(batch) = guarded(|| batches.next().transpose().map_err(|error| failed(&error)))? {
        unpacked = unpacked.saturating_add(batch.get_array_memory_size());
        if unpacked > limit {
            return Err(bomb().into());
        }
        take(&batch, first + row)?;
        row += batch.num_rows();
    }
    if i64::try_from(row) != Ok(expected) {
        return Err(DataError::Parquet(format!("the footer says {expected} rows, but {row} are there")).into());
    }
    Ok(())
}

/// The rows of row groups; `None` if they say what no file has.
fn rows_of(groups: &[RowGroupMetaData]) -> Option<usize> {
    let rows = |group: &RowGroupMetaData| usize::try_from(group.num_rows()).ok();
    groups.iter().try_fold(0_usize, |sum, group| sum.checked_add(rows(group)?))
}

/// A table of which row groups are read one by one.
pub(super) struct TableFile {
    file: fs_err::File,
    size: usize,
    metadata: ArrowReaderMetadata,
}

impl TableFile {
    /// A file of Parquet, of which the footer is read.
    ///
    /// # Errors
    /// If it is not Parquet, or cannot be read.
    pub(super) fn open(file: fs_err::File) -> Result<Self, DataError> {
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = guarded(|| ArrowReaderMetadata::load(file.file(), options).map_err(|error| failed(&error)))?;
        let size = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        Ok(Self { file, size, metadata })
    }

    /// The metadata of the file, in a table without columns.
    pub(super) fn head(&self) -> Table {
        let pairs = self.metadata.metadata().file_metadata().key_value_metadata();
        let pair = |pair: &KeyValue| (pair.key.clone(), pair.value.clone().unwrap_or_default());
        let metadata = pairs.into_iter().flatten().filter(|pair| pair.key != "ARROW:schema").map(pair).collect();
        Table { columns: Vec::new(), metadata }
    }

    /// Number of row groups.
    pub(super) fn groups(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    /// Some columns of a row group, some rows at a time: `take` gets them with the number that the first has in the file.
    ///
    /// # Errors
    /// If the file is damaged, a wanted column has a type that tables lack, and what `take` returns.
    pub(super) fn each(
        &self,
        group: usize,
        wanted: &dyn Fn(&str) -> bool,
        take: &mut dyn FnMut(Table, usize) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let reader =
            ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.file().try_clone()?, self.metadata.clone());
        let schema = self.metadata.schema().clone();
        unpack(self.size, reader, Some(group), wanted, |batch, first| {
            let mut columns = Vec::new();
            for (field, array) in schema.fields().iter().filter(|field| wanted(field.name())).zip(batch.columns()) {
                let mut column = empty(field)?;
                guarded(|| append(&mut column, field.name(), array, first))?;
                columns.push((field.name().clone(), column));
            }
            take(Table { columns, metadata: BTreeMap::new() }, first)
        })
    }
}

/// The columns of a Parquet file of `size` bytes that `wanted` chooses, once it knows the names of all, some rows at a time. `take` gets
/// the names of the chosen ones, their rows, and the number of the first row; it is not called for a file without rows.
///
/// # Errors
/// If it is not Parquet, and what `wanted` and `take` return.
pub(super) fn each_batch<R: ChunkReader + 'static, E: From<DataError>>(
    source: R,
    size: usize,
    wanted: impl FnOnce(&[&str]) -> Result<Vec<bool>, E>,
    mut take: impl FnMut(&[String], &RecordBatch, usize) -> Result<(), E>,
) -> Result<(), E> {
    let reader = guarded(|| open_from(source))?;
    let names: Vec<String> = reader.schema().fields().iter().map(|field| field.name().clone()).collect();
    let chosen = wanted(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
    let kept: Vec<String> =
        names.iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|(name, _)| name.clone()).collect();
    unpack(size, reader, None, |name| kept.iter().any(|kept| kept == name), |batch, row| take(&kept, batch, row))
}

/// A column without rows for a field of a file.
fn empty(field: &Field) -> Result<Column, DataError> {
    use DataType::{Boolean, Float32, Float64, Int8, Int16, Int32, Int64, List, UInt8, UInt16, UInt32, UInt64, Utf8};
    let item = match field.data_type() {
        List(item) => Some(item.data_type()),
        _ => None,
    };
    Ok(match (field.data_type(), item, field.is_nullable()) {
        (Utf8, _, false) => Column::Text(Vec::new()),
        (Utf8, _, true) => Column::OptText(Vec::new()),
        (Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32, _, false) => Column::Int(Vec::new()),
        (Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32, _, true) => Column::OptInt(Vec::new()),
        (UInt64, _, false) => Column::Unsigned(Vec::new()),
        (UInt64, _, true) => Column::OptUnsigned(Vec::new()),
        (Float32 | Float64, _, false) => Column::Float(Vec::new()),
        (Float32 | Float64, _, true) => Column::OptFloat(Vec::new()),
        (Boolean, _, _) => Column::Bool(Vec::new()),
        (_, Some(Utf8), _) => Column::Texts(Vec::new()),
        (_, Some(Int32 | Int64 | UInt32), _) => Column::Ids(Vec::new()),
        (_, Some(Float32), _) => Column::Vector { width: 0, values: Vec::new() },
        (other, _, _) => {
            return Err(DataError::Type {
                column: field.name().clone(),
                found: other.to_string(),
                expected: "text, numbers, booleans, or lists of text, whole numbers or 32-bit floats".to_owned(),
            });
        }
    })
}

fn append(column: &mut Column, name: &str, array: &ArrayRef, first: usize) -> Result<(), DataError> {
    let cell = |row: usize, found: String, expected: &str| DataError::Cell {
        row: first + row,
        column: name.to_owned(),
        found,
        expected: expected.to_owned(),
    };
    let gapless = |array: &dyn Array| match (0..array.len()).find(|row| array.is_null(*row)) {
        None => Ok(()),
        Some(row) => Err(cell(row, "missing".to_owned(), "a value in every row")),
    };
    match column {
        Column::Text(rows) => {
            rows.extend(array.as_string::<i32>().iter().map(|text| text.unwrap_or_default().to_owned()));
        }
        Column::OptText(rows) => rows.extend(array.as_string::<i32>().iter().map(|text| text.map(str::to_owned))),
        Column::Int(rows) => rows.extend(whole(array).into_iter().flatten()),
        Column::OptInt(rows) => rows.extend(whole(array)),
        Column::Unsigned(rows) => rows.extend(array.as_primitive::<UInt64Type>().iter().flatten()),
        Column::OptUnsigned(rows) => rows.extend(array.as_primitive::<UInt64Type>().iter()),
        Column::Float(rows) => rows.extend(real(array).into_iter().flatten()),
        Column::OptFloat(rows) => rows.extend(real(array)),
        Column::Bool(rows) => {
            gapless(array)?;
            rows.extend(array.as_boolean().iter().flatten());
        }
        Column::Texts(rows) => {
            gapless(array)?;
            for (row, list) in array.as_list::<i32>().iter().flatten().enumerate() {
                let texts = list.as_string::<i32>();
                if texts.null_count() > 0 {
                    return Err(cell(row, "a gap in a list".to_owned(), "texts"));
                }
                rows.push(texts.iter().flatten().map(str::to_owned).collect());
            }
        }
        Column::Ids(rows) => {
            gapless(array)?;
            for (row, list) in array.as_list::<i32>().iter().flatten().enumerate() {
                let ids: Option<Vec<u32>> =
                    whole(&list).into_iter().map(|id| id.and_then(|id| u32::try_from(id).ok())).collect();
                rows.push(ids.ok_or_else(|| {
                    cell(row, "a list with a gap or a number that is not an id".to_owned(), "token ids")
                })?);
            }
        }
        Column::Vector { width, values } => {
            gapless(array)?;
            for (row, list) in array.as_list::<i32>().iter().flatten().enumerate() {
                if *width == 0 {
                    *width = list.len();
                }
                if list.len() != *width || list.is_empty() || list.null_count() > 0 {
                    let found = format!("{} numbers, {} of them missing", list.len(), list.null_count());
                    return Err(cell(row, found, &format!("{} as in the first row, and at least one", *width)));
                }
                values.extend_from_slice(list.as_primitive::<Float32Type>().values());
            }
        }
    }
    Ok(())
}

/// Whole numbers of any of the widths that [`empty`] admits.
fn whole(array: &ArrayRef) -> Vec<Option<i64>> {
    fn of<T: ArrowPrimitiveType<Native: Into<i64>>>(array: &ArrayRef) -> Vec<Option<i64>> {
        array.as_primitive::<T>().iter().map(|number| number.map(Into::into)).collect()
    }
    match array.data_type() {
        DataType::Int8 => of::<Int8Type>(array),
        DataType::Int16 => of::<Int16Type>(array),
        DataType::Int32 => of::<Int32Type>(array),
        DataType::UInt8 => of::<UInt8Type>(array),
        DataType::UInt16 => of::<UInt16Type>(array),
        DataType::UInt32 => of::<UInt32Type>(array),
        _ => of::<Int64Type>(array),
    }
}

fn real(array: &ArrayRef) -> Vec<Option<f64>> {
    if array.data_type() == &DataType::Float32 {
        array.as_primitive::<Float32Type>().iter().map(|number| number.map(f64::from)).collect()
    } else {
        array.as_primitive::<Float64Type>().iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polars::prelude::{AnyValue, Column as PolarsColumn, DataFrame, DataType as PolarsType, NamedFrom, Series};
    use polars_io::SerReader;
    use polars_io::parquet::read::ParquetReader;
    use polars_io::parquet::write::ParquetWriter;

    fn table(rows: usize) -> Table {
        let odd = |i: usize| i % 2 == 1;
        let (text, number) = (|i: usize| format!("row {i} é"), |i: usize| i as i64 - 3);
        Table::new([
            ("text", Column::Text((0..rows).map(text).collect())),
            ("opt_text", Column::OptText((0..rows).map(|i| odd(i).then(|| text(i))).collect())),
            ("int", Column::Int((0..rows).map(number).collect())),
            ("opt_int", Column::OptInt((0..rows).map(|i| odd(i).then(|| number(i))).collect())),
            ("float", Column::Float((0..rows).map(|i| i as f64 / 7.0).collect())),
            ("opt_float", Column::OptFloat((0..rows).map(|i| odd(i).then_some(i as f64 / 7.0)).collect())),
            ("bool", Column::Bool((0..rows).map(odd).collect())),
            ("texts", Column::Texts((0..rows).map(|i| (0..i % 4).map(text).collect()).collect())),
            ("ids", Column::Ids((0..rows).map(|i| (0..i as u32 % 5).map(|k| u32::MAX - k).collect()).collect())),
            ("vector", Column::Vector { width: 3, values: (0..3 * rows).map(|i| i as f32 / 3.0).collect() }),
        ])
        .with("b", "2")
        .with("a", "{\"x\": 1}")
    }

    #[test]
    fn tables_come_back_as_they_were() {
        for rows in [1, 5, GROUP, 2 * GROUP + 7] {
            let table = table(rows);
            assert_eq!(Table::from_parquet(&table.to_parquet().unwrap()).unwrap(), table, "{rows} rows");
        }
    }

    #[test]
    fn threads_that_pack_columns_change_no_byte() {
        let table = table(GROUP + 9);
        let bytes = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| table.to_parquet().unwrap())
        };
        assert!(bytes(1) == bytes(3));
    }

    #[test]
    fn unsigned_numbers_keep_all_their_bits() {
        let (all, gaps) = (vec![0, u64::MAX, 1 << 63], vec![Some(u64::MAX), None, Some(0)]);
        let columns = [("all", Column::Unsigned(all.clone())), ("gaps", Column::OptUnsigned(gaps.clone()))];
        let table = Table::new(columns);
        let bytes = table.to_parquet().unwrap();
        let mut back = Table::from_parquet(&bytes).unwrap();
        assert_eq!(back, table);
        assert_eq!((back.take_unsigned("all").unwrap(), back.take_opt_unsigned("gaps").unwrap()), (all, gaps));
        let error = Table::from_parquet(&bytes).unwrap().take_unsigned("gaps").unwrap_err().to_string();
        assert_eq!(error, "row 1, column `gaps`: missing, expected a value in every row");
        let frame = ParquetReader::new(std::io::Cursor::new(bytes)).finish().unwrap();
        assert_eq!(frame.column("all").unwrap().get(1).unwrap(), AnyValue::UInt64(u64::MAX));
    }

    #[test]
    fn a_table_without_rows_keeps_names_and_metadata() {
        let empty = Table::from_parquet(&table(0).to_parquet().unwrap()).unwrap();
        assert_eq!(empty.rows(), 0);
        assert_eq!(empty.metadata, table(0).metadata);
        assert_eq!(empty.columns.len(), 10);
    }

    #[test]
    fn equal_tables_are_equal_bytes() {
        assert_eq!(table(300).to_parquet().unwrap(), table(300).to_parquet().unwrap());
        let digest = blake3::hash(&table(300).to_parquet().unwrap()).to_hex();
        assert_eq!(&digest[..16], PINNED, "a change here gives every table another digest");
    }

    const PINNED: &str = "ca113eb43d420f1c";

    #[test]
    fn polars_reads_the_files_as_they_are() {
        let bytes = table(9).to_parquet().unwrap();
        let frame = ParquetReader::new(std::io::Cursor::new(bytes)).finish().unwrap();
        assert_eq!(frame.height(), 9);
        let cell = |name: &str, row: usize| frame.column(name).unwrap().get(row).unwrap().into_static();
        assert_eq!(cell("text", 2).get_str(), Some("row 2 é"));
        assert_eq!(cell("opt_text", 2), AnyValue::Null);
        assert_eq!(cell("opt_int", 5), AnyValue::Int64(2));
        assert_eq!(cell("float", 7), AnyValue::Float64(1.0));
        assert_eq!(frame.column("ids").unwrap().dtype(), &PolarsType::List(Box::new(PolarsType::UInt32)));
        assert_eq!(frame.column("vector").unwrap().dtype(), &PolarsType::Array(Box::new(PolarsType::Float32), 3));
    }

    #[test]
    fn files_of_polars_are_read() {
        let lists = Series::new("ids".into(), [Series::new("".into(), [1_u32, 2]), Series::new("".into(), [3_u32])]);
        let mut frame = DataFrame::new(
            2,
            vec![
                PolarsColumn::new("text".into(), [Some("a"), None]),
                PolarsColumn::new("int".into(), [1_i32, -2]),
                PolarsColumn::new("float".into(), [0.5_f32, 1.5]),
                lists.into(),
            ],
        )
        .unwrap();
        let mut bytes = Vec::new();
        ParquetWriter::new(&mut bytes).finish(&mut frame).unwrap();
        let mut table = Table::from_parquet(&bytes).unwrap();
        assert_eq!(table.take_opt_text("text").unwrap(), [Some("a".to_owned()), None]);
        assert_eq!(table.take_int("int").unwrap(), [1, -2]);
        assert_eq!(table.take_float("float").unwrap(), [0.5, 1.5]);
        assert_eq!(table.take_ids("ids").unwrap(), [vec![1, 2], vec![3]]);
    }

    #[test]
    fn some_columns_are_read_without_the_others() {
        let table = table(300);
        let bytes = table.to_parquet().unwrap();
        let some = Table::columns_from_parquet(&bytes, |name| ["float", "text"].contains(&name)).unwrap();
        assert_eq!(some.columns, [table.columns[0].clone(), table.columns[4].clone()]);
        assert_eq!(some.metadata, table.metadata);
        let names: Vec<String> = table.columns.into_iter().map(|(name, _)| name).collect();
        assert_eq!(Table::names_from_parquet(&bytes).unwrap(), names);
        assert_eq!(Table::columns_from_parquet(&bytes, |_| false).unwrap().columns, []);
    }

    #[test]
    fn columns_of_unknown_types_stop_only_those_who_want_them() {
        let times = Series::new("time".into(), [1_i64])
            .cast(&PolarsType::Datetime(polars::prelude::TimeUnit::Milliseconds, None));
        let columns = vec![PolarsColumn::new("text".into(), ["a"]), times.unwrap().into()];
        let mut bytes = Vec::new();
        ParquetWriter::new(&mut bytes).finish(&mut DataFrame::new(1, columns).unwrap()).unwrap();
        assert!(Table::from_parquet(&bytes).unwrap_err().to_string().starts_with("column `time` is Timestamp"));
        let mut text = Table::columns_from_parquet(&bytes, |name| name == "text").unwrap();
        assert_eq!(text.take_text("text").unwrap(), ["a"]);
    }

    #[test]
    fn every_cut_is_an_error() {
        let bytes = table(2000).to_parquet().unwrap();
        for tenth in 0..10 {
            let error = Table::from_parquet(&bytes[..bytes.len() * tenth / 10]).unwrap_err().to_string();
            assert!(error.starts_with("not a readable Parquet file"), "{error}");
        }
        assert!(Table::from_parquet(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn flipped_bytes_end_in_an_error_or_another_table() {
        let original = table(50);
        let bytes = original.to_parquet().unwrap();
        let mut refused = 0;
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            refused += usize::from(Table::from_parquet(&damaged).is_err());
        }
        assert!(refused > bytes.len() / 4, "{refused} of {} refused", bytes.len());
    }

    #[test]
    fn rows_that_only_the_footer_has_are_refused_whatever_is_read() {
        // Found by `tests/fuzz`: without a column to read, rows were counted up to what a row group said.
        let bytes = include_bytes!("../../tests/fuzz/corpus/parquet/rows-without-end.parquet");
        for wanted in [|_: &str| false, |_: &str| true] {
            let error = Table::columns_from_parquet(bytes, wanted).unwrap_err().to_string();
            assert!(error.contains("but its row groups have others"), "{error}");
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        // 200 MB of one long text, which packs to some kilobytes.
        let text = "x".repeat(1 << 18);
        let rows = Table::new([("text", Column::Text(vec![text; 800]))]);
        let bytes = rows.to_parquet().unwrap();
        let error = Table::from_parquet(&bytes).unwrap_err();
        assert!(matches!(error, DataError::Bomb { .. }), "{error}");
    }

    #[test]
    fn columns_are_asked_for_by_name_and_type() {
        let mut table = table(4);
        assert_eq!(table.take_float("text").unwrap_err().to_string(), "column `text` is text, expected numbers");
        let error = table.take_int("score").unwrap_err().to_string();
        assert!(error.starts_with("no column `score`; the file has `opt_text`, `int`"), "{error}");
        assert_eq!(
            table.take_int("opt_int").unwrap_err().to_string(),
            "row 0, column `opt_int`: missing, expected a value in every row"
        );
        assert_eq!(table.take_vectors("vector").unwrap().0, 3);
    }
}
