//! What a running job sees: its inputs, its outputs, its scratch folder, progress; never the store, the clock, the
//! environment or the network.

use super::digest::Digest;
use std::path::Path;
use std::sync::Arc;

/// An input artifact or file.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// Of its content.
    pub digest: Digest,
}

/// A job that [`Stage::expand`](super::stage::Stage::expand) asked for, finished.
pub struct Expanded {
    /// Its name, as in [`Spec`](super::stage::Spec).
    pub name: String,
    /// Its outputs by name, in the order of its kind.
    pub outputs: Vec<(&'static str, Artifact)>,
}

/// The context of a running job.
pub struct Cx<'a> {
    expanded: &'a [Expanded],
}

/// Where a job says how far it is.
pub trait Progress: Send + Sync {
    /// `done` of `total` steps; `note` is a short text such as `loss 0.312 · accuracy 81.2`.
    fn step(&self, done: u64, total: u64, note: &str);
    /// A message worth a line of its own.
    fn warn(&self, message: &str);
}

/// The error of a job that stopped because somebody asked it to; its scratch folder is kept.
#[derive(Debug, thiserror::Error)]
#[error("interrupted at step {step}")]
pub struct Interrupted {
    /// Steps done, which the next run need not do again.
    pub step: u64,
}

impl Artifact {
    /// The bytes, checked against the digest.
    pub fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        unimplemented!()
    }

    /// The bytes of a part (see [`Cx::attach`]), checked against its digest.
    pub fn part(&self, _part: &Digest) -> anyhow::Result<Vec<u8>> {
        unimplemented!()
    }
}

impl<'a> Cx<'a> {
    /// The one input with this role: an artifact or a file.
    pub fn one(&self, _role: &str) -> anyhow::Result<&Artifact> {
        unimplemented!()
    }

    /// All inputs with this role, in the order of their digests.
    pub fn many(&self, _role: &str) -> Vec<&Artifact> {
        unimplemented!()
    }

    /// The files of a folder: name and content.
    pub fn folder(&self, _role: &str) -> Vec<(&str, &Artifact)> {
        unimplemented!()
    }

    /// The finished jobs that [`Stage::expand`](super::stage::Stage::expand) asked for, in its order.
    pub fn expanded(&self) -> &[Expanded] {
        self.expanded
    }

    /// Writes an output; each must be written once.
    pub fn write(&mut self, _output: &str, _bytes: &[u8]) -> anyhow::Result<()> {
        unimplemented!()
    }

    /// Adds a part to an output: a blob of its own that the output's bytes name by digest.
    pub fn attach(&mut self, _output: &str, _part: &str, _bytes: &[u8]) -> anyhow::Result<Digest> {
        unimplemented!()
    }

    /// Adds an input file as a part of an output, by reference: it stays where it is and is checked when read.
    pub fn attach_input(&mut self, _output: &str, _part: &str, _input: &Artifact) -> anyhow::Result<Digest> {
        unimplemented!()
    }

    /// A folder that survives interruption and belongs to this key alone; gone once the job is done.
    pub fn scratch(&self) -> anyhow::Result<&Path> {
        unimplemented!()
    }

    /// Where to say how far the job is.
    pub fn progress(&self) -> &dyn Progress {
        unimplemented!()
    }

    /// Whether somebody asked to stop: save to [`scratch`](Self::scratch) and return [`Interrupted`].
    pub fn stopped(&self) -> bool {
        unimplemented!()
    }

    /// The device that the user chose: `cpu`, `cuda:0`.
    pub fn device(&self) -> &str {
        unimplemented!()
    }

    /// A value made once a process from the content with this digest, and shared by all jobs.
    pub fn shared<T: Send + Sync + 'static>(
        &self,
        _digest: &Digest,
        _make: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<Arc<T>> {
        unimplemented!()
    }
}
