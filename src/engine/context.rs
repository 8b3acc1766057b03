//! What a running job sees: its inputs, its outputs, its scratch folder, progress; never the store, the clock, the
//! environment or the network.

use super::run::shared::{Hold, Shared};
use super::signing::Signer;
use super::stage::{Notes, Promise};
use super::store::content::Content;
use super::store::digest::{Digest, Key};
use super::store::entry::{Entry, Part, Record};
use super::store::files::{self, again, hashed};
use super::store::{Damage, Store, Wrong, partial};
use crate::trust::Sha256;
use anyhow::{Context as _, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// An input artifact or file.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// Of its content.
    pub digest: Digest,
    home: Home,
}

/// Where the content of an artifact is.
#[derive(Clone, Debug)]
enum Home {
    /// In the store. `name` is for messages: `source[mnli,0].prompt`; the notes are those of the job.
    Blob { store: Arc<Store>, name: Arc<str>, size: u64, parts: Arc<[Part]>, notes: Notes },
    /// Outside.
    File { path: Arc<Path> },
    /// With other machines, and only its digest is known yet: it is `output` of the job called `job`, whose entry has this key.
    Told { key: Key, job: Arc<str>, output: Arc<str> },
}

/// A job that [`Stage::expand`](super::stage::Stage::expand) asked for, finished.
#[derive(Clone, Debug)]
pub struct Expanded {
    /// Its name, as in [`Spec`](super::stage::Spec).
    pub name: String,
    /// Its outputs by name, in the order of its kind.
    pub outputs: Vec<(Arc<str>, Artifact)>,
}

/// Something that a job reads.
#[derive(Clone, Debug)]
pub(super) struct Read {
    /// Its role in the recipe.
    pub(super) role: String,
    /// Its content.
    pub(super) artifact: Artifact,
}

/// What all jobs of a run share.
pub(super) struct Bench<'a> {
    pub(super) store: &'a Arc<Store>,
    pub(super) device: &'a str,
    /// Threads of all jobs together.
    pub(super) threads: usize,
    /// Bytes that the activations of a job may take, or of all jobs that share its model.
    pub(super) memory: usize,
    pub(super) stop: &'a AtomicBool,
    pub(super) shared: &'a Shared,
    /// Who signs what is made.
    pub(super) signer: Option<&'a Signer>,
}

/// The context of a running job.
pub struct Cx<'a> {
    job: &'a str,
    inputs: &'a [Read],
    expanded: &'a [Expanded],
    bench: &'a Bench<'a>,
    hold: Hold<'a>,
    progress: &'a dyn Progress,
    scratch: Option<PathBuf>,
    outputs: Vec<Promise>,
    readers: &'a Readers,
    written: Vec<Written>,
    notes: BTreeMap<String, String>,
    /// Of the work that was expected.
    share: f64,
}

/// What a job has made.
pub(super) struct Finished {
    /// Its outputs.
    pub(super) artifacts: Vec<Record>,
    /// What it noted down.
    pub(super) notes: BTreeMap<String, String>,
    /// How much it did of the work that was expected of it, 0 to 1.
    pub(super) share: f64,
}

/// The outputs of a job that other jobs of the plan read.
#[derive(Clone, Debug, Default)]
pub(super) struct Readers {
    /// Of the job.
    pub(super) of_job: BTreeSet<Arc<str>>,
    /// Of any job of its stage.
    pub(super) of_stage: BTreeSet<Arc<str>>,
}

/// What a job has written of one output so far.
struct Written {
    name: Arc<str>,
    content: Option<Put>,
    parts: Vec<Part>,
}

/// Bytes that are in the store now.
#[derive(Clone, Copy)]
struct Put {
    digest: Digest,
    sha256: Sha256,
    size: u64,
}

impl Put {
    fn bytes(store: &Store, bytes: &[u8]) -> anyhow::Result<Self> {
        Ok(Self { digest: store.put(bytes)?, sha256: Sha256::of(bytes), size: bytes.len() as u64 })
    }

    fn file(store: &Store, file: &Path) -> anyhow::Result<Self> {
        let size = fs_err::metadata(file)?.len();
        let (digest, sha256) = store.adopt(file)?;
        Ok(Self { digest, sha256, size })
    }

    fn part(self, name: &str) -> Part {
        let Self { digest, sha256, size } = self;
        Part { name: name.to_owned(), digest, sha256: Some(sha256), size, external: None }
    }
}

