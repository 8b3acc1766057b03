//! Cells as frames of polars, and back, without a value that changes on the way.

use crate::data::{Column, DataError, Table};
use crate::ml::tasks::{Cell, Columns, Decimal, Whole, shortened};
use polars::error::PolarsError;
use polars::prelude::{
    AnyValue, Column as PolarsColumn, DataFrame, DataType, Field, IntoColumn, IntoSeries, ListChunked, NamedFrom,
    PlSmallStr, Series,
};
use std::fmt;

/// A table as a query sees it.
#[derive(Clone, Debug)]
pub struct Framed {
    pub(super) frame: DataFrame,
    kinds: Vec<(String, Kind)>,
    /// Columns that have no type of polars, and why.
    odd: Vec<(String, String)>,
}

/// What all values of a column are.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing is known but gaps.
    Gaps,
    Text,
    Truth,
    Whole,
    Number,
    List(Box<Kind>),
    Object(Vec<(String, Kind)>),
}

impl Framed {
    /// A frame of the columns of a table. Those with values of several types, and with numbers that neither 64-bit integers nor floats
    /// hold exactly, are not in it.
    ///
    /// # Errors
    /// If two columns have one name.
    pub fn of(table: Whole) -> Result<Self, DataError> {
        let rows = table.rows();
        let Whole { columns, mut odd } = table;
        let (mut series, mut kinds) = (Vec::new(), Vec::new());
        for (name, cells) in columns {
            let made = Kind::of_all(&cells).and_then(|kind| Ok((kind.series(&name, cells)?, kind)));
            match made {
                Ok((column, kind)) => {
                    series.push(column.into_column());
                    kinds.push((name, kind));
                }
                Err(why) => odd.push((name, why)),
            }
        }
        let frame = DataFrame::new(rows, series).map_err(|error| DataError::Query(error.to_string()))?;
        Ok(Self { frame, kinds, odd })
    }

    /// The columns, for messages about a table of this name.
    pub(super) fn described(&self, table: &str) -> String {
        let columns: Vec<String> =
            self.kinds.iter().map(|(name, kind)| format!("`{}` ({kind})", shortened(name))).collect();
        let odd =
            self.odd.iter().map(|(name, why)| format!("; of `{}` no query can be made: it {why}", shortened(name)));
        format!("`{table}` has {}{}", columns.join(", "), odd.collect::<String>())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gaps => "nothing",
            Self::Text => "text",
            Self::Truth => "true or false",
            Self::Whole => "whole numbers",
            Self::Number => "numbers",
            Self::List(_) => "lists",
            Self::Object(_) => "objects",
        })
    }
}

