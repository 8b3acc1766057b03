//! What keys say of entries and runs: envelopes (DSSE) with statements (in-toto), which the store keeps but cannot make.
//!
//! ```text
//! signed/entries/ab/<key>/<signer>-<entry>.json   whoever made an entry: its provenance, for tools of others too
//! signed/entries/ab/<key>/again-<signer>.json     whoever executed it again: what came out
//! signed/runs/<pipeline>/<run>-<signer>.json      a run: its journal, and the signed run before it
//! signed/store                                    what the project calls this store: 32 hexadecimal digits
//! ```

use super::Store;
use super::digest::{Digest, Key};
use super::files::is_file;
use super::names::{file_name, list};
use crate::replace::sync_folder;
use crate::trust::{Envelope, PublicKey};
use std::io;
use std::path::{Path, PathBuf};

/// Bytes of the longest envelope that is read.
const LONGEST: u64 = 64 << 20;
/// Digits of ids and digests in names of files.
const DIGITS: usize = 16;
/// The file with the name of the store.
const NAME: &str = "signed/store";
/// What begins the name of what was executed again.
const AGAIN: &str = "again-";

/// An envelope that belongs into a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Where.
    pub path: PathBuf,
    /// The envelope, as JSON.
    pub text: String,
}

/// An envelope of a store.
#[derive(Clone, Debug)]
pub struct Signed {
    /// Where.
    pub path: PathBuf,
    /// The envelope, or why it is none.
    pub envelope: Result<Envelope, String>,
}

impl Signed {
    fn read(path: PathBuf) -> Self {
        let bytes = is_file(&path).and_then(|()| match fs_err::metadata(&path)?.len() {
            0..=LONGEST => fs_err::read(&path),
            size => Err(io::Error::other(format!("`{}` has {size} bytes", path.display()))),
        });
        let envelope = bytes.map_err(|error| error.to_string()).and_then(|bytes| {
            let envelope = Envelope::from_json(&bytes)?;
            // No byte of it may be another one.
            let is_own = format!("{}\n", envelope.to_json()).as_bytes() == bytes;
            if is_own { Ok(envelope) } else { Err("is not written as this program writes envelopes".to_owned()) }
        });
        Self { path, envelope }
    }

    /// The statement in it, if this key signed it.
    pub fn statement_by(&self, key: &PublicKey) -> Option<Vec<u8>> {
        self.envelope.as_ref().ok()?.statement_by(key)
    }
}

impl Store {
    /// Where is kept what is said of an entry.
    pub fn signed_folder(&self, key: &Key) -> PathBuf {
        let name = key.to_string();
        self.root.join("signed/entries").join(&name[..2]).join(name)
    }

    /// Where the signature of whoever made an entry belongs; `entry` is of its text.
    pub fn made_path(&self, key: &Key, signer: &PublicKey, entry: &Digest) -> PathBuf {
        let name = format!("{:.DIGITS$}-{entry:.DIGITS$}.json", signer.id());
        self.signed_folder(key).join(name)
    }

    /// Where the signature of whoever executed the job of an entry again belongs.
    pub fn again_path(&self, key: &Key, signer: &PublicKey) -> PathBuf {
        self.signed_folder(key).join(format!("{AGAIN}{:.DIGITS$}.json", signer.id()))
    }

    /// Where the signature of a run belongs.
    pub fn signed_run_path(&self, pipeline: &str, run: &str, signer: &PublicKey) -> PathBuf {
        let run = run.strip_suffix(".jsonl").unwrap_or(run);
        self.root.join("signed/runs").join(file_name(pipeline)).join(format!("{run}-{:.DIGITS$}.json", signer.id()))
    }

    /// What is said of an entry: by whoever made it, and by whoever executed it again.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn signatures(&self, key: &Key) -> io::Result<(Vec<Signed>, Vec<Signed>)> {
        let folder = self.signed_folder(key);
        let (again, made): (Vec<String>, Vec<String>) =
            list(&folder)?.into_iter().partition(|name| name.starts_with(AGAIN));
        let read = |names: Vec<String>| names.into_iter().map(|name| Signed::read(folder.join(name))).collect();
        Ok((read(made), read(again)))
    }

    /// What is said of an entry, as it is written: names of files and their bytes, none longer than is read.
    ///
    /// # Errors
    /// If the folder or a file cannot be read.
    pub fn signed_texts(&self, key: &Key) -> io::Result<Vec<(String, Vec<u8>)>> {
        let folder = self.signed_folder(key);
        let mut texts = Vec::new();
        for name in list(&folder)? {
            let path = folder.join(&name);
            if is_file(&path).is_ok() && fs_err::metadata(&path)?.len() <= LONGEST {
                texts.push((name, fs_err::read(path)?));
            }
        }
        Ok(texts)
    }

    /// What is said of the runs of each pipeline, as it is called in the file system.
    ///
    /// # Errors
    /// If a folder cannot be read.
    pub fn signed_runs(&self) -> io::Result<Vec<(String, Vec<Signed>)>> {
        let root = self.root.join("signed/runs");
        let of_pipeline = |pipeline: String| {
            let folder = root.join(&pipeline);
            let signed = list(&folder)?.into_iter().map(|name| Signed::read(folder.join(name))).collect();
            Ok((pipeline, signed))
        };
        list(&root)?.into_iter().map(of_pipeline).collect()
    }

    /// What the project calls this store, if anything here was ever signed.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn name(&self) -> io::Result<Option<String>> {
        let path = self.root.join(NAME);
        match is_file(&path).and_then(|()| fs_err::read(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            text => {
                let text = String::from_utf8_lossy(&text?).trim_end().to_owned();
                let is_name =
                    text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
                Ok(is_name.then_some(text))
            }
        }
    }

    /// Gives the store a name.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn set_name(&self, name: &str) -> io::Result<()> {
        self.write(&self.root.join(NAME), format!("{name}\n").as_bytes(), 0o444)
    }

    /// The bytes of an entry's file; `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn entry_bytes(&self, key: &Key) -> io::Result<Option<Vec<u8>>> {
        let path: &Path = &self.entry_path(key);
        match is_file(path).and_then(|()| fs_err::read(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    /// Keeps what is signed. It is on disk then, whatever happens to the power.
    ///
    /// # Errors
    /// If it cannot be written or synced.
    pub fn keep_signature(&self, signature: &Signature) -> io::Result<()> {
        self.write(&signature.path, signature.text.as_bytes(), 0o444)?;
        self.sync_names(&signature.path)
    }

    /// Makes sure that a file of the store, whose content is synced, keeps its name and those of its folders.
    ///
    /// # Errors
    /// If a folder cannot be synced.
    pub(in crate::engine) fn sync_names(&self, path: &Path) -> io::Result<()> {
        let folders = path.ancestors().skip(1).take_while(|folder| folder.starts_with(&self.root));
        folders.into_iter().try_for_each(sync_folder)
    }
}
