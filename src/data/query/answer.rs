//! Questions about the tables of this program, and the forms of their answers.

use super::frame::{cells, frame_of};
use super::{ask, parsed};
use crate::data::{DataError, Table};
use crate::ml::tasks::Cell;
use polars::error::PolarsError;
use polars::prelude::{Column, DataFrame, DataType};
use polars_io::SerWriter;
use polars_io::csv::write::CsvWriter;
use polars_io::parquet::write::ParquetWriter;
use serde_json::Value;
use sqlparser::ast::{ObjectName, Visit, Visitor};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// What a query gave.
#[derive(Debug)]
pub struct Answer(DataFrame);

/// What several jobs have of one table, with the job and its stage.
pub type Tables = Vec<([String; 2], Table)>;

/// Columns in front of those of each table: which job has it, and of which stage.
const OF: [&str; 2] = ["job", "stage"];

/// The names that stand for tables in a query.
///
/// # Errors
/// If it is none, in words that follow what it is called.
pub fn names_in(text: &str) -> Result<BTreeSet<String>, String> {
    #[derive(Default)]
    struct Names(BTreeSet<String>);
    impl Visitor for Names {
        type Break = ();

        fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
            self.0.extend(relation.0.last().and_then(|part| part.as_ident()).map(|name| name.value.clone()));
            ControlFlow::Continue(())
        }
    }
    let mut names = Names::default();
    let _ = parsed(text, "select … from scores")?.visit(&mut names);
    Ok(names.0)
}

impl Answer {
    /// The answer to a query over tables, each of which has several parts with their job and stage.
    ///
    /// # Errors
    /// If parts of a table do not fit each other, or the query has no answer. In words.
    pub fn of(text: &str, tables: Vec<(&str, Tables)>) -> Result<Self, String> {
        let frames = tables.into_iter().map(|(name, parts)| Ok((name, stacked(parts)?)));
        let frames = frames.collect::<Result<Vec<_>, String>>()?;
        ask(text, frames.into_iter()).map(Self)
    }

    /// Its names and rows, as they are printed.
    ///
    /// # Errors
    /// If it has values that have no form here, such as dates.
    pub fn texts(&self) -> Result<Vec<Vec<String>>, DataError> {
        let columns = cells(&self.0)?;
        let mut rows = vec![columns.iter().map(|(name, _)| name.clone()).collect()];
        rows.extend((0..self.0.height()).map(|row| columns.iter().map(|(_, cells)| text(&cells[row])).collect()));
        Ok(rows)
    }

    /// Its rows as objects.
    ///
    /// # Errors
    /// If it has values that have no form here, such as dates.
    pub fn json(&self) -> Result<Value, DataError> {
        let columns = cells(&self.0)?;
        let row = |row: usize| columns.iter().map(|(name, cells)| (name.clone(), json(&cells[row]))).collect();
        Ok(Value::Array((0..self.0.height()).map(|at| Value::Object(row(at))).collect()))
    }

    /// As CSV with a header, and the names of the columns that are left out: CSV has no place for lists.
    ///
    /// # Errors
    /// If a column has no form in CSV.
    pub fn csv(&self) -> Result<(String, Vec<String>), DataError> {
        let is_list =
            |column: &&Column| matches!(column.dtype(), DataType::List(_) | DataType::Array(..) | DataType::Struct(_));
        let (lists, flat): (Vec<&Column>, Vec<&Column>) = self.0.columns().iter().partition(is_list);
        let mut frame =
            DataFrame::new(self.0.height(), flat.into_iter().cloned().collect()).map_err(|error| failed(&error))?;
        let mut csv = Vec::new();
        CsvWriter::new(&mut csv).finish(&mut frame).map_err(|error| failed(&error))?;
        let csv = String::from_utf8(csv).map_err(|error| DataError::Csv(error.to_string()))?;
        Ok((csv, lists.iter().map(|column| column.name().to_string()).collect()))
    }

    /// As Parquet.
    ///
    /// # Errors
    /// If polars refuses.
    pub fn parquet(&self) -> Result<Vec<u8>, DataError> {
        let mut bytes = Vec::new();
        ParquetWriter::new(&mut bytes).finish(&mut self.0.clone()).map_err(|error| failed(&error))?;
        Ok(bytes)
    }
}

fn failed(error: &PolarsError) -> DataError {
    DataError::Query(error.to_string())
}

fn text(cell: &Cell) -> String {
    match cell {
        Cell::Missing => String::new(),
        Cell::Text(text) => text.replace(['\n', '\r', '\t'], " "),
        Cell::Bool(truth) => truth.to_string(),
        Cell::Number(number) => number.to_string(),
        Cell::List(_) | Cell::Object(_) | Cell::Other(_) => json(cell).to_string(),
    }
}

fn json(cell: &Cell) -> Value {
    match cell {
        Cell::Missing | Cell::Other(_) => Value::Null,
        Cell::Text(text) => text.clone().into(),
        Cell::Bool(truth) => (*truth).into(),
        // A number of 64 bits, whose shortest decimal it is.
        Cell::Number(number) => serde_json::from_str(&number.to_string()).unwrap_or_else(|_| number.to_string().into()),
        Cell::List(items) => items.iter().map(json).collect(),
        Cell::Object(fields) => Value::Object(fields.iter().map(|(name, cell)| (name.clone(), json(cell))).collect()),
    }
}

