//! Leases: who works on what, for as long as he shows that he lives.
//!
//! ```text
//! workers/<worker>   who it is and what it does; written again with every beat
//! claims/<name>      which worker holds the lease of a name; created once, taken over by replacing this very content
//! cancel/<worker>    asks a worker to leave
//! ```
//!
//! No clock is compared with another. Whoever wants a lease looks at the beats of its holder, and takes the lease over once it has
//! seen the same beat for a whole term by its own clock, or if there is none. Whoever loses a lease so, since it slept for longer,
//! goes on: then two do the same work, and what they write is created once. A lease saves work; no result depends on it.

use super::{Error, Object, Objects, Version};
use crate::panic::lock;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Beats in a term, so that one may be late.
const BEATS: u32 = 3;
/// Beats in a term at most, while jobs begin and end.
const SOONEST: u32 = 12;
/// Looks at beats in a term; at leases alone one may look more often.
const LOOKS: u32 = 4;
/// Folder of beats.
pub const WORKERS: &str = "workers";
/// Folder of leases.
pub const CLAIMS: &str = "claims";
/// Folder of wishes that workers leave.
const CANCEL: &str = "cancel";

/// Who a worker is, and what it does: the content of its beat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// Its name.
    pub worker: String,
    /// The machine.
    pub host: String,
    /// The process on it.
    pub pid: u32,
    /// The pipeline that it works at.
    pub pipeline: String,
    /// The run that it is part of, if somebody gave it a name.
    pub run: Option<String>,
    /// When it started, UTC.
    pub started: String,
    /// What it computes on.
    pub device: String,
    /// The jobs that it holds leases for, with how far they are.
    #[serde(default)]
    pub jobs: BTreeMap<String, String>,
    /// Counts its beats.
    #[serde(default)]
    pub beat: u64,
}

/// The content of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    worker: String,
    nonce: String,
}

/// What became of a wish for a lease.
#[derive(Debug)]
pub enum Taken {
    /// It is held.
    Mine(Lease),
    /// This worker holds it.
    Theirs(String),
}

/// A worker that beats, and the leases that it holds.
#[derive(Debug)]
pub struct Leases {
    inner: Arc<Inner>,
    end: Option<Sender<()>>,
    beats: Option<JoinHandle<()>>,
}

/// The lease of a name; given back when dropped.
#[derive(Debug)]
pub struct Lease {
    inner: Arc<Inner>,
    name: String,
}

#[derive(Debug)]
struct Inner {
    objects: Arc<dyn Objects>,
    term: Duration,
    nonce: String,
    name: String,
    /// Set when somebody asks this worker to leave.
    leave: Arc<AtomicBool>,
    cancelled: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    me: Worker,
    /// When the last beat was written, and whether jobs began or ended since.
    beaten: Instant,
    has_news: bool,
    /// Names of the leases that are held, and of those to be given back.
    mine: BTreeSet<String>,
    released: BTreeSet<String>,
    /// Those of them that others may have taken over, since this worker did not beat for a term.
    doubtful: BTreeSet<String>,
    /// What was seen of other workers, and since when it is the same.
    seen: HashMap<String, Seen>,
    /// When leases were listed last, and when workers.
    listed: Option<Instant>,
    beats_listed: Option<Instant>,
    /// The leases that were there then, and since when they are the same.
    claims: HashMap<String, (Version, Instant)>,
    /// Who holds a lease of this version.
    holders: HashMap<String, (Version, String)>,
}

#[derive(Debug)]
struct Seen {
    version: Version,
    /// When it was seen first, and last.
    since: Instant,
    last: Instant,
    /// Whether it was there at the last look.
    there: bool,
}

impl Seen {
    /// For how long it has been seen to be the same.
    fn same_for(&self) -> Duration {
        self.last - self.since
    }
}

