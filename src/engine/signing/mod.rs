//! What a run signs, and how it is checked again: the provenance of every entry that it makes ([`made`]), the run itself
//! ([`runs`]), and that a job was executed again ([`again`]). The threat model is docs/trust.md.

pub mod again;
pub mod made;
pub mod runs;

use super::store::Store;
use super::store::digest::Digest;
use super::store::entry::Entry;
use super::store::signed::Signature;
use crate::trust::{Envelope, PublicKey, SecretKey, Statement};
use std::path::PathBuf;

/// What a key is for that seals the work of interrupted jobs.
const SCRATCH: &str = "spot scratch seal v1";

/// Who signs.
#[derive(Debug)]
pub struct Signer {
    key: SecretKey,
    public: PublicKey,
    /// The folder outside the store where it is noted, a file for each store, which the last signed run of each pipeline is.
    ends: PathBuf,
}

/// A public key and what people call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// As in the project.
    pub name: String,
    /// The key.
    pub key: PublicKey,
}

impl Signer {
    /// A signer who notes the last signed run of each pipeline in the folder `ends`.
    pub fn new(key: SecretKey, ends: PathBuf) -> Self {
        let public = key.public();
        Self { key, public, ends }
    }

    /// The other half of the key.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// A statement with a signature.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn sign(&self, statement: &Statement) -> anyhow::Result<String> {
        Ok(Envelope::sign(statement.to_json().as_bytes(), &self.key)?.to_json() + "\n")
    }

    /// What this key says of an entry that it made: the envelope and its place.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn made(&self, store: &Store, entry: &Entry) -> anyhow::Result<Signature> {
        let digest = Digest::of(entry.to_text().as_bytes());
        let text = self.sign(&made::statement(entry, &digest))?;
        Ok(Signature { path: store.made_path(&entry.key, &self.public, &digest), text })
    }

    /// What only the owner of the key can compute, for the work of interrupted jobs.
    pub(super) fn scratch_secret(&self) -> [u8; 32] {
        self.key.derive(SCRATCH)
    }
}