/// Where a job says how far it is.
pub trait Progress: Send + Sync {
    /// `done` of `total` steps; `note` is a short text such as `loss 0.312 · accuracy 81.2`.
    fn step(&self, done: u64, total: u64, note: &str);
    /// Numbers that were measured after a step, by their names: `loss`, `score`, `best`. Other processes see the last of each.
    fn measured(&self, step: u64, values: &[(&str, f64)]);
    /// Adds to the log of the job, which other programs read while it grows; the first call begins it anew.
    fn log(&self, bytes: &[u8]);
    /// A message worth a line of its own.
    fn say(&self, message: &str);
    /// The same of something that is not as it should be.
    fn warn(&self, message: &str);
}

/// The error of a job that stopped because somebody asked it to; its scratch folder is kept.
#[derive(Debug, thiserror::Error)]
#[error("interrupted at step {step}")]
pub struct Interrupted {
    /// Steps done, which the next run need not do again.
    pub step: u64,
}

/// The error of a file that is not what it was when its job started.
#[derive(Debug, thiserror::Error)]
#[error("`{}` changed while the job ran; its result is discarded", .0.display())]
pub struct ChangedInput(pub PathBuf);

impl Artifact {
    /// A file outside the store.
    pub(super) fn file(path: &Path, digest: Digest) -> Self {
        Self { digest, home: Home::File { path: path.into() } }
    }

    /// A file as it is now.
    #[cfg(test)]
    pub(crate) fn of_file(path: &Path) -> std::io::Result<Self> {
        Ok(Self::file(path, super::store::files::hash(path)?))
    }

    /// An artifact of the job called `job`, which noted something down.
    pub(super) fn recorded(store: &Arc<Store>, job: &str, record: &Record, notes: &Notes) -> Self {
        let (name, parts) = (format!("{job}.{}", record.name).into(), record.parts.clone().into());
        let home = Home::Blob { store: store.clone(), name, size: record.size, parts, notes: notes.clone() };
        Self { digest: record.digest, home }
    }

    /// The output of a job of which only the digest is known yet; its entry has the key `key`.
    pub(super) fn told(key: &Key, job: &Arc<str>, output: &Arc<str>, digest: Digest) -> Self {
        Self { digest, home: Home::Told { key: *key, job: job.clone(), output: output.clone() } }
    }

    /// The key of the entry that says the rest of it, if only its digest is known.
    pub(super) fn told_by(&self) -> Option<Key> {
        match &self.home {
            Home::Told { key, .. } => Some(*key),
            Home::Blob { .. } | Home::File { .. } => None,
        }
    }

    /// The same with all that its entry says of it; `None` if that has no such output.
    pub(super) fn known_from(&self, store: &Arc<Store>, entry: &Entry) -> Option<Self> {
        let Home::Told { job, output, .. } = &self.home else { return Some(self.clone()) };
        let record = entry.artifact(output).filter(|record| record.digest == self.digest)?;
        Some(Self::recorded(store, job, record, &Notes::new(entry.provenance.notes.clone())))
    }

    /// What the job that made it noted down; nothing of a file.
    pub(super) fn notes(&self) -> Notes {
        match &self.home {
            Home::Blob { notes, .. } => notes.clone(),
            Home::File { .. } | Home::Told { .. } => Notes::default(),
        }
    }

    /// Where it comes from, for people: `source[mnli,0].prompt`, or a path.
    pub fn origin(&self) -> String {
        match &self.home {
            Home::Blob { name, .. } => name.to_string(),
            Home::File { path } => path.display().to_string(),
            Home::Told { job, output, .. } => format!("{job}.{output}"),
        }
    }

    /// The path, if this is a file outside the store.
    pub(super) fn path(&self) -> Option<&Path> {
        match &self.home {
            Home::Blob { .. } | Home::Told { .. } => None,
            Home::File { path } => Some(path),
        }
    }