/// Tables below each other. A column that one of them lacks is null there.
fn stacked(parts: Tables) -> Result<DataFrame, String> {
    let mut kinds: Vec<(String, DataType, String)> = Vec::new();
    let mut frames = Vec::new();
    for ([job, stage], table) in parts {
        let mut frame = frame_of(&table).map_err(|error| format!("`{job}`: {error}"))?;
        for (at, (name, value)) in OF.iter().zip([&job, &stage]).enumerate() {
            let column = Column::new((*name).into(), vec![value.as_str(); frame.height()]);
            frame.insert_column(at, column).map_err(|_| format!("`{job}` has a column `{name}` of its own"))?;
        }
        for column in frame.columns() {
            let (name, kind) = (column.name().as_str(), column.dtype());
            match kinds.iter().find(|(known, ..)| known == name) {
                Some((_, known, other)) if known != kind => {
                    return Err(format!("`{name}` is {known} in `{other}` and {kind} in `{job}`"));
                }
                Some(_) => {}
                None => kinds.push((name.to_owned(), kind.clone(), job.clone())),
            }
        }
        frames.push(frame);
    }
    let mut stacked: Option<DataFrame> = None;
    for frame in frames {
        let column = |(name, kind, _): &(String, DataType, String)| match frame.column(name) {
            Ok(column) => column.clone(),
            Err(_) => Column::full_null(name.as_str().into(), frame.height(), kind),
        };
        let even = DataFrame::new(frame.height(), kinds.iter().map(column).collect());
        let even = even.map_err(|error| error.to_string())?;
        match &mut stacked {
            Some(stacked) => drop(stacked.vstack_mut(&even).map_err(|error| error.to_string())?),
            None => stacked = Some(even),
        }
    }
    Ok(stacked.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Column as Own;

    fn of(job: &str) -> [String; 2] {
        [job.to_owned(), "scores".to_owned()]
    }

    fn tables() -> Vec<(&'static str, Tables)> {
        let one = Table::new([
            ("task", Own::Text(vec!["a".to_owned(), "b".to_owned()])),
            ("seed", Own::OptUnsigned(vec![Some(u64::MAX), None])),
            ("value", Own::Float(vec![0.1, 62.5])),
        ]);
        let other = Table::new([
            ("task", Own::Text(vec!["c\nd".to_owned()])),
            ("ids", Own::Ids(vec![vec![1, 2]])),
            ("value", Own::Float(vec![1.0 / 3.0])),
        ]);
        vec![("scores", vec![(of("one"), one), (of("other"), other)])]
    }

    #[test]
    fn tables_of_one_name_stand_below_each_other_in_every_form() {
        let answer = Answer::of("select * from scores order by task", tables()).unwrap();
        let texts = answer.texts().unwrap();
        assert_eq!(texts[0], ["job", "stage", "task", "seed", "value", "ids"]);
        assert_eq!(texts[1], ["one", "scores", "a", "18446744073709551615", "0.1", ""]);
        assert_eq!(texts[3], ["other", "scores", "c d", "", "0.3333333333333333", "[1,2]"]);
        let json = answer.json().unwrap();
        assert_eq!(json[0]["seed"], serde_json::json!(u64::MAX));
        assert_eq!((&json[2]["task"], &json[2]["ids"]), (&"c\nd".into(), &serde_json::json!([1, 2])));
        let (csv, lists) = answer.csv().unwrap();
        assert_eq!(csv.lines().next(), Some("job,stage,task,seed,value"));
        assert!(csv.contains("\"c\nd\"") && lists == ["ids"]);
        assert!(answer.parquet().unwrap().starts_with(b"PAR1"));
    }

    #[test]
    fn queries_group_and_name_their_tables() {
        let query = "with best as (select max(value) as high from scores) select high, count(*) as n from best, scores group by high";
        assert_eq!(names_in(query).unwrap().into_iter().collect::<Vec<_>>(), ["best", "scores"]);
        assert_eq!(Answer::of(query, tables()).unwrap().texts().unwrap(), [["high", "n"], ["62.5", "3"]]);
        assert!(names_in("delete from scores").unwrap_err().starts_with("does something else than to ask"));
        assert!(Answer::of("select x from scores", tables()).unwrap_err().contains("\"x\""));
    }

    #[test]
    fn parts_that_do_not_fit_are_named() {
        let table = |column: Own| Table::new([("n", column)]);
        let parts = vec![(of("one"), table(Own::Int(vec![1]))), (of("other"), table(Own::Float(vec![1.0])))];
        let error = Answer::of("select n from t", vec![("t", parts)]).unwrap_err();
        assert_eq!(error, "`n` is i64 in `one` and f64 in `other`");
        let parts = vec![(of("one"), Table::new([("job", Own::Int(vec![1]))]))];
        assert_eq!(Answer::of("select 1", vec![("t", parts)]).unwrap_err(), "`one` has a column `job` of its own");
    }
}
