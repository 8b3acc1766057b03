//! An entry: recipe, artifacts and provenance of a finished job; at once cache record, evidence and attestation.

use super::digest::{Digest, Key};
use super::provenance::Provenance;
use super::recipe::Recipe;
use super::seal::seal;
use crate::trust::Sha256;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What the seal of an entry is for.
const SEALED: &str = "spot entry seal v1";
/// Version of the format of entries.
pub const VERSION: u32 = 1;

/// What a finished job leaves: how it was made, what it made, and by whom.
///
/// The file is JSON with one field a line. The line of `recipe` holds the very bytes that are hashed into the key, and
/// `seal` in the last line covers everything above it, so that an edited entry is noticed:
///
/// ```text
/// {
/// "version": 1,
/// "key": "91c0…",
/// "recipe": {"inputs":[["data","3f2a…"]],"kind":"tune","params":{…},"schema":1,"version":3},
/// "artifacts": [{"name":"prompt","type":"prompt","digest":"ab12…","sha256":"0f3e…","size":25752,"parts":[]}],
/// "provenance": {…},
/// "seal": "77aa…"
/// }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Names it.
    pub key: Key,
    /// What was done.
    pub recipe: Recipe,
    /// What came out, in the order of the kind.
    pub artifacts: Vec<Record>,
    /// How it came to be.
    pub provenance: Provenance,
}

/// An artifact as an entry records it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Its name within the job.
    pub name: String,
    /// Its type.
    pub r#type: String,
    /// Of its bytes.
    pub digest: Digest,
    /// Of its bytes too, for tools of others; entries of earlier programs have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
    /// Number of its bytes.
    pub size: u64,
    /// Blobs and files of their own that its bytes name by digest.
    #[serde(default)]
    pub parts: Vec<Part>,
}

/// A part of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its name within the artifact.
    pub name: String,
    /// Of its bytes.
    pub digest: Digest,
    /// As that of a [`Record`]; files outside have none, which may be larger than all that the store has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
    /// Number of its bytes.
    pub size: u64,
    /// Where it is, if it is not in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<PathBuf>,
}

/// Why a text is not an entry.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Not laid out as this program lays entries out.
    #[error("line {line} is not `{expected}`")]
    Layout {
        /// Line, from 1.
        line: usize,
        /// What it starts with in an entry.
        expected: &'static str,
    },
    /// Made by a newer program.
    #[error("made by a newer program: {0}")]
    Newer(String),
    /// Edited by hand or damaged.
    #[error("the seal does not fit the text: it was edited or damaged")]
    Seal,
    /// The recipe was changed, or the file renamed.
    #[error("its recipe has the key `{0}`")]
    Key(Key),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    version: u32,
    key: Key,
    recipe: Recipe,
    artifacts: Vec<Record>,
    provenance: Provenance,
    seal: Digest,
}

const FIELDS: [&str; 8] =
    ["{", "\"version\": ", "\"key\": ", "\"recipe\": ", "\"artifacts\": ", "\"provenance\": ", "\"seal\": ", "}"];
const RECIPE: usize = 3;
const SEAL: usize = 6;

impl Entry {
    /// The text of the entry, sealed.
    pub fn to_text(&self) -> String {
        fn json<T: Serialize>(value: &T) -> String {
            serde_json::to_string(value).expect("entries have only string keys and finite numbers")
        }
        let values = [
            VERSION.to_string(),
            json(&self.key),
            self.recipe.canonical(),
            json(&self.artifacts),
            json(&self.provenance),
        ];
        let mut text = String::from("{\n");
        for (field, value) in FIELDS[1..SEAL].iter().zip(values) {
            text += &format!("{field}{value},\n");
        }
        let seal = seal(SEALED, &text);
        text + &format!("\"seal\": \"{seal}\"\n}}\n")
    }