impl Kind {
    fn of_all<'c>(cells: impl IntoIterator<Item = &'c Cell>) -> Result<Self, String> {
        cells.into_iter().try_fold(Self::Gaps, |kind, cell| kind.with(Self::of(cell)?))
    }

    fn of(cell: &Cell) -> Result<Self, String> {
        Ok(match cell {
            Cell::Missing => Self::Gaps,
            Cell::Text(_) => Self::Text,
            Cell::Bool(_) => Self::Truth,
            Cell::Number(number) if whole(number).is_some() => Self::Whole,
            Cell::Number(_) => Self::Number,
            Cell::List(items) => Self::List(Box::new(Self::of_all(items)?)),
            Cell::Object(fields) => Self::Object(
                fields.iter().map(|(name, cell)| Ok((name.clone(), Self::of(cell)?))).collect::<Result<_, String>>()?,
            ),
            Cell::Other(what) => return Err(format!("has {what}")),
        })
    }

    /// What values of two kinds are together.
    fn with(self, other: Self) -> Result<Self, String> {
        Ok(match (self, other) {
            (Self::Gaps, kind) | (kind, Self::Gaps) => kind,
            (Self::Whole, Self::Number) | (Self::Number, Self::Whole) => Self::Number,
            (Self::List(one), Self::List(other)) => Self::List(Box::new(one.with(*other)?)),
            (Self::Object(mut fields), Self::Object(others)) => {
                for (name, kind) in others {
                    match fields.iter_mut().find(|(known, _)| *known == name) {
                        Some((_, known)) => *known = std::mem::replace(known, Self::Gaps).with(kind)?,
                        None => fields.push((name, kind)),
                    }
                }
                Self::Object(fields)
            }
            (one, other) if one == other => one,
            (one, other) => return Err(format!("has {one} beside {other}")),
        })
    }

    fn to_polars(&self) -> DataType {
        match self {
            Self::Gaps | Self::Text => DataType::String,
            Self::Truth => DataType::Boolean,
            Self::Whole => DataType::Int64,
            Self::Number => DataType::Float64,
            Self::List(of) => DataType::List(Box::new(of.to_polars())),
            Self::Object(fields) => DataType::Struct(Self::fields(fields)),
        }
    }

    fn fields(fields: &[(String, Self)]) -> Vec<Field> {
        fields.iter().map(|(name, kind)| Field::new(name.as_str().into(), kind.to_polars())).collect()
    }

    fn series(&self, name: &str, cells: Vec<Cell>) -> Result<Series, String> {
        let values = cells.into_iter().map(|cell| self.value(cell)).collect::<Result<Vec<_>, _>>()?;
        Series::from_any_values_and_dtype(name.into(), &values, &self.to_polars(), true)
            .map_err(|error| format!("cannot be held: {error}"))
    }

    /// A cell of this kind as a value of polars.
    fn value(&self, cell: Cell) -> Result<AnyValue<'static>, String> {
        Ok(match (self, cell) {
            (_, Cell::Text(text)) => AnyValue::StringOwned(text.into()),
            (_, Cell::Bool(truth)) => AnyValue::Boolean(truth),
            (Self::Whole, Cell::Number(number)) => whole(&number).map_or(AnyValue::Null, AnyValue::Int64),
            (_, Cell::Number(number)) => AnyValue::Float64(exact(&number)?),
            (Self::List(of), Cell::List(items)) => AnyValue::List(of.series("", items)?),
            (Self::Object(kinds), Cell::Object(mut fields)) => {
                let mut take = |name: &str| {
                    let at = fields.iter().position(|(known, _)| known == name);
                    at.map_or(Cell::Missing, |at| fields.swap_remove(at).1)
                };
                let values = kinds.iter().map(|(name, kind)| kind.value(take(name))).collect::<Result<Vec<_>, _>>()?;
                AnyValue::StructOwned(Box::new((values, Self::fields(kinds))))
            }
            (_, _) => AnyValue::Null,
        })
    }
}

/// A number as an integer of 64 bits, if it is one.
fn whole(number: &Decimal) -> Option<i64> {
    if number.is_whole() { number.to_string().parse().ok() } else { None }
}

/// A number as a float whose shortest decimal it is.
fn exact(number: &Decimal) -> Result<f64, String> {
    let float = number.to_string().parse::<f64>().ok().filter(|float| Decimal::of(float).as_ref() == Some(number));
    float.ok_or_else(|| format!("has {number}, which neither an integer nor a float of 64 bits holds"))
}

/// The cells of a frame.
///
/// # Errors
/// If a column has values that no cell can be, such as dates.
pub(super) fn cells(frame: &DataFrame) -> Result<Columns, DataError> {
    let column = |column: &PolarsColumn| {
        let name = column.name().to_string();
        let cells = column.as_materialized_series().iter().map(|value| cell(&name, value));
        let cells = cells.collect::<Result<Vec<_>, _>>()?;
        Ok((name, cells))
    };
    frame.columns().iter().map(column).collect()
}

fn cell(column: &str, value: AnyValue<'_>) -> Result<Cell, DataError> {
    let all = |items: &Series| items.iter().map(|item| cell(column, item)).collect::<Result<Vec<_>, _>>();
    Ok(match value {
        AnyValue::Null => Cell::Missing,
        AnyValue::Boolean(truth) => Cell::Bool(truth),
        AnyValue::String(text) => Cell::Text(text.to_owned()),
        AnyValue::StringOwned(text) => Cell::Text(text.to_string()),
        AnyValue::Int8(number) => Cell::float(number, false),
        AnyValue::Int16(number) => Cell::float(number, false),
        AnyValue::Int32(number) => Cell::float(number, false),
        AnyValue::Int64(number) => Cell::float(number, false),
        AnyValue::UInt8(number) => Cell::float(number, false),
        AnyValue::UInt16(number) => Cell::float(number, false),
        AnyValue::UInt32(number) => Cell::float(number, false),
        AnyValue::UInt64(number) => Cell::float(number, false),
        AnyValue::Float32(number) => Cell::float(number, number.is_nan()),
        AnyValue::Float64(number) => Cell::float(number, number.is_nan()),
        AnyValue::List(items) | AnyValue::Array(items, _) => Cell::List(all(&items)?),
        AnyValue::Struct(_, _, fields) => {
            let values = value._iter_struct_av().zip(fields);
            Cell::Object(
                values.map(|(value, field)| Ok((field.name().to_string(), cell(column, value)?))).collect::<Result<
                    _,
                    DataError,
                >>(
                )?,
            )
        }
        other => {
            return Err(DataError::Type {
                column: column.to_owned(),
                found: other.dtype().to_string(),
                expected: "text, numbers, true or false, or lists and objects of them; `cast(… as varchar)` makes text"
                    .to_owned(),
            });
        }
    })
}

