//! What the library `datasets` notes in Parquet and Arrow files about their columns: the names behind the numbers of labels.

use super::sheet::note_in_arrow;
use super::table::Table;
use super::{DataError, Layout};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek, SeekFrom};

/// The key of the note among a file's metadata.
const KEY: &str = "huggingface";
/// Bytes of a note that are read: some thousand columns, or labels.
const LONGEST: usize = 4 << 20;
/// Bytes of the metadata of a file; more is a mistake or an attack.
const LONGEST_FOOTER: u32 = 1 << 28;
/// Names of one column that are read, wherever they are noted.
pub const MOST_NAMES: usize = 10_000;

/// A note: `{"info": {"features": {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}}}`.
#[derive(Deserialize)]
struct Note {
    info: Option<Info>,
}

#[derive(Deserialize)]
struct Info {
    features: Option<BTreeMap<String, Box<RawValue>>>,
}

/// As far as every kind of column has it.
#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "_type")]
    kind: String,
}

#[derive(Deserialize)]
struct ClassLabel {
    names: Vec<String>,
}

/// The names of the numbers that stand in a column of a file, from 0; `None` if nothing says that they have names. Only the end of a
/// Parquet file is read, and the beginning of one of Arrow.
///
/// # Errors
/// If the file is damaged, or what it says of the column is not what `datasets` writes.
pub fn class_names(layout: Layout, file: &fs_err::File, column: &str) -> Result<Option<Vec<String>>, DataError> {
    let note = match layout {
        Layout::Parquet => Table::note_in_parquet(&footer_of(file)?, KEY)?,
        Layout::Arrow => note_in_arrow(file, KEY)?,
        Layout::Csv | Layout::Tsv | Layout::JsonLines => None,
    };
    note.map_or(Ok(None), |note| names_in(&note, column).map_err(DataError::Features))
}

/// The end of a Parquet file: its metadata, their length, and the letters that every file ends in.
fn footer_of(mut file: &fs_err::File) -> io::Result<Vec<u8>> {
    let size = file.seek(SeekFrom::End(0))?;
    let mut end = |length: u64| {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(size.saturating_sub(length)))?;
        file.read_to_end(&mut bytes)?;
        io::Result::Ok(bytes)
    };
    let last = end(8)?;
    match last.first_chunk::<4>().map(|length| u32::from_le_bytes(*length)) {
        Some(length) if length <= LONGEST_FOOTER => end(u64::from(length) + 8),
        _ => Ok(last),
    }
}

fn names_in(note: &str, column: &str) -> Result<Option<Vec<String>>, String> {
    if note.len() > LONGEST {
        return Err(format!("is {} bytes long, expected at most {LONGEST}", note.len()));
    }
    let note: Note = serde_json::from_str(note).map_err(|error| format!("is not what `datasets` writes: {error}"))?;
    let Some(feature) = note.info.and_then(|info| info.features?.remove(column)) else { return Ok(None) };
    // Lists and structs have another form.
    let kind = serde_json::from_str::<Kind>(feature.get()).map(|feature| feature.kind);
    if kind.ok().as_deref() != Some("ClassLabel") {
        return Ok(None);
    }
    let ClassLabel { names } = serde_json::from_str(feature.get()).map_err(|error| {
        format!("says that the column is a `ClassLabel`, but its names are no list of texts: {error}")
    })?;
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        Some(name) => Err(format!("has the name `{}` twice", crate::ml::tasks::shortened(name))),
        None if names.len() > MOST_NAMES => {
            Err(format!("has {} names for the column, expected at most {MOST_NAMES}", names.len()))
        }
        None => Ok(Some(names)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Column;

    fn noted(note: &str) -> Vec<u8> {
        let table = Table::new([("label", Column::Int(vec![0, 1]))]);
        let table = if note.is_empty() { table } else { table.with(KEY, note) };
        table.to_parquet().unwrap()
    }

    fn read(layout: Layout, bytes: &[u8]) -> Result<Option<Vec<String>>, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("noted");
        fs_err::write(&path, bytes).unwrap();
        class_names(layout, &fs_err::File::open(path).unwrap(), "label")
    }

    fn names(note: &str) -> Result<Option<Vec<String>>, String> {
        read(Layout::Parquet, &noted(note)).map_err(|error| error.to_string())
    }

    fn feature(feature: &str) -> String {
        format!("{{\"info\": {{\"features\": {{\"label\": {feature}}}}}}}")
    }

    #[test]
    fn the_names_of_a_column_of_labels_are_found() {
        let found = names(&feature(r#"{"names": ["no", "yes"], "_type": "ClassLabel"}"#)).unwrap();
        assert_eq!(found.unwrap(), ["no", "yes"]);
        // As older versions wrote it.
        let old = r#"{"num_classes": 2, "names": ["a", "é"], "names_file": null, "id": null, "_type": "ClassLabel"}"#;
        assert_eq!(names(&feature(old)).unwrap().unwrap(), ["a", "é"]);
        let others = [
            String::new(),
            "{}".to_owned(),
            "{\"info\": null}".to_owned(),
            "{\"info\": {}}".to_owned(),
            feature(r#"{"dtype": "int64", "_type": "Value"}"#),
            feature(r#"[{"dtype": "string", "_type": "Value"}]"#),
            feature(r#"{"a": {"dtype": "string", "_type": "Value"}}"#),
            feature(r#"{"feature": {"names": ["no"], "_type": "ClassLabel"}, "_type": "Sequence"}"#),
        ];
        for other in others {
            assert_eq!(names(&other).unwrap(), None, "{other}");
        }
    }

    #[test]
    fn hostile_notes_are_refused() {
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(names(&feature(&deep)).is_ok(), "what nobody asks for is passed over");
        assert!(names(&deep).unwrap_err().contains("is not what `datasets` writes"));
        for wrong in ["[\"a\", 1]", "null", "{\"0\": \"a\"}", "3"] {
            let told = names(&feature(&format!("{{\"names\": {wrong}, \"_type\": \"ClassLabel\"}}"))).unwrap_err();
            assert!(told.contains("its names are no list of texts"), "{told}");
        }
        let twice = feature(r#"{"names": ["a", "b", "a"], "_type": "ClassLabel"}"#);
        assert_eq!(names(&twice).unwrap_err(), "its metadata `huggingface` has the name `a` twice");
        let many: Vec<String> = (0..=MOST_NAMES).map(|name| format!("\"{name}\"")).collect();
        let many = feature(&format!("{{\"names\": [{}], \"_type\": \"ClassLabel\"}}", many.join(",")));
        assert!(names(&many).unwrap_err().contains("has 10001 names"));
        assert!(names(&feature(&format!("\"{}\"", "x".repeat(LONGEST)))).unwrap_err().contains("bytes long"));
    }

    #[test]
    fn only_the_footer_of_parquet_is_read() {
        let bytes = noted(&feature(r#"{"names": ["no", "yes"], "_type": "ClassLabel"}"#));
        let mut damaged = bytes.clone();
        damaged[4] ^= 1;
        assert!(read(Layout::Parquet, &damaged).unwrap().is_some());
        for end in 0..bytes.len() {
            assert!(read(Layout::Parquet, &bytes[..end]).is_err(), "{end}");
        }
        assert_eq!(read(Layout::JsonLines, b"{}").unwrap(), None);
    }
}