impl Leases {
    /// Writes the first beat of a worker and goes on beating until this is dropped. `leave` is set once somebody asks it to leave.
    ///
    /// # Errors
    /// If the beat cannot be written.
    pub fn start(
        objects: Arc<dyn Objects>,
        mut me: Worker,
        term: Duration,
        leave: Arc<AtomicBool>,
    ) -> Result<Self, Error> {
        let nonce = nonce();
        let host: String = me.host.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        me.worker = format!("{host}-{}-{:.8}", me.pid, nonce);
        let now = Instant::now();
        let name = me.worker.clone();
        let state = State {
            me,
            beaten: now,
            has_news: false,
            mine: BTreeSet::new(),
            released: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            seen: HashMap::new(),
            listed: None,
            beats_listed: None,
            claims: HashMap::new(),
            holders: HashMap::new(),
        };
        let cancelled = AtomicBool::new(false);
        let inner = Arc::new(Inner { objects, term, nonce, name, leave, cancelled, state: Mutex::new(state) });
        inner.beat()?;
        let (end, ended) = channel();
        let beating = inner.clone();
        let beats = std::thread::spawn(move || {
            while ended.recv_timeout(term / SOONEST) == Err(RecvTimeoutError::Timeout) {
                if beating.is_due() {
                    // What fails now is tried again in a moment; others wait for a whole term.
                    let _ = beating.beat();
                }
            }
        });
        Ok(Self { inner, end: Some(end), beats: Some(beats) })
    }

    /// The name of this worker.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// How long a lease stands without a beat.
    pub fn term(&self) -> Duration {
        self.inner.term
    }

    /// Takes a lease, if nobody who lives has it.
    ///
    /// # Errors
    /// If the place cannot be asked.
    pub fn take(&self, name: &str) -> Result<Taken, Error> {
        self.inner.take(name).map(|holder| match holder {
            None => Taken::Mine(Lease { inner: self.inner.clone(), name: name.to_owned() }),
            Some(holder) => Taken::Theirs(holder),
        })
    }

    /// Looks at all leases, unless that was done less than `rest` ago, and some times in a term at all workers; whether it did that.
    ///
    /// # Errors
    /// If the place cannot be asked.
    pub fn look(&self, rest: Duration) -> Result<bool, Error> {
        let is_young = |at: Option<Instant>, age: Duration| at.is_some_and(|at| at.elapsed() < age);
        let (is_fresh, has_beats) = {
            let state = self.inner.lock();
            (is_young(state.listed, rest), is_young(state.beats_listed, self.inner.term / LOOKS))
        };
        if !has_beats {
            self.inner.look()?;
        } else if !is_fresh {
            self.inner.look_at_claims()?;
        }
        Ok(!has_beats)
    }

    /// Whether, at the last look, somebody who lives held a lease. Of one whose holder nobody asked for that is taken for granted for a
    /// term, so that not every worker asks.
    pub fn is_held(&self, name: &str) -> bool {
        let state = self.inner.lock();
        let Some((version, since)) = state.claims.get(name) else { return false };
        match state.holders.get(name) {
            Some((known, holder)) if known == version => {
                *holder != self.inner.name && !state.is_dead(holder, self.inner.term)
            }
            _ => since.elapsed() < self.inner.term,
        }
    }

    /// Says what this worker does for the name of a lease; part of its next beat.
    pub fn note(&self, job: &str, progress: String) {
        if let Some(text) = self.inner.lock().me.jobs.get_mut(job) {
            *text = progress;
        }
    }

    /// A job is begun or done with.
    pub fn does(&self, job: &str, begins: bool) {
        let mut state = self.inner.lock();
        state.has_news = true;
        if begins {
            state.me.jobs.insert(job.to_owned(), String::new());
        } else {
            state.me.jobs.remove(job);
        }
    }
}

impl Drop for Leases {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(beats) = self.beats.take() {
            let _ = beats.join();
        }
        self.inner.give_back();
        // What others see of a worker that could not say so is that it beats no more.
        let _ = self.inner.objects.remove(&format!("{WORKERS}/{}", self.inner.name));
        if self.inner.cancelled.load(Ordering::Relaxed) {
            let _ = self.inner.objects.remove(&format!("{CANCEL}/{}", self.inner.name));
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        {
            let mut state = self.inner.lock();
            state.mine.remove(&self.name);
            state.released.insert(self.name.clone());
        }
        self.inner.give_back();
    }
}