/// The rows in the order of their content.
pub(super) fn sorted(columns: Columns) -> Columns {
    let names: Vec<String> = columns.iter().map(|(name, _)| name.clone()).collect();
    let count = columns.first().map_or(0, |(_, cells)| cells.len());
    let mut columns: Vec<_> = columns.into_iter().map(|(_, cells)| cells.into_iter()).collect();
    let row = |_| columns.iter_mut().filter_map(Iterator::next).collect::<Vec<Cell>>();
    let mut rows: Vec<Vec<Cell>> = (0..count).map(row).collect();
    rows.sort_by_cached_key(|row| {
        let mut key = Vec::new();
        row.iter().for_each(|cell| add_key(cell, &mut key));
        key
    });
    let mut sorted: Columns = names.into_iter().map(|name| (name, Vec::with_capacity(count))).collect();
    for row in rows {
        for ((_, cells), cell) in sorted.iter_mut().zip(row) {
            cells.push(cell);
        }
    }
    sorted
}

/// Bytes that tell a cell from every other.
fn add_key(cell: &Cell, key: &mut Vec<u8>) {
    let mut add = |kind: u8, text: &str| {
        key.push(kind);
        key.extend(text.bytes());
        // No text has it, so that none runs into the next.
        key.push(0xff);
    };
    match cell {
        Cell::Missing => add(0, ""),
        Cell::Bool(truth) => add(1, if *truth { "true" } else { "false" }),
        Cell::Number(number) => add(2, &number.to_string()),
        Cell::Text(text) => add(3, text),
        Cell::Other(what) => add(4, what),
        Cell::List(items) => {
            add(5, &items.len().to_string());
            items.iter().for_each(|item| add_key(item, key));
        }
        Cell::Object(fields) => {
            add(6, &fields.len().to_string());
            for (name, cell) in fields {
                add_key(&Cell::Text(name.clone()), key);
                add_key(cell, key);
            }
        }
    }
}

/// A table of this program's.
///
/// # Errors
/// If two columns have one name.
pub(super) fn frame_of(table: &Table) -> Result<DataFrame, DataError> {
    let columns = table.columns.iter().map(|(name, column)| to_polars(name, column));
    let failed = |error: PolarsError| DataError::Query(error.to_string());
    DataFrame::new(table.rows(), columns.collect()).map_err(failed)
}

/// A column as polars has it.
pub(in crate::data) fn to_polars(name: &str, column: &Column) -> PolarsColumn {
    let name = PlSmallStr::from(name);
    match column {
        Column::Text(values) => PolarsColumn::new(name, values.as_slice()),
        Column::OptText(values) => PolarsColumn::new(name, values.as_slice()),
        Column::Int(values) => PolarsColumn::new(name, values.as_slice()),
        Column::OptInt(values) => PolarsColumn::new(name, values.as_slice()),
        Column::Unsigned(values) => PolarsColumn::new(name, values.as_slice()),
        Column::OptUnsigned(values) => PolarsColumn::new(name, values.as_slice()),
        Column::Float(values) => PolarsColumn::new(name, values.as_slice()),
        Column::OptFloat(values) => PolarsColumn::new(name, values.as_slice()),
        Column::Bool(values) => PolarsColumn::new(name, values.as_slice()),
        Column::Texts(rows) => lists(name, rows.iter().map(|row| Series::new(PlSmallStr::EMPTY, row.as_slice()))),
        Column::Ids(rows) => lists(name, rows.iter().map(|row| Series::new(PlSmallStr::EMPTY, row.as_slice()))),
        Column::Vector { width, values } => {
            lists(name, values.chunks((*width).max(1)).map(|row| Series::new(PlSmallStr::EMPTY, row)))
        }
    }
}

fn lists(name: PlSmallStr, rows: impl Iterator<Item = Series>) -> PolarsColumn {
    ListChunked::from_iter(rows).into_series().with_name(name).into_column()
}