    /// The bytes, checked against the digest.
    ///
    /// # Errors
    /// If it cannot be read, is damaged, or changed since the job started.
    pub fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        match &self.home {
            Home::Blob { store, name, .. } => store.read(&self.digest, name),
            Home::File { path } => {
                let bytes = fs_err::read(path)?;
                if Digest::of(&bytes) != self.digest {
                    return Err(ChangedInput(path.to_path_buf()).into());
                }
                Ok(bytes)
            }
            Home::Told { .. } => self.is_only_told(),
        }
    }

    /// The executor learns the rest before it lets a job read.
    fn is_only_told<T>(&self) -> anyhow::Result<T> {
        bail!("of `{}` only the digest is known", self.origin())
    }

    /// As [`bytes`](Self::bytes), mapped into memory.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes).
    pub fn map(&self) -> anyhow::Result<Content> {
        match &self.home {
            Home::Blob { store, name, .. } => store.map(&self.digest, name),
            Home::File { path } => {
                let content = Content::of(path)?;
                if Digest::of(&content) != self.digest {
                    return Err(ChangedInput(path.to_path_buf()).into());
                }
                Ok(content)
            }
            Home::Told { .. } => self.is_only_told(),
        }
    }

    /// The file, to be read from its beginning; its content was checked against the digest, without taking memory for it. The executor
    /// sees whether a file outside the store changes while its job runs.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes).
    pub fn open(&self) -> anyhow::Result<fs_err::File> {
        match &self.home {
            Home::Blob { store, name, .. } => store.open(&self.digest, name),
            Home::File { path } => {
                let (file, found) = hashed(path)?;
                if found != self.digest {
                    return Err(ChangedInput(path.to_path_buf()).into());
                }
                Ok(file)
            }
            Home::Told { .. } => self.is_only_told(),
        }
    }

    /// Names and digests of its parts (see [`Cx::attach`]).
    pub fn parts(&self) -> Vec<(&str, Digest)> {
        match &self.home {
            Home::Blob { parts, .. } => parts.iter().map(|part| (part.name.as_str(), part.digest)).collect(),
            Home::File { .. } | Home::Told { .. } => Vec::new(),
        }
    }

    /// The content of a part (see [`Cx::attach`]), mapped into memory and checked against its digest.
    ///
    /// # Errors
    /// If there is no such part, or it cannot be read or is damaged.
    pub fn part(&self, digest: &Digest) -> anyhow::Result<Content> {
        let (store, name, parts) = match &self.home {
            Home::Blob { store, name, parts, .. } => (store, name, parts),
            Home::File { .. } => bail!("`{}` is a file and has no parts", self.origin()),
            Home::Told { .. } => return self.is_only_told(),
        };
        let part = parts.iter().find(|part| part.digest == *digest);
        let part = part.with_context(|| format!("`{name}` has no part `{}`", digest.short()))?;
        let Some(path) = &part.external else { return store.map(digest, name) };
        let content = Content::of(path);
        let found = content.as_ref().map(|content| Digest::of(content)).map_err(again);
        match Wrong::of(found, digest)? {
            Some(wrong) => Err(Damage::External { path: path.clone(), artifact: name.to_string(), wrong }.into()),
            None => Ok(content?),
        }
    }
}

