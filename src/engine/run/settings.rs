//! How to run: what the command line decides.

use crate::engine::resources::Capacity;
use crate::engine::sharing::{Failures, Sharing};
use crate::engine::signing::Signer;
use crate::remote::lease::Leases;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a run does with a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Makes whatever is not there, and waits for what others make.
    Run,
    /// One of several that work a plan off: makes what nobody else does, and leaves once nothing waits for others any more.
    Worker,
    /// Makes nothing, and waits for workers.
    Watch,
    /// Makes nothing and waits for nothing: brings here what is there.
    Pull,
}

/// How to run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the run does with the plan.
    pub role: Role,
    /// What failed at any of the workers that do this run together, if it has a name.
    pub failures: Option<Arc<Failures>>,
    /// Where results are shared with other machines.
    pub sharing: Option<Arc<Sharing>>,
    /// Who works on what, where locks do not tell.
    pub leases: Option<Arc<Leases>>,
    /// How many jobs run side by side, beside those that share a model.
    pub jobs: usize,
    /// How many jobs that share a model run side by side.
    pub together: usize,
    /// Threads for all of them together.
    pub threads: usize,
    /// Bytes that the activations of all models at work may take together.
    pub memory: usize,
    /// What there is for jobs: a worker leaves those that need more to others.
    pub capacity: Capacity,
    /// The device that the user chose: `cpu`, `cuda:0`.
    pub device: String,
    /// Go on after a failure with what does not depend on it.
    pub keep_going: bool,
    /// Run these jobs and what they need; all if `None`.
    pub only: Option<BTreeSet<String>>,
    /// Start the programs that the manifest names; without, jobs that need one fail.
    pub programs: bool,
    /// Fetch what is kept elsewhere; without, jobs that need it and do not find it here fail.
    pub fetch: bool,
    /// Execute these jobs though they are cached.
    pub forced: BTreeSet<String>,
    /// Who signs what is made, and the run.
    pub signer: Option<Arc<Signer>>,
    /// For the journal and provenance.
    pub command_line: Vec<String>,
}

/// One job after the other on one thread of the CPU, with 1 GiB; no programs, nothing fetched and nothing shared.
impl Default for Settings {
    fn default() -> Self {
        Self {
            role: Role::Run,
            failures: None,
            sharing: None,
            leases: None,
            jobs: 1,
            together: 1,
            threads: 1,
            memory: 1 << 30,
            capacity: Capacity::default(),
            device: "cpu".to_owned(),
            keep_going: false,
            only: None,
            programs: false,
            fetch: false,
            forced: BTreeSet::new(),
            signer: None,
            command_line: vec!["spot".to_owned()],
        }
    }
}
