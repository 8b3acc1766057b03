//! Tables with all of their columns, for those who ask for more than cells: SQL.

use super::cell::Cell;
use super::json::records;
use super::sheet::{
    Dialect, Fields, Place, Quotes, Records, SheetError, Wanted, check_count, header, lines, may_be_quoted, text, wrong,
};
use std::collections::HashMap;

/// Columns by name, in their order and of equal length.
pub type Columns = Vec<(String, Vec<Cell>)>;

/// All columns of a table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Whole {
    /// Those that cells can hold.
    pub columns: Columns,
    /// The names of the others, and what they are.
    pub odd: Vec<(String, String)>,
}

impl Whole {
    /// A table of CSV, as in [`Sheet::from_csv`](super::Sheet::from_csv). All values are texts.
    ///
    /// # Errors
    /// If it is not UTF-8, a quote or a row is malformed, two columns have one name, or there are no rows.
    pub fn from_csv(bytes: &[u8], dialect: Dialect<'_>) -> Result<Self, SheetError> {
        delimited(Records::new(text(bytes)?, ','), dialect)
    }

    /// A table with tabs between fields, as in [`Sheet::from_tsv`](super::Sheet::from_tsv).
    ///
    /// # Errors
    /// Also if quotes can be read in two ways that make different rows.
    pub fn from_tsv(bytes: &[u8], dialect: Dialect<'_>) -> Result<Self, SheetError> {
        let text = text(bytes)?;
        let plain = || delimited(lines(text, 1), dialect);
        let quoted = || delimited(Records::new(text, '\t'), dialect);
        match dialect.quotes {
            Some(Quotes::Text) => plain(),
            Some(Quotes::Fields) => quoted(),
            None if !may_be_quoted(bytes) => plain(),
            None => match (plain(), quoted()) {
                // Quotes that run over the ends of lines that are rows by themselves are letters.
                (Ok(plain), Ok(quoted)) if plain == quoted || plain.rows() != quoted.rows() => Ok(plain),
                (Ok(_), Ok(_)) => Err(Place::line(1).wrong(
                    "the quotes of the file can be read in two ways: as letters, as in GLUE's files, and around fields, as in CSV; say which \
                     is meant: `quotes: text` or `quotes: fields`",
                )),
                (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(one),
                (Err(plain), Err(_)) => Err(plain),
            },
        }
    }

    /// A table of JSON, as in [`Sheet::from_json`](super::Sheet::from_json). What an object does not have is missing.
    ///
    /// # Errors
    /// If it is not UTF-8, its values are not JSON objects, or there are none.
    pub fn from_json(bytes: &[u8]) -> Result<Self, SheetError> {
        let mut columns = Columns::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        let all = records(text(bytes)?).map_err(|error| wrong(&error))?;
        for (row, record) in all.iter().enumerate() {
            let object = record.object().map_err(|error| wrong(&error))?;
            for name in object.names() {
                let at = *places.entry(name.to_owned()).or_insert_with(|| {
                    columns.push((name.to_owned(), vec![Cell::Missing; row]));
                    columns.len() - 1
                });
                columns[at].1.push(object.cell(name).unwrap_or(Cell::Missing));
            }
            columns.iter_mut().for_each(|(_, cells)| cells.resize(row + 1, Cell::Missing));
        }
        if all.is_empty() {
            return Err(Place::line(1).wrong("no rows; expected at least one"));
        }
        Ok(Self { columns, odd: Vec::new() })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, |(_, cells)| cells.len())
    }

