//! What files say of themselves beside their numbers: texts by key, which stand for values. This is where they become values and
//! where values become them.

use std::collections::BTreeMap;

/// Texts by key, as safetensors and Parquet keep them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata(BTreeMap<String, String>);

/// An entry that is missing, or stands for no value of its kind. The caller adds the file's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("file metadata `{key}` {found}, expected {expected}")]
pub struct MetadataError {
    /// Its key.
    pub key: &'static str,
    /// What is there.
    pub found: String,
    /// What it may be.
    pub expected: &'static str,
}

/// A value that a text of metadata stands for.
pub trait Value: Sized {
    /// What is expected where it is missing or another.
    const EXPECTED: &'static str;

    /// The value of a text.
    fn read(text: &str) -> Option<Self>;

    /// The text of a value, which reads back as the same.
    fn write(&self) -> String;
}

impl Value for String {
    const EXPECTED: &'static str = "a word";

    fn read(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn write(&self) -> String {
        self.clone()
    }
}

impl Value for u64 {
    const EXPECTED: &'static str = "a whole number from 0";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Value for usize {
    const EXPECTED: &'static str = u64::EXPECTED;

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Value for f64 {
    const EXPECTED: &'static str = "a number";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok().filter(|number: &Self| number.is_finite())
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Metadata {
    /// Takes an entry out; an empty one says nothing.
    ///
    /// # Errors
    /// If it stands for no such value.
    pub fn take<T: Value>(&mut self, key: &'static str) -> Result<Option<T>, MetadataError> {
        let Some(text) = self.0.remove(key).filter(|text| !text.is_empty()) else { return Ok(None) };
        let found = || format!("is `{}`", text.escape_debug());
        T::read(&text).map(Some).ok_or_else(|| MetadataError { key, found: found(), expected: T::EXPECTED })
    }

    /// Takes an entry out that has to be there.
    ///
    /// # Errors
    /// If it is not there, is empty or stands for no such value.
    pub fn need<T: Value>(&mut self, key: &'static str) -> Result<T, MetadataError> {
        let missing = || MetadataError { key, found: "is missing".to_owned(), expected: T::EXPECTED };
        self.take(key)?.ok_or_else(missing)
    }

    /// The same with an entry for a value.
    #[must_use]
    pub fn with(mut self, key: &str, value: &impl Value) -> Self {
        self.0.insert(key.to_owned(), value.write());
        self
    }

    /// The same with an entry for a value, if it is known.
    #[must_use]
    pub fn with_known(self, key: &str, value: Option<&impl Value>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// The same with an entry, which is empty if the value is not known.
    #[must_use]
    pub fn with_or_empty(self, key: &str, value: Option<&impl Value>) -> Self {
        self.with(key, &value.map_or_else(String::new, Value::write))
    }

    /// All entries.
    pub fn entries(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

impl From<BTreeMap<String, String>> for Metadata {
    fn from(entries: BTreeMap<String, String>) -> Self {
        Self(entries)
    }
}

impl From<Metadata> for BTreeMap<String, String> {
    fn from(metadata: Metadata) -> Self {
        metadata.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(key: &str, text: &str) -> Metadata {
        Metadata(BTreeMap::from([(key.to_owned(), text.to_owned())]))
    }

    #[test]
    fn values_read_back_as_they_were() {
        let number = 100.0 / 3.0;
        let mut said = Metadata::default()
            .with("task", &"w_sum".to_owned())
            .with("seed", &u64::MAX)
            .with("score", &number)
            .with_known("steps", None::<&u64>)
            .with_or_empty("source", None::<&String>);
        assert_eq!(said.entries().keys().collect::<Vec<_>>(), ["score", "seed", "source", "task"]);
        assert_eq!(said.need("seed"), Ok(u64::MAX));
        assert_eq!(said.need("score"), Ok(number));
        assert_eq!((said.take::<u64>("steps"), said.take::<String>("source")), (Ok(None), Ok(None)));
        assert_eq!(said.take("task"), Ok(Some("w_sum".to_owned())));
        assert_eq!(said, Metadata::default(), "what was taken is gone");
    }

    #[test]
    fn what_is_no_value_is_named_with_what_was_expected() {
        let error = |text: &str, read: fn(&mut Metadata) -> Option<MetadataError>| {
            read(&mut said("key", text)).map(|error| error.to_string())
        };
        let whole: fn(&mut Metadata) -> _ = |said| said.take::<u64>("key").err();
        let number: fn(&mut Metadata) -> _ = |said| said.take::<f64>("key").err();
        let needed: fn(&mut Metadata) -> _ = |said| said.need::<usize>("key").err();
        for text in ["-1", "1.5", "a\n", " 1", "18446744073709551616"] {
            let expected = format!("file metadata `key` is `{}`, expected a whole number from 0", text.escape_debug());
            assert_eq!(error(text, whole), Some(expected));
        }
        for text in ["NaN", "inf", "1,5", "high"] {
            assert_eq!(error(text, number), Some(format!("file metadata `key` is `{text}`, expected a number")));
        }
        assert_eq!((error("", whole), error("1e2", number)), (None, None));
        let missing = "file metadata `key` is missing, expected a whole number from 0";
        assert_eq!(error("", needed).as_deref(), Some(missing));
    }
}
