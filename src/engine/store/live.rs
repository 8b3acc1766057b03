//! What running jobs show of themselves while they run: how far they are, and a log that TensorBoard reads while it grows.
//!
//! Each file has one writer, the process that runs the job, and any readers; nobody locks it. It is no result and no evidence: what cannot
//! be read counts as nothing and is written anew, and what a killed process left counts as nothing too.

use super::Store;
use super::digest::Key;
use super::names::{file_name, job_folder, list, remove};
use super::provenance::node;
use crate::replace::replace_unsynced;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes of what a job says of how far it is; a larger file is not one.
const LONGEST: u64 = 1 << 16;

/// After so long without a word a job of another machine, whose processes are not seen, counts as ended.
const SILENCE: Duration = Duration::from_secs(600);

/// The layout of the file.
const VERSION: u32 = 1;

/// How far a running job is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Live {
    version: u32,
    /// What the job makes.
    pub key: Key,
    /// Who runs it.
    pub process: Process,
    /// Steps that are done.
    pub step: u64,
    /// Steps in all; 0 where nobody knows.
    pub steps: u64,
    /// Steps a second since this process does the job.
    pub rate: Option<f64>,
    /// Seconds since this process does the job.
    pub seconds: f64,
    /// What was measured last: `loss`, `score`, `best`.
    pub values: BTreeMap<String, Measured>,
    /// Of each of these a number of points over the steps so far: step and value.
    pub curves: BTreeMap<String, Vec<(u64, f64)>>,
    /// Seconds since the job said so.
    #[serde(skip_deserializing)]
    pub heard: f64,
}

/// A number that a job measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// After which step.
    pub step: u64,
    /// The number.
    pub value: f64,
}

/// A process, as others recognise it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The machine.
    pub host: String,
    /// Its number there.
    pub pid: u32,
    /// When it began, in ticks since the machine did; known on Linux only. It tells processes apart that had one number.
    pub began: Option<u64>,
}

impl Process {
    /// This one.
    pub fn own() -> Self {
        let pid = std::process::id();
        Self { host: node(), pid, began: began(pid) }
    }

    /// Whether it is there; `None` if it is of another machine.
    fn lives(&self) -> Option<bool> {
        if self.host != node() {
            return None;
        }
        let pid = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw);
        let is_there = pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH));
        Some(is_there && began(self.pid) == self.began)
    }
}

/// Field 22 of `/proc/PID/stat` (proc(5)); nothing of a process that has ended and only waits for somebody to ask how.
fn began(pid: u32) -> Option<u64> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second is a name in brackets that may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    fields.nth(18)?.parse().ok().filter(|_| !["Z", "X"].contains(&state))
}

impl Live {
    /// Nothing is done yet.
    pub fn begun(key: Key, process: Process) -> Self {
        let (values, curves) = (BTreeMap::new(), BTreeMap::new());
        Self { version: VERSION, key, process, step: 0, steps: 0, rate: None, seconds: 0.0, values, curves, heard: 0.0 }
    }

    /// Whether its process is still at it, as far as can be known.
    fn is_running(&self) -> bool {
        self.process.lives().unwrap_or(self.heard < SILENCE.as_secs_f64())
    }
}

/// The files of a running job.
#[derive(Debug)]
pub struct LiveFiles {
    folder: PathBuf,
    /// How far it is.
    state: PathBuf,
    /// The log.
    log: PathBuf,
}

impl LiveFiles {
    /// Says how far the job is.
    ///
    /// # Errors
    /// If the files cannot be written.
    pub fn tell(&self, live: &Live, temp: &Path) -> io::Result<()> {
        fs_err::create_dir_all(&self.folder)?;
        let text = serde_json::to_vec(live).map_err(io::Error::other)?;
        replace_unsynced(&self.state, temp, |file| file.write_all(&text))
    }

    /// Adds to the log, which may begin anew.
    ///
    /// # Errors
    /// As [`tell`](Self::tell).
    pub fn log(&self, bytes: &[u8], anew: bool) -> io::Result<()> {
        fs_err::create_dir_all(&self.folder)?;
        if anew {
            remove(fs_err::remove_file(&self.log))?;
        }
        // Nothing else may have been put in its place.
        let mut options = fs_err::OpenOptions::new();
        let options = if anew { options.write(true).create_new(true) } else { options.append(true) };
        options.open(&self.log)?.write_all(bytes)
    }

    /// Removes them, and their folder, unless another process has files in it.
    pub fn remove(&self) {
        let _ = fs_err::remove_file(&self.state);
        let _ = fs_err::remove_file(&self.log);
        let _ = fs_err::remove_dir(&self.folder);
    }
}

impl Store {
    /// The files of a running job, by which key it goes.
    pub fn live_files(&self, pipeline: &str, job: &str, key: &Key) -> LiveFiles {
        let folder = self.live_folder(pipeline).join(job_folder(job));
        let state = folder.join(format!("{}.json", key.short()));
        let log = folder.join(format!("{}.tfevents", key.short()));
        LiveFiles { folder, state, log }
    }

    /// The folder with what running jobs show.
    pub fn curves(&self) -> PathBuf {
        self.root.join("curves")
    }

    /// The folder of a pipeline's running jobs.
    fn live_folder(&self, pipeline: &str) -> PathBuf {
        self.curves().join(file_name(pipeline))
    }

    /// How far a job is that some process runs right now; `None` if none does, or does not say.
    pub fn live(&self, pipeline: &str, job: &str, key: &Key) -> Option<Live> {
        read(&self.live_files(pipeline, job, key).state).filter(|live| live.key == *key && live.is_running())
    }