    /// Reads an entry and checks its seal, and that its recipe has the key it is stored under.
    ///
    /// # Errors
    /// Any text that [`Entry::to_text`] did not write.
    pub fn from_text(text: &str, key: Key) -> Result<Self, Unreadable> {
        let lines = lines(text)?;
        let sealed = text.len() - lines[SEAL..].iter().map(|line| line.len() + 1).sum::<usize>();
        if lines[SEAL] != format!("{}\"{}\"", FIELDS[SEAL], seal(SEALED, &text[..sealed])) {
            return Err(Unreadable::Seal);
        }
        // Whole, so whatever is not known here is not damage.
        let version = lines[1].trim_start_matches(FIELDS[1]).trim_end_matches(',');
        if version != VERSION.to_string() {
            return Err(Unreadable::Newer(format!("format {version}, and this program reads {VERSION}")));
        }
        let entry: Text = serde_json::from_str(text).map_err(|error| Unreadable::Newer(error.to_string()))?;
        // From the bytes as they stand: a float that was read and written again might not be the same text.
        let recipe = lines[RECIPE].trim_start_matches(FIELDS[RECIPE]).trim_end_matches(',');
        let derived = Key::of(recipe.as_bytes());
        if derived != key || entry.key != key {
            return Err(Unreadable::Key(derived));
        }
        let Text { recipe, artifacts, provenance, .. } = entry;
        Ok(Self { key, recipe, artifacts, provenance })
    }

    /// The artifact with this name.
    pub fn artifact(&self, name: &str) -> Option<&Record> {
        self.artifacts.iter().find(|artifact| artifact.name == name)
    }

    /// Every blob of the store that the entry needs: the artifact's name, digest and size.
    pub fn blobs(&self) -> impl Iterator<Item = (&str, Digest, u64)> {
        self.artifacts.iter().flat_map(|artifact| {
            let own = (artifact.name.as_str(), artifact.digest, artifact.size);
            let parts = artifact.parts.iter().filter(|part| part.external.is_none());
            std::iter::once(own).chain(parts.map(|part| (artifact.name.as_str(), part.digest, part.size)))
        })
    }

    /// Every file outside the store that the entry needs: the artifact's name, the part and the path.
    pub fn external(&self) -> impl Iterator<Item = (&str, &Part, &PathBuf)> {
        self.artifacts.iter().flat_map(|artifact| {
            let parts = artifact.parts.iter();
            parts.filter_map(|part| part.external.as_ref().map(|path| (artifact.name.as_str(), part, path)))
        })
    }
}

/// The lines of an entry, each starting as it must.
fn lines(text: &str) -> Result<Vec<&str>, Unreadable> {
    let lines: Vec<_> = text.strip_suffix('\n').unwrap_or(text).split('\n').collect();
    for (i, expected) in FIELDS.into_iter().enumerate() {
        let fits = lines.get(i).is_some_and(|line| line.starts_with(expected));
        if !fits {
            return Err(Unreadable::Layout { line: i + 1, expected });
        }
    }
    if lines.len() != FIELDS.len() || !text.ends_with('\n') {
        return Err(Unreadable::Layout { line: FIELDS.len(), expected: "}" });
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry() -> Entry {
        let recipe = Recipe::new("tune", 1, json!({"rate": f64::from(0.1_f32), "text": "a\nb"}), vec![]);
        let external = Some("/x/y".into());
        let part = Part { name: "w".to_owned(), digest: Digest::of(b"w"), sha256: None, size: 1, external };
        let artifacts = vec![Record {
            name: "prompt".to_owned(),
            r#type: "prompt".to_owned(),
            digest: Digest::of(b"bytes"),
            sha256: Some(Sha256::of(b"bytes")),
            size: 5,
            parts: vec![part],
        }];
        Entry { key: recipe.key(), recipe, artifacts, provenance: Provenance { seconds: 0.1, ..Provenance::default() } }
    }

    #[test]
    fn an_entry_reads_back_and_is_json() {
        let entry = entry();
        let text = entry.to_text();
        assert_eq!(Entry::from_text(&text, entry.key).unwrap(), entry);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["artifacts"][0]["parts"][0]["external"], "/x/y");
    }

    #[test]
    fn an_entry_of_an_earlier_program_has_no_sha_256() {
        let mut entry = entry();
        entry.artifacts[0].sha256 = None;
        let text = entry.to_text();
        assert!(!text.contains("sha256"));
        assert_eq!(Entry::from_text(&text, entry.key).unwrap(), entry);
    }

    #[test]
    fn no_character_of_an_entry_can_be_changed_unnoticed() {
        let entry = entry();
        let text = entry.to_text();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
            let edited = String::from_utf8(bytes).unwrap();
            assert!(Entry::from_text(&edited, entry.key).is_err(), "byte {at} of {text}");
        }
        for end in 0..text.len() {
            assert!(Entry::from_text(&text[..end], entry.key).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn an_entry_under_another_name_is_refused() {
        let entry = entry();
        let error = Entry::from_text(&entry.to_text(), Key::of(b"other")).unwrap_err();
        assert!(matches!(error, Unreadable::Key(key) if key == entry.key));
    }
}
