//! Parquet files of other people, as the rows that tasks of their own are made of.

use super::{Column, DataError, Table};
use crate::ml::tasks::{Cell, Place, Sheet, Wanted};

/// The wanted columns of a Parquet file; the others may be of any type.
pub fn read_sheet(bytes: &[u8], wanted: &[Wanted<'_>]) -> Result<Sheet, DataError> {
    let names = Table::names_from_parquet(bytes)?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Wanted::locate(wanted, &names, Place::Row(0))?;
    let table = Table::columns_from_parquet(bytes, |name| wanted.iter().any(|column| column.name == name))?;
    let columns = table.columns.into_iter().map(|(name, column)| Ok((name.clone(), cells(name, column)?)));
    Ok(Sheet::from_columns(&columns.collect::<Result<Vec<_>, DataError>>()?, wanted)?)
}

fn cells(name: String, column: Column) -> Result<Vec<Cell>, DataError> {
    fn gaps<T>(rows: Vec<Option<T>>, cell: fn(T) -> Cell) -> Vec<Cell> {
        rows.into_iter().map(|value| value.map_or(Cell::Missing, cell)).collect()
    }
    Ok(match column {
        Column::Text(rows) => rows.into_iter().map(Cell::Text).collect(),
        Column::OptText(rows) => gaps(rows, Cell::Text),
        Column::Int(rows) => rows.into_iter().map(Cell::Int).collect(),
        Column::OptInt(rows) => gaps(rows, Cell::Int),
        Column::Float(rows) => rows.into_iter().map(Cell::Float).collect(),
        Column::OptFloat(rows) => gaps(rows, Cell::Float),
        Column::Bool(rows) => rows.into_iter().map(Cell::Bool).collect(),
        Column::Texts(rows) => rows.into_iter().map(Cell::Texts).collect(),
        other @ (Column::Ids(_) | Column::Vector { .. }) => {
            let expected = "text, numbers, booleans or lists of text".to_owned();
            return Err(DataError::Type { column: name, found: other.describe().to_owned(), expected });
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
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
            Column::Bool(vec![true, false]),
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
            "row 1: `label` is empty, expected an answer; only a test split may hide it"
        );
        assert_eq!(
            error(&table(Column::Vector { width: 1, values: vec![0.0, 1.0] })),
            "column `label` is vectors, expected text, numbers, booleans or lists of text"
        );
        let mut renamed = table(Column::Int(vec![0, 1]));
        renamed.columns[5].0 = "labels".to_owned();
        assert!(error(&renamed).starts_with("row 0: no column `label` (did you mean `labels`?); found `ok`, `vector`"));
        assert!(read_sheet(b"PAR1", &own().wanted(Split::Train)).is_err());
    }
}