    /// Removes what killed processes left of a pipeline's running jobs.
    ///
    /// # Errors
    /// If a folder cannot be read.
    pub fn drop_dead(&self, pipeline: &str) -> io::Result<()> {
        let root = self.live_folder(pipeline);
        for job in list(&root)? {
            let folder = root.join(job);
            for name in list(&folder)? {
                let Some(stem) = name.strip_suffix(".tfevents") else { continue };
                let (state, log) = (folder.join(format!("{stem}.json")), folder.join(&name));
                // A log without a state is of a job that has not run for long, or of one whose state is damaged.
                let is_running = read(&state).map_or_else(|| is_recent(&log), |live| live.is_running());
                if !is_running {
                    LiveFiles { folder: folder.clone(), state, log }.remove();
                }
            }
        }
        Ok(())
    }
}

fn is_recent(path: &Path) -> bool {
    age(path).is_some_and(|age| age < SILENCE)
}

/// How long ago a file was written.
fn age(path: &Path) -> Option<Duration> {
    // A clock that was set back makes a file of the future, which is new.
    Some(fs_err::metadata(path).ok()?.modified().ok()?.elapsed().unwrap_or_default())
}

fn read(path: &Path) -> Option<Live> {
    let mut text = Vec::new();
    fs_err::File::open(path).ok()?.take(LONGEST + 1).read_to_end(&mut text).ok()?;
    let live: Live = serde_json::from_slice(&text).ok().filter(|_| text.len() as u64 <= LONGEST)?;
    let numbers = [live.rate.unwrap_or(0.0), live.seconds].into_iter().chain(live.values.values().map(|m| m.value));
    let is_sound = live.version == VERSION && numbers.into_iter().all(f64::is_finite);
    is_sound.then(|| Live { heard: age(path).unwrap_or_default().as_secs_f64(), ..live })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn key() -> Key {
        "ab".repeat(32).parse().unwrap()
    }

    fn running(process: Process) -> Live {
        let mut live = Live::begun(key(), process);
        (live.step, live.steps, live.rate) = (3, 10, Some(0.5));
        live.values.insert("loss".to_owned(), Measured { step: 3, value: 0.25 });
        live.curves.insert("loss".to_owned(), vec![(0, 1.0), (3, 0.25)]);
        live
    }

    fn told(store: &Store, live: &Live) -> LiveFiles {
        let files = store.live_files("p", "tune[a,0]", &key());
        files.tell(live, &store.root().join("new")).unwrap();
        files.log(b"one", true).unwrap();
        files.log(b"two", false).unwrap();
        files
    }

    #[test]
    fn a_job_is_followed_while_its_process_is_there() {
        let folder = TempDir::new().unwrap();
        let store = Store::new(folder.path());
        fs_err::create_dir_all(store.root()).unwrap();
        let files = told(&store, &running(Process::own()));
        let found = store.live("p", "tune[a,0]", &key()).unwrap();
        assert_eq!(Live { heard: 0.0, ..found }, running(Process::own()));
        assert_eq!(fs_err::read(&files.log).unwrap(), b"onetwo");
        assert_eq!(store.live("p", "tune[b,0]", &key()), None);
        store.drop_dead("p").unwrap();
        assert!(files.log.exists(), "it is at work");
        files.remove();
        assert!(!files.folder.exists());
        assert_eq!(store.live("p", "tune[a,0]", &key()), None);
    }

    #[test]
    fn what_a_dead_process_left_says_nothing_and_goes() {
        let folder = TempDir::new().unwrap();
        let store = Store::new(folder.path());
        fs_err::create_dir_all(store.root()).unwrap();
        let own = Process::own();
        let gone = [
            Process { pid: 0, ..own.clone() },
            Process { pid: u32::MAX, ..own.clone() },
            // Another process has its number now.
            Process { began: Some(own.began.unwrap_or(0) + 1), ..own.clone() },
        ];
        for process in gone {
            let files = told(&store, &running(process));
            assert_eq!(store.live("p", "tune[a,0]", &key()), None);
            store.drop_dead("p").unwrap();
            assert!(!files.folder.exists());
        }
        // Nobody sees the processes of another machine; it spoke a moment ago.
        told(&store, &running(Process { host: "another".to_owned(), ..own }));
        assert!(store.live("p", "tune[a,0]", &key()).is_some());
    }

    #[test]
    fn a_damaged_file_is_nothing() {
        let folder = TempDir::new().unwrap();
        let store = Store::new(folder.path());
        fs_err::create_dir_all(store.root()).unwrap();
        let files = told(&store, &running(Process::own()));
        let whole = fs_err::read(&files.state).unwrap();
        let text = String::from_utf8(whole.clone()).unwrap();
        let damaged = [
            whole[..whole.len() / 2].to_vec(),
            Vec::new(),
            vec![0xff; 100],
            text.replace("\"version\":1", "\"version\":2").into_bytes(),
            [whole.clone(), vec![b' '; LONGEST as usize]].concat(),
        ];
        for bytes in damaged {
            fs_err::write(&files.state, bytes).unwrap();
            assert_eq!(store.live("p", "tune[a,0]", &key()), None);
        }
        fs_err::write(&files.state, whole).unwrap();
        assert!(store.live("p", "tune[a,0]", &key()).is_some());
        // A log begins anew whatever stands in its place.
        files.log(b"anew", true).unwrap();
        assert_eq!(fs_err::read(&files.log).unwrap(), b"anew");
    }
}