impl<'a> Cx<'a> {
    /// A context to run in. Without a `scratch` folder there is none (while expanding).
    pub(super) fn new(
        job: &'a str,
        (outputs, readers): (Vec<Promise>, &'a Readers),
        inputs: &'a [Read],
        expanded: &'a [Expanded],
        bench: &'a Bench<'a>,
        progress: &'a dyn Progress,
        scratch: Option<PathBuf>,
    ) -> Self {
        let hold = bench.shared.hold();
        let (written, notes) = (Vec::new(), BTreeMap::new());
        Self { job, inputs, expanded, bench, hold, progress, scratch, outputs, readers, written, notes, share: 1.0 }
    }

    /// What was written and noted, once the job is done.
    ///
    /// # Errors
    /// If an output was not written.
    pub(super) fn finish(self) -> anyhow::Result<Finished> {
        let mut records = Vec::new();
        for output in self.outputs {
            let written = self.written.iter().find(|written| written.name == output.name);
            let content = written.and_then(|written| Some((written.content?, written.parts.clone())));
            let Some((Put { digest, sha256, size }, parts)) = content else {
                bail!("the job did not write its output `{}`", output.name);
            };
            records.push(Record {
                name: output.name.to_string(),
                r#type: output.of.name().to_owned(),
                digest,
                sha256: Some(sha256),
                size,
                parts,
            });
        }
        Ok(Finished { artifacts: records, notes: self.notes, share: self.share })
    }

    /// The one input with this role: an artifact or a file.
    ///
    /// # Errors
    /// If there is none or more than one.
    pub fn one(&self, role: &str) -> anyhow::Result<&Artifact> {
        match self.many(role).as_slice() {
            [one] => Ok(one),
            [] => {
                let roles: Vec<_> = self.inputs.iter().map(|input| format!("`{}`", input.role)).collect();
                bail!("no input `{role}`; there are: {}", roles.join(", "))
            }
            several => bail!("{} inputs `{role}`; expected one", several.len()),
        }
    }

    /// All inputs with this role, in the order of their digests.
    pub fn many(&self, role: &str) -> Vec<&Artifact> {
        self.inputs.iter().filter(|input| input.role == role).map(|input| &input.artifact).collect()
    }

    /// The files of a folder: name and content.
    pub fn folder(&self, role: &str) -> Vec<(&str, &Artifact)> {
        let name = |full: &'a str| full.strip_prefix(role)?.strip_prefix('/');
        self.inputs.iter().filter_map(|input| Some((name(&input.role)?, &input.artifact))).collect()
    }

    /// The finished jobs that [`Stage::expand`](super::stage::Stage::expand) asked for, in its order.
    pub fn expanded(&self) -> &[Expanded] {
        self.expanded
    }

    /// Writes an output; each must be written once.
    ///
    /// # Errors
    /// If the kind has no such output, it was written before, or the store cannot be written.
    pub fn write(&mut self, output: &str, bytes: &[u8]) -> anyhow::Result<()> {
        if self.written(output)?.content.is_some() {
            bail!("the output `{output}` is written a second time");
        }
        let put = Put::bytes(self.bench.store, bytes)?;
        self.written(output)?.content = Some(put);
        Ok(())
    }

    /// Writes an output as [`write`](Self::write) does: a file that the job made in its [`scratch`](Self::scratch) folder, which is
    /// taken from there.
    ///
    /// # Errors
    /// As [`write`](Self::write), or if there is no such file.
    pub fn write_file(&mut self, output: &str, file: &Path) -> anyhow::Result<()> {
        if self.written(output)?.content.is_some() {
            bail!("the output `{output}` is written a second time");
        }
        let put = Put::file(self.bench.store, file)?;
        self.written(output)?.content = Some(put);
        Ok(())
    }

    /// Adds a part to an output: a blob of its own that the output's bytes name by digest.
    ///
    /// # Errors
    /// If the kind has no such output, or the store cannot be written.
    pub fn attach(&mut self, output: &str, part: &str, bytes: &[u8]) -> anyhow::Result<Digest> {
        let put = Put::bytes(self.bench.store, bytes)?;
        self.add(output, put.part(part))
    }

    /// Adds a file that the job made in its [`scratch`](Self::scratch) folder as a part of an output, and takes it from there.
    ///
    /// # Errors
    /// As [`attach`](Self::attach), or if there is no such file.
    pub fn attach_file(&mut self, output: &str, part: &str, file: &Path) -> anyhow::Result<Digest> {
        let put = Put::file(self.bench.store, file)?;
        self.add(output, put.part(part))
    }

    /// Adds an input file as a part of an output, by reference: it stays where it is and is checked when read.
    ///
    /// # Errors
    /// If the kind has no such output.
    pub fn attach_input(&mut self, output: &str, part: &str, input: &Artifact) -> anyhow::Result<Digest> {
        let (digest, name) = (input.digest, part.to_owned());
        let part = match &input.home {
            Home::Blob { store, name: origin, size, .. } => {
                if !store.blob_path(&digest).exists() {
                    // What other machines made is brought by whoever reads it first.
                    drop(store.open(&digest, origin)?);
                }
                let (found, sha256) = files::digests(&store.blob_path(&digest))?;
                if let Some(wrong) = Wrong::of(Ok(found), &digest)? {
                    return Err(Damage::Blob { digest, artifact: input.origin(), wrong }.into());
                }
                Part { name, digest, sha256: Some(sha256), size: *size, external: None }
            }
            Home::File { path } => {
                let (size, external) = (fs_err::metadata(path)?.len(), Some(std::path::absolute(path)?));
                Part { name, digest, sha256: None, size, external }
            }
            Home::Told { .. } => return input.is_only_told(),
        };
        self.add(output, part)
    }

    fn add(&mut self, output: &str, part: Part) -> anyhow::Result<Digest> {
        let digest = part.digest;
        self.written(output)?.parts.push(part);
        Ok(digest)
    }

    fn written(&mut self, name: &str) -> anyhow::Result<&mut Written> {
        let known = self.written.iter().position(|written| &*written.name == name);
        let at = match known {
            Some(at) => at,
            None => {
                let output = self.outputs.iter().find(|output| &*output.name == name);
                let output = output.with_context(|| format!("the kind has no output `{name}`"))?;
                self.written.push(Written { name: output.name.clone(), content: None, parts: Vec::new() });
                self.written.len() - 1
            }
        };
        Ok(&mut self.written[at])
    }

    /// Whether another job of the plan reads this output. A job may refuse by it to make what nobody can use; what it makes must
    /// not depend on it.
    pub fn is_read(&self, output: &str) -> bool {
        self.readers.of_job.contains(output)
    }

    /// As [`is_read`](Self::is_read), of this output of any job of the stage.
    pub fn is_read_of_stage(&self, output: &str) -> bool {
        self.readers.of_stage.contains(output)
    }

    /// Records something about how the job ran (driver, precision) with its entry. Not part of the result.
    pub fn note(&mut self, name: &str, value: impl fmt::Display) {
        self.notes.insert(name.to_owned(), value.to_string());
    }

    /// Says that the job ended after this share of the work that [`Stage::operations`](super::stage::Stage::operations) tells.
    pub fn ended_after(&mut self, share: f64) {
        self.share = share.clamp(0.0, 1.0);
    }

    /// A folder that survives interruption and belongs to this key alone; gone once the job is done. A file `step` in it
    /// (a decimal number) says how far the job was.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn scratch(&self) -> anyhow::Result<&Path> {
        let path = self.scratch.as_deref().context("there is no scratch folder while jobs are expanded")?;
        fs_err::create_dir_all(path)?;
        Ok(path)
    }

