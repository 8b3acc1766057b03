//! Statements: in-toto Attestation Framework, Statement v1 (<https://github.com/in-toto/attestation/tree/main/spec/v1>).

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// The type of statements of this version.
const TYPE: &str = "https://in-toto.io/Statement/v1";

/// Something said of things that are known by their digests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    #[serde(rename = "_type")]
    of_type: String,
    /// What it is about.
    pub subject: Vec<Subject>,
    /// What kind of thing is said.
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// What is said.
    pub predicate: Value,
}

/// A thing that a statement is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// For people.
    pub name: String,
    /// By algorithm, in hexadecimal.
    pub digest: BTreeMap<String, String>,
}

impl Statement {
    /// A statement.
    pub fn new(subject: Vec<Subject>, predicate_type: &str, predicate: Value) -> Self {
        Self { of_type: TYPE.to_owned(), subject, predicate_type: predicate_type.to_owned(), predicate }
    }

    /// Reads a statement that says this kind of thing.
    ///
    /// # Errors
    /// If it is something else.
    pub fn from_json(bytes: &[u8], predicate_type: &str) -> Result<Self, String> {
        let statement: Self =
            serde_json::from_slice(bytes).map_err(|error| format!("is not an in-toto statement: {error}"))?;
        match (statement.of_type.as_str(), statement.predicate_type.as_str()) {
            (TYPE, found) if found == predicate_type => Ok(statement),
            (TYPE, found) => Err(format!("says `{found}`; expected `{predicate_type}`")),
            (found, _) => Err(format!("is a `{found}`; expected `{TYPE}`")),
        }
    }

    /// The statement in one line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a statement has only texts and JSON")
    }
}

impl Subject {
    /// A thing by its digests: algorithm and hexadecimal digits.
    pub fn new<const N: usize>(name: impl Into<String>, digest: [(&str, String); N]) -> Self {
        let digest = digest.into_iter().map(|(algorithm, digits)| (algorithm.to_owned(), digits)).collect();
        Self { name: name.into(), digest }
    }
}

/// SHA-256 of some bytes, which tools of others know; shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; 32]);

/// Computes a [`Sha256`] piece by piece.
pub struct Sha256Hasher(ring::digest::Context);

impl Sha256 {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_ring(&ring::digest::digest(&ring::digest::SHA256, bytes))
    }

    fn from_ring(digest: &ring::digest::Digest) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Default for Sha256Hasher {
    fn default() -> Self {
        Self(ring::digest::Context::new(&ring::digest::SHA256))
    }
}

impl Sha256Hasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all of them.
    pub fn finish(self) -> Sha256 {
        Sha256::from_ring(&self.0.finish())
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Sha256 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_lower = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let hash = is_lower.then(|| blake3::Hash::from_hex(&text).ok()).flatten();
        hash.map(|hash| Self(*hash.as_bytes()))
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not 64 hexadecimal digits")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sha_256_is_that_of_the_standard_whole_and_in_pieces() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Sha256::of(b"abc").to_string(), abc);
        let mut hasher = Sha256Hasher::default();
        hasher.update(b"a");
        hasher.update(b"bc");
        assert_eq!(hasher.finish(), Sha256::of(b"abc"));
        assert_eq!(serde_json::from_value::<Sha256>(json!(abc)).unwrap(), Sha256::of(b"abc"));
        assert!(serde_json::from_value::<Sha256>(json!(abc.to_uppercase())).is_err());
    }

    #[test]
    fn a_statement_of_another_kind_is_refused() {
        let subject = Subject::new("x", [("sha256", "00".to_owned())]);
        let statement = Statement::new(vec![subject], "urn:a", json!({"k": 1}));
        let text = statement.to_json();
        assert_eq!(Statement::from_json(text.as_bytes(), "urn:a").unwrap(), statement);
        let wrong = |text: &str| Statement::from_json(text.as_bytes(), "urn:a").unwrap_err();
        assert_eq!(wrong(&text.replace("urn:a", "urn:b")), "says `urn:b`; expected `urn:a`");
        assert!(wrong(&text.replace("/v1", "/v0.1")).starts_with("is a `https://in-toto.io/Statement/v0.1`"));
        assert!(wrong("[]").starts_with("is not an in-toto statement"));
    }
}
