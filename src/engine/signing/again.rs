//! That a job was executed again, and what came out: who did it is another key than whoever made the entry.

use crate::engine::signing::Signer;
use crate::engine::store::Store;
use crate::engine::store::digest::{Digest, Key};
use crate::engine::store::provenance;
use crate::engine::store::signed::Signature;
use crate::trust::Statement;
use crate::trust::statement::Subject;
use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// What kind of statement it is.
const PREDICATE: &str = "urn:spot:again:v1";

/// What came out when a job was executed again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Again {
    /// Names the entry.
    pub key: Key,
    /// Of the entry's text.
    pub entry: Digest,
    /// The job.
    pub job: String,
    /// Outputs that came out differently: name, digest in the store, digest of what came out.
    pub differs: Vec<(String, Digest, Digest)>,
    /// Version of the program that did it.
    pub program: String,
    /// Operating system, its release and machine type.
    pub host: String,
    /// When, UTC.
    pub time: String,
}

impl Again {
    /// What a statement says.
    ///
    /// # Errors
    /// If it says something else.
    pub fn read(statement: &[u8]) -> Result<Self, String> {
        let statement = Statement::from_json(statement, PREDICATE)?;
        serde_json::from_value(statement.predicate).map_err(|error| error.to_string())
    }
}

/// What `signer` says of a job that it executed again.
///
/// # Errors
/// If the entry cannot be read or is gone, or the system has no randomness.
pub fn signature(
    store: &Store,
    signer: &Signer,
    (key, job): (Key, &str),
    differs: &[(String, Digest, Digest)],
) -> anyhow::Result<Signature> {
    let text = store.entry_bytes(&key)?.with_context(|| format!("the entry of `{job}` is gone"))?;
    let again = Again {
        key,
        entry: Digest::of(&text),
        job: job.to_owned(),
        differs: differs.to_vec(),
        program: provenance::program(),
        host: provenance::host(),
        time: provenance::now(),
    };
    let subject = Subject::new(format!("{job}: entry"), [("blake3", again.entry.to_string())]);
    let statement = Statement::new(vec![subject], PREDICATE, serde_json::to_value(again)?);
    Ok(Signature { path: store.again_path(&key, signer.public()), text: signer.sign(&statement)? })
}
