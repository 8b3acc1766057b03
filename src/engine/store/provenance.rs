//! Where, when and how a job ran: recorded with its entry, never part of its key.

use super::digest::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How an entry came to be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// Pipeline and job that it was made for first.
    pub pipeline: String,
    /// Name of that job.
    pub job: String,
    /// The files that the pipeline was read from: its manifest, then what that extends.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<Manifest>,
    /// Where every input came from, in the order of the recipe.
    pub inputs: Vec<Origin>,
    /// Version of the program.
    pub program: String,
    /// Revision that the program was built from, where the build knew it.
    pub revision: Option<String>,
    /// Device: `cpu`, `cuda:0`.
    pub device: String,
    /// Threads that the job had.
    pub threads: usize,
    /// Operating system, its release, machine type, and the class of the CPU ([`cpu`]).
    pub host: String,
    /// Start, UTC.
    pub start: String,
    /// End, UTC.
    pub end: String,
    /// Duration.
    pub seconds: f64,
    /// Most memory that the process had held by the end of the job, in bytes.
    pub peak_memory: Option<u64>,
    /// How often the job was started, interruptions included.
    pub attempts: u32,
    /// The step from which the last attempt went on.
    pub resumed_at: Option<u64>,
    /// Floating-point operations that it took, estimated from the sizes of what it read, if its kind can tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operations: Option<f64>,
    /// The command line.
    pub command_line: Vec<String>,
    /// What the job itself had to say: driver, precision, jobs it was trained together with.
    pub notes: BTreeMap<String, String>,
}

/// Where an input came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// Its role.
    pub role: String,
    /// Of its content.
    pub digest: Digest,
    /// The job and output that made it: `source[mnli,0].prompt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
    /// The file it was read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

/// A file that a pipeline was read from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The file.
    pub file: PathBuf,
    /// Of its text.
    pub digest: Digest,
}

impl Manifest {
    /// A file with this text.
    pub fn new(file: &Path, digest: Digest) -> Self {
        Self { file: file.to_owned(), digest }
    }
}

/// Version of the program.
pub fn program() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// Revision that the program was built from; the build says so in `SPOT_REVISION`.
pub fn revision() -> Option<String> {
    option_env!("SPOT_REVISION").map(str::to_owned)
}

/// Operating system, release, machine type, class of the CPU. Not the name of the host: entries are shared.
pub fn host() -> String {
    let name = rustix::system::uname();
    let parts = [name.sysname(), name.release(), name.machine()];
    let parts = parts.map(|part| part.to_string_lossy().into_owned()).join(" ");
    format!("{parts}, {}", cpu())
}

/// The class of the CPU: those of one class compute the same bits, since the kernels that the program has are chosen by it.
pub fn cpu() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return if is_x86_feature_detected!("avx512bf16") { "AVX-512 with BF16" } else { "AVX-512" };
        }
        let is_avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        if is_avx2 { "AVX2" } else { "neither AVX-512 nor AVX2" }
    }
    #[cfg(not(target_arch = "x86_64"))]
    std::env::consts::ARCH
}

/// What this machine is called.
pub fn node() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The time, UTC, in RFC 3339.
pub fn now() -> String {
    chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// The time so long ago, in the same form. Times of this form sort as text.
pub fn ago(age: Duration) -> String {
    let age = chrono::TimeDelta::from_std(age).unwrap_or(chrono::TimeDelta::MAX);
    let then = chrono::Utc::now().checked_sub_signed(age).unwrap_or(chrono::DateTime::UNIX_EPOCH);
    then.max(chrono::DateTime::UNIX_EPOCH).format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// The most memory that this process has held, in bytes; known on Linux only.
pub fn peak_memory() -> Option<u64> {
    let status = fs_err::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_and_sort_as_text() {
        let time = now();
        assert_eq!(time.len(), "2026-01-01T00:00:00.000Z".len());
        assert!(time.ends_with('Z'));
        assert!(ago(Duration::from_secs(3600)) < time && ago(Duration::MAX).starts_with("1970-"));
    }

    #[test]
    fn a_record_of_an_older_program_still_reads() {
        let old: Provenance = serde_json::from_str(r#"{"program": "0.1.0", "later": 1}"#).unwrap();
        assert_eq!(old.program, "0.1.0");
        assert_eq!(old.attempts, 0);
    }
}