    /// The [`scratch`](Self::scratch) folder is such that the job can go on from it. In a signed run it is sealed, so that the next
    /// one takes up nothing that somebody else put there.
    ///
    /// # Errors
    /// If it cannot be read or written.
    pub fn saved(&self) -> anyhow::Result<()> {
        match self.bench.signer {
            Some(signer) => Ok(partial::seal(self.scratch()?, &signer.scratch_secret())?),
            None => Ok(()),
        }
    }

    /// Where to say how far the job is.
    pub fn progress(&self) -> &dyn Progress {
        self.progress
    }

    /// Whether somebody asked to stop: save to [`scratch`](Self::scratch) and return [`Interrupted`].
    pub fn stopped(&self) -> bool {
        self.bench.stop.load(Ordering::Relaxed)
    }

    /// The device that the user chose: `cpu`, `cuda:0`.
    pub fn device(&self) -> &str {
        self.bench.device
    }

    /// Threads of all jobs together.
    pub fn threads(&self) -> usize {
        self.bench.threads
    }

    /// Bytes that the activations of this job's model may take; if jobs share it, those of all of them together.
    pub fn memory(&self) -> usize {
        self.bench.memory
    }

    /// The name of this job: for people, never for results.
    pub fn job(&self) -> &str {
        self.job
    }

    /// A value made from the content with this digest, shared with other jobs. It stays at least until this job ends, so
    /// that the job may use what it got from it; how long after that, see [`shared`](super::run::shared). `make` must not ask for
    /// the same value again.
    ///
    /// # Errors
    /// What `make` returns; the next job tries again.
    pub fn shared<T: Send + Sync + 'static>(
        &self,
        digest: &Digest,
        make: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<Arc<T>> {
        self.hold.get(digest, make)
    }
}

/// The outputs of an entry as inputs of other jobs, as its job promised them; `None` if the entry lacks one.
pub(super) fn outputs(
    store: &Arc<Store>,
    job: &str,
    promised: &[Promise],
    entry: &Entry,
) -> Option<Vec<(Arc<str>, Artifact)>> {
    let notes = Notes::new(entry.provenance.notes.clone());
    let output = |output: &Promise| {
        let record = entry.artifact(&output.name)?;
        Some((output.name.clone(), Artifact::recorded(store, job, record, &notes)))
    };
    promised.iter().map(output).collect()
}

/// As [`outputs`], of a job of which only the digests of these are known; `None` if they are not as many as it promised.
pub(super) fn told_outputs(
    key: &Key,
    job: &str,
    promised: &[Promise],
    digests: &[Digest],
) -> Option<Vec<(Arc<str>, Artifact)>> {
    let job: Arc<str> = job.into();
    let output =
        |(output, digest): (&Promise, &Digest)| (output.name.clone(), Artifact::told(key, &job, &output.name, *digest));
    (promised.len() == digests.len()).then(|| promised.iter().zip(digests).map(output).collect())
}
