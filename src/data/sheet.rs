//! Parquet and Arrow files of other people, as the rows that tasks of their own are made of.

use super::DataError;
use super::table::{Table, each_batch, guarded_as};
use crate::ml::tasks::{Cell, Place, Sheet, Wanted, Whole, no_rows};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType};
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_schema::DataType;
use bytes::Bytes;
use parquet::file::reader::ChunkReader;
use std::io::{BufReader, Read, Seek, SeekFrom};

/// The bytes around a stream of Arrow in a file of it.
const ARROW: &[u8] = b"ARROW1";

/// Bytes of a stream that are decoded at a time where only its schema is asked for.
const PIECE: u64 = 1 << 16;

/// The wanted columns of an Arrow file, with a footer or as a stream, which is what `datasets` caches.
///
/// # Errors
/// If it is not Arrow or packed within, a wanted column is missing or has cells of no known type, or there are no rows.
pub(super) fn read_arrow(bytes: &[u8], wanted: &[Wanted<'_>]) -> Result<Sheet, DataError> {
    let mut sheets = Vec::new();
    let stream = stream_of(bytes)?;
    each_of_arrow(stream, wanted, &mut |sheet| {
        sheets.push(sheet);
        Ok::<_, DataError>(())
    })?;
    Ok(Sheet::joined(sheets))
}

/// The same of a file of which a record batch is in memory at a time: `take` gets some rows after the other.
///
/// # Errors
/// As [`read_arrow`], and what `take` returns.
pub(super) fn each_of_arrow_file<E: From<DataError>>(
    file: &fs_err::File,
    wanted: &[Wanted<'_>],
    take: &mut dyn FnMut(Sheet) -> Result<(), E>,
) -> Result<(), E> {
    let (start, end) = stream_in(file)?;
    let reader = BufReader::new(file);
    let mut reader = reader;
    reader.seek(SeekFrom::Start(start)).map_err(DataError::from)?;
    each_of_arrow(reader.take(end - start), wanted, take)
}

/// The rows of a stream of Arrow.
fn each_of_arrow<E: From<DataError>>(
    mut stream: impl Read,
    wanted: &[Wanted<'_>],
    take: &mut dyn FnMut(Sheet) -> Result<(), E>,
) -> Result<(), E> {
    let mut decoder = StreamDecoder::new();
    let (mut columns, mut row): (Option<Vec<(usize, String)>>, usize) = (None, 0);
    loop {
        let mut piece = Vec::new();
        stream.by_ref().take(MORE).read_to_end(&mut piece).map_err(DataError::from)?;
        if piece.is_empty() {
            break;
        }
        let mut piece = Buffer::from(piece);
        while !piece.is_empty() {
            let batch =
                guarded_as(DataError::Arrow, || decoder.decode(&mut piece).map_err(|error| arrow_failed(&error)))?;
            if columns.is_none()
                && let Some(schema) = decoder.schema()
            {
                let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                let chosen = chosen(&names, wanted)?;
                let kept = names.iter().zip(chosen).enumerate().filter(|(_, (_, chosen))| *chosen);
                columns = Some(kept.map(|(at, (name, _))| (at, (*name).to_owned())).collect());
            }
            if let (Some(batch), Some(columns)) = (batch, &columns) {
                for start in (0..batch.num_rows()).step_by(SOME) {
                    let part = batch.slice(start, SOME.min(batch.num_rows() - start));
                    let arrays = columns.iter().map(|(at, name)| (name.as_str(), part.column(*at)));
                    take(guarded_as(DataError::Arrow, || rows(arrays, wanted, row + start))?)?;
                }
                row += batch.num_rows();
            }
        }
    }
    decoder.finish().map_err(|error| arrow_failed(&error))?;
    if columns.is_none() {
        return Err(DataError::Arrow("it has no schema".to_owned()).into());
    }
    if row == 0 { Err(DataError::from(no_rows(Place::row(0))).into()) } else { Ok(()) }
}

/// Bytes of a stream that are decoded at a time.
const MORE: u64 = 1 << 20;

/// Rows that are taken at a time.
const SOME: usize = 1024;

/// Which of the columns are wanted, as a whole or a part.
fn chosen(names: &[&str], wanted: &[Wanted<'_>]) -> Result<Vec<bool>, DataError> {
    let sources = Wanted::locate(wanted, names, Place::row(0))?;
    Ok((0..names.len()).map(|at| sources.iter().flatten().any(|source| source.at == at)).collect())
}

/// The rows of some columns, the first of which has the number `first`.
fn rows<'a>(
    arrays: impl Iterator<Item = (&'a str, &'a ArrayRef)>,
    wanted: &[Wanted<'_>],
    first: usize,
) -> Result<Sheet, DataError> {
    let columns = arrays.map(|(name, array)| Ok((name.to_owned(), cells(name, array, first)?)));
    Ok(Sheet::piece_of_columns(&columns.collect::<Result<Vec<_>, DataError>>()?, wanted, first)?)
}

/// A text of the metadata of an Arrow file, of which only the beginning is read.
///
/// # Errors
/// If it is not Arrow.
pub(super) fn note_in_arrow(mut file: &fs_err::File, key: &str) -> Result<Option<String>, DataError> {
    let (start, end) = stream_in(file)?;
    file.seek(SeekFrom::Start(start))?;
    let mut stream = file.take(end - start);
    let mut decoder = StreamDecoder::new();
    loop {
        let mut bytes = Vec::new();
        stream.by_ref().take(PIECE).read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            return Err(DataError::Arrow("it has no schema".to_owned()));
        }
        let mut piece = Buffer::from(bytes);
        while !piece.is_empty() && decoder.schema().is_none() {
            guarded_as(DataError::Arrow, || decoder.decode(&mut piece).map_err(|error| arrow_failed(&error)))?;
        }
        if let Some(schema) = decoder.schema() {
            return Ok(schema.metadata().get(key).cloned());
        }
    }
}

/// The stream in a file, which may have a footer.
fn stream_of(bytes: &[u8]) -> Result<&[u8], DataError> {
    let Some(rest) = bytes.strip_prefix(ARROW).and_then(|rest| rest.get(2..)) else { return Ok(bytes) };
    let cut = || {
        let (rest, length) = rest.strip_suffix(ARROW)?.split_last_chunk::<4>()?;
        rest.get(..rest.len().checked_sub(usize::try_from(i32::from_le_bytes(*length)).ok()?)?)
    };
    cut().ok_or_else(|| DataError::Arrow("it is cut off, its footer is not there".to_owned()))
}

/// Where the stream in a file begins and ends, in bytes.
fn stream_in(mut file: &fs_err::File) -> Result<(u64, u64), DataError> {
    let size = file.seek(SeekFrom::End(0))?;
    let mut ends = [0; ARROW.len() + 4];
    file.rewind()?;
    let mut first = [0; ARROW.len()];
    if size < 8 || file.read_exact(&mut first).is_err() || first != ARROW {
        return Ok((0, size));
    }
    let cut = || DataError::Arrow("it is cut off, its footer is not there".to_owned());
    let at = size.checked_sub(ends.len() as u64).ok_or_else(cut)?;
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut ends)?;
    let (length, rest) = ends.split_first_chunk::<4>().ok_or_else(cut)?;
    let footer = u64::try_from(i32::from_le_bytes(*length)).ok().filter(|_| rest == ARROW).ok_or_else(cut)?;
    Ok((8, at.checked_sub(footer).filter(|end| *end >= 8).ok_or_else(cut)?))
}

fn arrow_failed(error: &arrow_schema::ArrowError) -> DataError {
    let message = error.to_string();
    let is_packed = message.contains("requires the lz4 feature") || message.contains("requires the zstd feature");
    DataError::Arrow(if is_packed {
        "its columns are packed, and of Arrow only plain columns are read; write it without compression, or as Parquet"
            .to_owned()
    } else {
        message
    })
}

/// The wanted columns of a Parquet file; the others may be of any type.
///
/// # Errors
/// If it is not Parquet, a wanted column is missing or has cells of no known type, or there are no rows.
pub(super) fn read_parquet(bytes: &[u8], wanted: &[Wanted<'_>]) -> Result<Sheet, DataError> {
    let mut sheets = Vec::new();
    each_of_parquet(Bytes::copy_from_slice(bytes), bytes.len(), wanted, &mut |sheet| {
        sheets.push(sheet);
        Ok::<_, DataError>(())
    })?;
    Ok(Sheet::joined(sheets))
}

/// The same of a file whose pages are read as they are needed: `take` gets some rows after the other.
///
/// # Errors
/// As [`read_parquet`], and what `take` returns.
pub(super) fn each_of_parquet<R: ChunkReader + 'static, E: From<DataError>>(
    source: R,
    size: usize,
    wanted: &[Wanted<'_>],
    take: &mut dyn FnMut(Sheet) -> Result<(), E>,
) -> Result<(), E> {
    let mut is_empty = true;
    each_batch(
        source,
        size,
        |names| Ok(chosen(names, wanted)?),
        |names, batch, first| {
            is_empty &= batch.num_rows() == 0;
            let arrays = names.iter().map(String::as_str).zip(batch.columns());
            take(guarded_as(DataError::Parquet, || rows(arrays, wanted, first))?)
        },
    )?;
    if is_empty { Err(DataError::from(no_rows(Place::row(0))).into()) } else { Ok(()) }
}

/// All columns of a Parquet file.
///
/// # Errors
/// If it is not Parquet, or two columns have one name.
pub(super) fn whole_parquet(bytes: &[u8]) -> Result<Whole, DataError> {
    let mut table = all_of(Table::names_from_parquet(bytes)?)?;
    let all = |names: &[&str]| Ok::<_, DataError>(vec![true; names.len()]);
    each_batch(Bytes::copy_from_slice(bytes), bytes.len(), all, |names, batch, row| {
        names.iter().zip(batch.columns()).try_for_each(|(name, array)| add(&mut table, name, array, row))
    })?;
    Ok(table.filled())
}

/// All columns of an Arrow file.
///
/// # Errors
/// If it is not Arrow or packed within, or two columns have one name.
pub(super) fn whole_arrow(bytes: &[u8]) -> Result<Whole, DataError> {
    let decode = || {
        let mut rest = Buffer::from(stream_of(bytes)?);
        let mut decoder = StreamDecoder::new();
        let (mut table, mut row) = (None, 0);
        while !rest.is_empty() {
            let batch = decoder.decode(&mut rest).map_err(|error| arrow_failed(&error))?;
            if let (None, Some(schema)) = (&table, decoder.schema()) {
                table = Some(all_of(schema.fields().iter().map(|field| field.name().clone()).collect())?);
            }
            if let (Some(batch), Some(table)) = (batch, &mut table) {
                for (at, field) in batch.schema().fields().iter().enumerate() {
                    add(table, field.name(), batch.column(at), row)?;
                }
                row += batch.num_rows();
            }
        }
        decoder.finish().map_err(|error| arrow_failed(&error))?;
        table.ok_or_else(|| DataError::Arrow("it has no schema".to_owned()))
    };
    Ok(guarded_as(DataError::Arrow, decode)?.filled())
}

/// A table with columns of these names and nothing in them.
fn all_of(names: Vec<String>) -> Result<All, DataError> {
    let texts: Vec<&str> = names.iter().map(String::as_str).collect();
    Wanted::locate(&[], &texts, Place::row(0))?;
    Ok(All(names.into_iter().map(|name| (name, Ok(Vec::new()))).collect()))
}

/// Columns as far as they are read, and what those are that no cells can hold.
struct All(Vec<(String, Result<Vec<Cell>, String>)>);

impl All {
    fn filled(self) -> Whole {
        let mut whole = Whole::default();
        for (name, column) in self.0 {
            match column {
                Ok(cells) => whole.columns.push((name, cells)),
                Err(what) => whole.odd.push((name, what)),
            }
        }
        whole
    }
}

/// Adds a piece of a column, the first of whose rows has the number `row`.
fn add(table: &mut All, name: &str, array: &ArrayRef, row: usize) -> Result<(), DataError> {
    let Some((_, column)) = table.0.iter_mut().find(|(known, _)| known == name) else { return Ok(()) };
    let Ok(known) = column else { return Ok(()) };
    match cells(name, array, row) {
        Ok(cells) => known.extend(cells),
        Err(DataError::Type { found, .. }) => *column = Err(format!("is {found}")),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// The rows of a piece of a column, the first of which has the number `first`. Floats have the shortest decimal of their width.
fn cells(name: &str, array: &ArrayRef, first: usize) -> Result<Vec<Cell>, DataError> {
    let text = |text: Option<&str>| text.map_or(Cell::Missing, |text| Cell::Text(text.to_owned()));
    Ok(match array.data_type() {
        DataType::Null => vec![Cell::Missing; array.len()],
        DataType::Utf8 => array.as_string::<i32>().iter().map(text).collect(),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().map(text).collect(),
        DataType::Utf8View => array.as_string_view().iter().map(text).collect(),
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
        DataType::List(_) => lists(name, array.as_list::<i32>().iter(), first)?,
        DataType::LargeList(_) => lists(name, array.as_list::<i64>().iter(), first)?,
        DataType::FixedSizeList(..) => lists(name, array.as_fixed_size_list().iter(), first)?,
        DataType::Struct(_) => objects(name, array, first)?,
        other => {
            return Err(DataError::Type {
                column: name.to_owned(),
                found: other.to_string(),
                expected: "text, numbers, booleans, or lists and structs of them".to_owned(),
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

fn lists(name: &str, lists: impl Iterator<Item = Option<ArrayRef>>, first: usize) -> Result<Vec<Cell>, DataError> {
    let list = |(row, list): (usize, Option<ArrayRef>)| match list {
        Some(items) => Ok(Cell::List(cells(name, &items, first + row)?)),
        None => Ok(Cell::Missing),
    };
    lists.enumerate().map(list).collect()
}

fn objects(name: &str, array: &ArrayRef, first: usize) -> Result<Vec<Cell>, DataError> {
    let structs = array.as_struct();
    let field = |(field, values): (&String, &ArrayRef)| Ok((field.clone(), cells(name, values, first)?.into_iter()));
    let names = structs.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
    let mut fields = names.iter().zip(structs.columns()).map(field).collect::<Result<Vec<_>, DataError>>()?;
    let object = |row: usize| {
        let values: Vec<_> =
            fields.iter_mut().map(|(name, cells)| (name.clone(), cells.next().unwrap_or(Cell::Missing))).collect();
        if structs.is_null(row) { Cell::Missing } else { Cell::Object(values) }
    };
    Ok((0..structs.len()).map(object).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Column, Table};
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
            several: false,
            drop: Vec::new(),
            round: None,
            word: None,
            choices: None,
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
            let examples = own().examples(sheet, Split::Train, false).unwrap().examples;
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
            "row 0: `label` is a list with something else than texts, expected a text, a number, true or false, or a list of texts; parts are \
             written `options[0]`, `answers.text[0]`, `len(options)`, `options|join(\", \")`"
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
        let examples = own
            .examples(read_parquet(&bytes, &own.wanted(Split::Train)).unwrap(), Split::Train, false)
            .unwrap()
            .examples;
        assert_eq!((examples.len(), &*examples[99].target), (100, "good"));
    }
}