impl State {
    /// Whether a worker has not beaten for a whole term.
    fn is_dead(&self, worker: &str, term: Duration) -> bool {
        self.seen.get(worker).is_none_or(|seen| !seen.there || seen.same_for() >= term)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Whether it is time for a beat, or one has something new to say.
    fn is_due(&self) -> bool {
        let state = self.lock();
        state.has_news || state.beaten.elapsed() + self.term / SOONEST / 2 >= self.term / BEATS
    }

    fn beat(&self) -> Result<(), Error> {
        let text = {
            let mut state = self.lock();
            state.has_news = false;
            state.me.beat += 1;
            serde_json::to_vec(&state.me).expect("a beat is plain data")
        };
        self.objects.put(&format!("{WORKERS}/{}", self.name), &text)?;
        self.lock().has_beaten(self.term);
        self.give_back();
        self.bury()?;
        if self.objects.size(&format!("{CANCEL}/{}", self.name))?.is_some() {
            self.cancelled.store(true, Ordering::Relaxed);
            self.leave.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Removes the beats of workers that have been dead for long.
    fn bury(&self) -> Result<(), Error> {
        const TERMS: u32 = 10;
        let dead: Vec<String> = {
            let state = self.lock();
            let is_dead = |seen: &Seen| seen.there && seen.same_for() >= self.term * TERMS;
            let dead = state.seen.iter().filter(|(worker, seen)| is_dead(seen) && !worker.contains('/'));
            dead.map(|(worker, _)| worker.clone()).collect()
        };
        for worker in dead {
            self.objects.remove(&format!("{WORKERS}/{worker}"))?;
            self.lock().seen.remove(&worker);
        }
        Ok(())
    }

    /// Gives back what is to be given back. What cannot be now is given back with a later beat.
    fn give_back(&self) {
        let (released, is_silent) = {
            let mut state = self.lock();
            (std::mem::take(&mut state.released), state.beaten.elapsed() >= self.term)
        };
        for name in released {
            let is_doubtful = is_silent || self.lock().doubtful.contains(&name);
            let given = if is_doubtful { self.remove_own(&name) } else { self.remove(&name) };
            let mut state = self.lock();
            match given {
                Ok(()) => drop(state.doubtful.remove(&name)),
                Err(_) => drop(state.released.insert(name)),
            }
        }
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        self.objects.remove(&format!("{CLAIMS}/{name}"))
    }

    /// Removes a lease, if it is still the one of this worker.
    fn remove_own(&self, name: &str) -> Result<(), Error> {
        match self.objects.get(&format!("{CLAIMS}/{name}"))? {
            Some(found) if found.bytes == self.claim() => self.remove(name),
            _ => Ok(()),
        }
    }

    /// The content of all leases of this worker.
    fn claim(&self) -> Vec<u8> {
        let claim = Claim { worker: self.name.clone(), nonce: self.nonce.clone() };
        serde_json::to_vec(&claim).expect("a claim is plain data")
    }

    /// Takes a lease for this worker, or says who has it.
    fn take(&self, name: &str) -> Result<Option<String>, Error> {
        let object = format!("{CLAIMS}/{name}");
        let text = self.claim();
        loop {
            let created = self.objects.create(&object, &text)?;
            let taken = match created {
                Some(version) => Some(version),
                None => match self.objects.get(&object)? {
                    None => continue,
                    // An answer was lost on the way.
                    Some(found) if found.bytes == text => Some(found.version),
                    Some(found) => match self.living_holder(name, &found)? {
                        Some(holder) => return Ok(Some(holder)),
                        None => self.objects.replace(&object, &text, &found.version)?,
                    },
                },
            };
            if let Some(version) = taken {
                let mut state = self.lock();
                state.released.remove(name);
                state.doubtful.remove(name);
                state.mine.insert(name.to_owned());
                state.holders.insert(name.to_owned(), (version, self.name.clone()));
                return Ok(None);
            }
        }
    }

    /// Who holds a lease, unless that worker is dead.
    fn living_holder(&self, name: &str, found: &Object) -> Result<Option<String>, Error> {
        // Of a lease that nobody can read the lease itself is the beat.
        let claim: Option<Claim> = serde_json::from_slice(&found.bytes).ok();
        let holder = claim.map_or_else(|| format!("{CLAIMS}/{name}"), |claim| claim.worker);
        let is_old = {
            let state = self.lock();
            let is_known = state.seen.get(&holder).is_some_and(|seen| seen.there);
            !is_known || state.beats_listed.is_none_or(|listed| listed.elapsed() >= self.term / BEATS)
        };
        if is_old {
            self.look()?;
        }
        let mut state = self.lock();
        if holder.contains('/') {
            state.see(&holder, &found.version);
        }
        state.holders.insert(name.to_owned(), (found.version.clone(), holder.clone()));
        Ok((!state.is_dead(&holder, self.term)).then_some(holder))
    }

    /// Lists leases and then workers: whoever has a lease that is listed has beaten before.
    fn look(&self) -> Result<(), Error> {
        self.look_at_claims()?;
        let workers = self.objects.list(WORKERS)?;
        let mut state = self.lock();
        state.beats_listed = Some(Instant::now());
        for seen in state.seen.values_mut() {
            seen.there = false;
        }
        for listed in workers {
            if let Some(worker) = own(&listed.name, WORKERS) {
                state.see(&worker, &listed.version);
            }
        }
        Ok(())
    }

    fn look_at_claims(&self) -> Result<(), Error> {
        let claims = self.objects.list(CLAIMS)?;
        let mut state = self.lock();
        let now = Instant::now();
        state.listed = Some(now);
        let mut before = std::mem::take(&mut state.claims);
        let mut known = |name: String, version: Version| match before.remove(&name) {
            Some((old, since)) if old == version => (name, (version, since)),
            _ => (name, (version, now)),
        };
        let claims = claims.into_iter().filter_map(|listed| Some((own(&listed.name, CLAIMS)?, listed.version)));
        let claims = claims.map(|(name, version)| known(name, version)).collect();
        state.claims = claims;
        let state = &mut *state;
        let is_listed =
            |name: &String, version: &Version| state.claims.get(name).is_some_and(|(known, _)| known == version);
        state.holders.retain(|name, (version, _)| is_listed(name, version) || state.mine.contains(name));
        Ok(())
    }
}

/// What something in a folder is called there.
fn own(name: &str, folder: &str) -> Option<String> {
    name.strip_prefix(folder)?.strip_prefix('/').map(str::to_owned)
}

impl State {
    /// A beat was written; after a silence of a term nothing that was held is held for sure.
    fn has_beaten(&mut self, term: Duration) {
        if self.beaten.elapsed() >= term {
            self.doubtful.extend(self.mine.iter().chain(&self.released).cloned());
        }
        self.beaten = Instant::now();
    }

    /// A beat was seen, or seen again.
    fn see(&mut self, worker: &str, version: &Version) {
        let now = Instant::now();
        let seen = self.seen.entry(worker.to_owned()).or_insert_with(|| Seen {
            version: version.clone(),
            since: now,
            last: now,
            there: true,
        });
        (seen.last, seen.there) = (now, true);
        if seen.version != *version {
            (seen.version, seen.since) = (version.clone(), now);
        }
    }
}

/// All workers that have a beat, with when it was written, by the clock of the place.
///
/// # Errors
/// If the place cannot be asked.
pub fn workers(objects: &dyn Objects) -> Result<Vec<(Worker, std::time::SystemTime)>, Error> {
    let mut found = Vec::new();
    for listed in objects.list(WORKERS)? {
        let Some(object) = objects.get(&listed.name)? else { continue };
        // One that cannot be read is of another program, or being written.
        found.extend(serde_json::from_slice(&object.bytes).ok().map(|worker: Worker| (worker, listed.written)));
    }
    found.sort_by(|a, b| a.0.worker.cmp(&b.0.worker));
    Ok(found)
}

/// Asks a worker to leave.
///
/// # Errors
/// If that cannot be written.
pub fn cancel(objects: &dyn Objects, worker: &str) -> Result<(), Error> {
    objects.put(&format!("{CANCEL}/{worker}"), b"leave\n")
}

/// 32 hexadecimal digits that nobody else has.
pub fn nonce() -> String {
    let draw = || RandomState::new().build_hasher().finish();
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let mut mixed = RandomState::new().build_hasher();
    mixed.write_u128(time.as_nanos());
    mixed.write_u32(std::process::id());
    format!("{:016x}{:016x}", draw() ^ mixed.finish(), draw())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::{Address, open};

    const TERM: Duration = Duration::from_millis(300);

    fn place() -> (tempfile::TempDir, Arc<dyn Objects>) {
        let folder = tempfile::tempdir().unwrap();
        let address: Address = format!("file://{}", folder.path().display()).parse().unwrap();
        let objects = open(&address).unwrap();
        (folder, objects)
    }

    fn worker(objects: &Arc<dyn Objects>) -> Leases {
        let me = Worker { host: "h.lab".to_owned(), ..Worker::default() };
        Leases::start(objects.clone(), me, TERM, Arc::default()).unwrap()
    }

    fn mine(taken: Taken) -> Lease {
        match taken {
            Taken::Mine(lease) => lease,
            Taken::Theirs(holder) => panic!("{holder} has it"),
        }
    }

    #[test]
    fn a_lease_has_one_holder_until_it_is_given_back() {
        let (_folder, objects) = place();
        let (a, b) = (worker(&objects), worker(&objects));
        let lease = mine(a.take("k").unwrap());
        assert!(matches!(b.take("k").unwrap(), Taken::Theirs(holder) if holder == a.name()));
        b.look(Duration::ZERO).unwrap();
        assert!(b.is_held("k") && !b.is_held("other"));
        std::thread::sleep(2 * TERM);
        assert!(matches!(b.take("k").unwrap(), Taken::Theirs(_)), "it beats");
        drop(lease);
        b.look(Duration::ZERO).unwrap();
        assert!(!b.is_held("k"));
        drop(mine(b.take("k").unwrap()));
        drop((a, b));
        assert!(objects.list(WORKERS).unwrap().is_empty() && objects.list(CLAIMS).unwrap().is_empty());
    }

    #[test]
    fn the_lease_of_a_worker_that_beats_no_more_is_taken_over_after_a_term_and_by_one() {
        let (_folder, objects) = place();
        let dead = Worker { worker: "dead".to_owned(), ..Worker::default() };
        objects.put("workers/dead", &serde_json::to_vec(&dead).unwrap()).unwrap();
        let claim = Claim { worker: "dead".to_owned(), nonce: "n".to_owned() };
        objects.create("claims/k", &serde_json::to_vec(&claim).unwrap()).unwrap().unwrap();
        let workers: Vec<Leases> = (0..4).map(|_| worker(&objects)).collect();
        let start = Instant::now();
        let mut held = Vec::new();
        while held.is_empty() {
            held = workers
                .iter()
                .filter_map(|worker| match worker.take("k").unwrap() {
                    Taken::Mine(lease) => Some(lease),
                    Taken::Theirs(_) => None,
                })
                .collect();
            std::thread::sleep(TERM / 10);
        }
        assert!(start.elapsed() >= TERM, "{:?}", start.elapsed());
        assert_eq!(held.len(), 1);
    }

    #[test]
    fn a_lease_of_which_no_beat_is_left_or_that_nobody_can_read_does_not_stand_for_ever() {
        let (_folder, objects) = place();
        let claim = Claim { worker: "gone".to_owned(), nonce: "n".to_owned() };
        objects.create("claims/a", &serde_json::to_vec(&claim).unwrap()).unwrap().unwrap();
        objects.create("claims/b", b"\xff").unwrap().unwrap();
        let worker = worker(&objects);
        drop(mine(worker.take("a").unwrap()));
        assert!(matches!(worker.take("b").unwrap(), Taken::Theirs(_)));
        std::thread::sleep(TERM + TERM / 2);
        drop(mine(worker.take("b").unwrap()));
    }

    #[test]
    fn what_others_took_over_during_a_silence_stays_theirs_and_the_rest_is_given_back() {
        let (_folder, objects) = place();
        let worker = worker(&objects);
        let (taken, kept) = (mine(worker.take("taken").unwrap()), mine(worker.take("kept").unwrap()));
        let theirs = serde_json::to_vec(&Claim { worker: "b".to_owned(), nonce: "n".to_owned() }).unwrap();
        objects.put("claims/taken", &theirs).unwrap();
        {
            let mut state = worker.inner.lock();
            state.beaten = Instant::now().checked_sub(2 * TERM).unwrap();
            state.has_beaten(TERM);
        }
        drop((taken, kept));
        let left: Vec<String> = objects.list(CLAIMS).unwrap().into_iter().map(|listed| listed.name).collect();
        assert_eq!(left, ["claims/taken"]);
        assert_eq!(objects.get("claims/taken").unwrap().unwrap().bytes, theirs);
    }

    #[test]
    fn a_worker_hears_that_it_is_to_leave() {
        let (_folder, objects) = place();
        let leave = Arc::new(AtomicBool::new(false));
        let leases = Leases::start(objects.clone(), Worker::default(), TERM, leave.clone()).unwrap();
        leases.does("tune[a]", true);
        leases.note("tune[a]", "3 of 10".to_owned());
        assert!(!leave.load(Ordering::Relaxed));
        cancel(&*objects, leases.name()).unwrap();
        std::thread::sleep(TERM);
        assert!(leave.load(Ordering::Relaxed));
        let seen = workers(&*objects).unwrap();
        assert_eq!(seen[0].0.jobs["tune[a]"], "3 of 10");
        drop(leases);
        assert!(objects.list(CANCEL).unwrap().is_empty());
    }
}
