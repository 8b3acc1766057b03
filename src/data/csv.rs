//! Tables as CSV, for spreadsheets and people.

use super::query::to_polars;
use super::{Column, DataError, Table};
use polars::prelude::DataFrame;
use polars_io::SerWriter;
use polars_io::csv::write::CsvWriter;

impl Table {
    /// The table as CSV with a header, and the names of the columns that are left out: CSV has no place for lists.
    ///
    /// # Errors
    /// If two columns have one name.
    pub fn to_csv(&self) -> Result<(Vec<u8>, Vec<String>), DataError> {
        let (mut columns, mut lists) = (Vec::new(), Vec::new());
        for (name, column) in &self.columns {
            match column {
                Column::Texts(_) | Column::Ids(_) | Column::Vector { .. } => lists.push(name.clone()),
                flat => columns.push(to_polars(name, flat)),
            }
        }
        let failed = |error: polars::error::PolarsError| DataError::Csv(error.to_string());
        let mut csv = Vec::new();
        let mut frame = DataFrame::new(self.rows(), columns).map_err(failed)?;
        CsvWriter::new(&mut csv).finish(&mut frame).map_err(failed)?;
        Ok((csv, lists))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be_and_numbers_keep_every_digit() {
        let table = Table::new([
            ("text", Column::Text(["a, b", "\"c\"\nd", "é"].map(str::to_owned).to_vec())),
            ("maybe", Column::OptText(vec![None, Some(String::new()), Some("x".to_owned())])),
            ("ids", Column::Ids(vec![vec![1, 2], vec![], vec![3]])),
            ("step", Column::Int(vec![0, -5, i64::MAX])),
            ("count", Column::OptInt(vec![None, Some(7), None])),
            ("score", Column::Float(vec![0.1, 1.0 / 3.0, 62.5])),
            ("loss", Column::OptFloat(vec![None, Some(1e-7), Some(2.0)])),
            ("best", Column::Bool(vec![true, false, false])),
        ]);
        let (csv, lists) = table.to_csv().unwrap();
        let mut reader = csv::Reader::from_reader(csv.as_slice());
        let names: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
        assert_eq!(names, ["text", "maybe", "step", "count", "score", "loss", "best"]);
        assert_eq!(lists, ["ids"]);
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        let column = |at: usize| rows.iter().map(|row| row[at].to_owned()).collect::<Vec<_>>();
        assert_eq!(column(0), ["a, b", "\"c\"\nd", "é"]);
        assert_eq!(column(2), ["0", "-5", "9223372036854775807"]);
        assert_eq!(column(3), ["", "7", ""]);
        let floats = |at: usize| column(at).iter().map(|cell| cell.parse().ok()).collect::<Vec<Option<f64>>>();
        assert_eq!(floats(4), [Some(0.1), Some(1.0 / 3.0), Some(62.5)]);
        assert_eq!(floats(5), [None, Some(1e-7), Some(2.0)]);
        assert_eq!(column(6), ["true", "false", "false"]);
    }

    #[test]
    fn a_table_without_rows_is_its_header_and_names_stand_once() {
        let column = || Column::Int(Vec::new());
        assert_eq!(Table::new([("a", column()), ("b", column())]).to_csv().unwrap().0, b"a,b\n");
        let twice = Table {
            columns: vec![("a".to_owned(), column()), ("a".to_owned(), column())],
            metadata: Default::default(),
        };
        assert!(twice.to_csv().unwrap_err().to_string().starts_with("cannot be written as CSV: "));
    }
}