    /// Puts the rows of another table behind these. Columns that only one of them has are missing in the other, if `may_differ`.
    ///
    /// # Errors
    /// Which column only one of them has, if they may not.
    pub fn append(&mut self, other: Self, may_differ: bool) -> Result<(), String> {
        let (before, more) = (self.rows(), other.rows());
        let has = |columns: &Columns, name: &str| columns.iter().any(|(known, _)| known == name);
        if !may_differ {
            if let Some((name, _)) = self.columns.iter().find(|(name, _)| !has(&other.columns, name)) {
                return Err(format!("has no column `{name}`, which those before it have"));
            }
            if let Some((name, _)) = other.columns.iter().find(|(name, _)| !has(&self.columns, name)) {
                return Err(format!("has a column `{name}`, which those before it have not"));
            }
        }
        for (name, cells) in other.columns {
            match self.columns.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => known.extend(cells),
                None => self.columns.push((name, vec![Cell::Missing; before].into_iter().chain(cells).collect())),
            }
        }
        self.columns.iter_mut().for_each(|(_, cells)| cells.resize(before + more, Cell::Missing));
        self.odd.extend(other.odd);
        Ok(())
    }
}

/// The columns of rows, of which the first names them, if nothing else does.
fn delimited<'t>(
    rows: impl Iterator<Item = Result<Fields<'t>, SheetError>>,
    dialect: Dialect<'_>,
) -> Result<Whole, SheetError> {
    let mut rows = rows.peekable();
    let (place, names) = header(&mut rows, dialect)?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // Two of one name are refused.
    Wanted::locate(&[], &names, place)?;
    let mut columns: Columns = names.iter().map(|name| ((*name).to_owned(), Vec::new())).collect();
    for row in rows {
        let (line, fields) = row?;
        check_count(Place::line(line), &fields, &names)?;
        for ((_, cells), field) in columns.iter_mut().zip(fields) {
            cells.push(Cell::Text(field.into_owned()));
        }
    }
    match columns.first() {
        Some((_, cells)) if !cells.is_empty() => Ok(Whole { columns, odd: Vec::new() }),
        _ => Err(place.wrong("no rows; expected at least one")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<Cell> {
        texts.iter().map(|text| Cell::Text((*text).to_owned())).collect()
    }

    #[test]
    fn all_columns_are_kept() {
        let table = Whole::from_csv(b"a, b\n1,\"x\ny\"\n2,\n", Dialect::default()).unwrap();
        assert_eq!(table.columns, [("a".to_owned(), texts(&["1", "2"])), ("b".to_owned(), texts(&["x\ny", ""]))]);
        let error = |text: &str| Whole::from_csv(text.as_bytes(), Dialect::default()).unwrap_err().to_string();
        assert_eq!(error("a,a\n1,2\n"), "line 1: column 2 is called `a`, and so is column 1");
        assert!(error("a,b\n1\n").starts_with("line 2: 1 field, expected 2"));
        assert_eq!(error("a,b\n"), "line 1: no rows; expected at least one");
    }

    #[test]
    fn quotes_with_two_meanings_are_refused() {
        let read = |text: &str, quotes| Whole::from_tsv(text.as_bytes(), Dialect { quotes, columns: None });
        let both = "a\tb\n\"x\"\t1\n";
        assert!(read(both, None).unwrap_err().to_string().contains("can be read in two ways"));
        assert_eq!(read(both, Some(Quotes::Fields)).unwrap().columns[0].1, texts(&["x"]));
        assert_eq!(read(both, Some(Quotes::Text)).unwrap().columns[0].1, texts(&["\"x\""]));
        assert_eq!(read("a\tb\n\"x\t1\n", None).unwrap().columns[0].1, texts(&["\"x"]));
    }

    #[test]
    fn objects_may_differ_and_shards_of_tables_may_not() {
        let mut table = Whole::from_json(b"{\"a\": \"x\"}\n{\"b\": \"y\", \"a\": null}\n").unwrap();
        assert_eq!(table.columns[1].1, [Cell::Missing, Cell::Text("y".to_owned())]);
        let more = Whole::from_json(b"{\"c\": \"z\"}").unwrap();
        let mut other = table.clone();
        assert_eq!(other.append(more.clone(), false).unwrap_err(), "has no column `a`, which those before it have");
        table.append(more, true).unwrap();
        assert_eq!(table.columns.iter().map(|(_, cells)| cells.len()).collect::<Vec<_>>(), [3, 3, 3]);
        assert_eq!(table.columns[2].1[1..], [Cell::Missing, Cell::Text("z".to_owned())]);
    }
}
