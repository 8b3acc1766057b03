//! Requests of many workers at one plan to the place that they share, counted in one process and with the scheduler itself.
//!
//! `SPOT_CROWD=100x10000x200 cargo nextest run -E 'test(requests::)' --no-capture` is a simulation at that size (workers, jobs, milliseconds that a job
//! takes), and prints a table.

use super::plan::Plan;
use super::run::{Role, Settings, Watch, run};
use super::sharing::Sharing;
use super::store::Store;
use super::toys::{Concat, Sketch, Yard, all};
use crate::remote::lease::{Leases, Worker};
use crate::remote::{Error, Listed, Object, Objects, Version};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// The content of an object, which one it is, and when it was written.
type Kept = (Vec<u8>, u64, SystemTime);

/// Objects in memory, which count what they are asked.
#[derive(Debug, Default)]
struct Counting {
    objects: Mutex<BTreeMap<String, Kept>>,
    versions: AtomicU64,
    asked: Mutex<BTreeMap<String, u64>>,
}

/// Names that one request for a listing has, as of S3.
const PAGE: usize = 1000;
/// How long a request takes.
const LATENCY: Duration = Duration::from_millis(2);

impl Counting {
    fn count(&self, what: &str, name: &str, requests: usize) {
        let folder = name.split('/').next().unwrap_or_default();
        *self.asked.lock().unwrap().entry(format!("{what} {folder}")).or_default() += requests as u64;
        std::thread::sleep(LATENCY);
    }

    fn write(&self, name: &str, bytes: &[u8], may: impl FnOnce(Option<u64>) -> bool) -> Option<Version> {
        let mut objects = self.objects.lock().unwrap();
        if !may(objects.get(name).map(|(_, version, _)| *version)) {
            return None;
        }
        let version = self.versions.fetch_add(1, Ordering::Relaxed);
        objects.insert(name.to_owned(), (bytes.to_vec(), version, SystemTime::now()));
        Some(Version::new(version))
    }
}

impl Objects for Counting {
    fn get(&self, name: &str) -> Result<Option<Object>, Error> {
        self.count("GET", name, 1);
        let objects = self.objects.lock().unwrap();
        Ok(objects
            .get(name)
            .map(|(bytes, version, _)| Object { bytes: bytes.clone(), version: Version::new(*version) }))
    }

    fn copy(&self, name: &str, into: &mut dyn Write) -> Result<bool, Error> {
        self.count("GET", name, 1);
        let bytes = self.objects.lock().unwrap().get(name).map(|(bytes, ..)| bytes.clone());
        if let Some(bytes) = &bytes {
            into.write_all(bytes).unwrap();
        }
        Ok(bytes.is_some())
    }

    fn size(&self, name: &str) -> Result<Option<u64>, Error> {
        self.count("HEAD", name, 1);
        Ok(self.objects.lock().unwrap().get(name).map(|(bytes, ..)| bytes.len() as u64))
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.count("PUT", name, 1);
        self.write(name, bytes, |_| true);
        Ok(())
    }

    fn send(&self, name: &str, file: &Path) -> Result<(), Error> {
        self.put(name, &fs_err::read(file).unwrap())
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Option<Version>, Error> {
        self.count("PUT", name, 1);
        Ok(self.write(name, bytes, |old| old.is_none()))
    }

    fn replace(&self, name: &str, bytes: &[u8], version: &Version) -> Result<Option<Version>, Error> {
        self.count("PUT", name, 1);
        Ok(self.write(name, bytes, |old| old.is_some_and(|old| Version::new(old) == *version)))
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        self.count("DELETE", name, 1);
        self.objects.lock().unwrap().remove(name);
        Ok(())
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, Error> {
        let objects = self.objects.lock().unwrap();
        let below =
            objects.range(format!("{folder}/")..).take_while(|(name, _)| name.starts_with(&format!("{folder}/")));
        let listed: Vec<Listed> = below
            .map(|(name, (bytes, version, written))| Listed {
                name: name.clone(),
                version: Version::new(*version),
                size: bytes.len() as u64,
                written: *written,
            })
            .collect();
        drop(objects);
        self.count("LIST", folder, listed.len() / PAGE + 1);
        Ok(listed)
    }
}

/// Jobs in three layers, of which the second has one input of the first and the third one for every ten of the second.
fn plan(jobs: usize, lasts: Duration, log: &Path) -> Plan {
    let mut sketch = Sketch::new();
    let job = |text: String| Concat { text, lasts, log: log.to_owned(), ..Concat::default() };
    let groups = (jobs / 21).max(1);
    for group in 0..groups {
        let firsts: Vec<_> =
            (0..10).map(|i| sketch.job(&format!("first[{group},{i}]"), job(format!("a{group}-{i}")), vec![])).collect();
        let second = |sketch: &mut Sketch, (i, first)| {
            sketch.job(&format!("second[{group},{i}]"), job(format!("b{group}-{i}")), vec![("parts", all(&[first]))])
        };
        let seconds: Vec<_> = firsts.into_iter().enumerate().map(|pair| second(&mut sketch, pair)).collect();
        sketch.job(&format!("third[{group}]"), job(format!("c{group}")), vec![("parts", all(&seconds))]);
    }
    sketch.plan()
}

/// One worker with a cache of its own sees the plan to its end.
fn work(number: usize, plan: &Plan, place: &Arc<Counting>, yard: &Yard) {
    const TERM: Duration = Duration::from_secs(6);
    let objects: Arc<dyn Objects> = place.clone();
    let me = Worker { host: format!("h{number}"), ..Worker::default() };
    let leases = Leases::start(objects.clone(), me, TERM, Arc::default()).unwrap();
    let settings = Settings {
        role: Role::Worker,
        sharing: Some(Arc::new(Sharing::over(objects))),
        leases: Some(Arc::new(leases)),
        ..Settings::default()
    };
    let store = Store::new(&yard.path(&format!("cache{number}")));
    let summary = run(plan, &store, &settings, yard as &dyn Watch, &AtomicBool::new(false)).unwrap();
    assert_eq!((summary.failed, summary.blocked), (0, 0));
}

/// Workers, jobs, and how long each of these takes.
type Size = (usize, usize, Duration);

/// `100x10000x200`.
fn size() -> Option<Size> {
    let text = std::env::var("SPOT_CROWD").ok()?;
    let numbers: Vec<u64> = text.split('x').map(|number| number.parse().expect("a number")).collect();
    let [workers, jobs, lasts] = numbers[..] else { panic!("expected such as `100x10000x200`") };
    Some((workers as usize, jobs as usize, Duration::from_millis(lasts)))
}

#[test]
fn workers_do_not_ask_for_what_others_do() {
    let (workers, jobs, lasts) = size().unwrap_or((6, 210, Duration::from_millis(40)));
    let yard = Yard::new();
    let (plan, place) = (plan(jobs, lasts, &yard.path("log")), Arc::new(Counting::default()));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..workers {
            let (plan, place, yard) = (&plan, &place, &yard);
            scope.spawn(move || work(number, plan, place, yard));
        }
    });
    let (jobs, executed, seconds) = (plan.graph.node_count(), yard.log("log").len(), start.elapsed().as_secs_f64());
    println!(
        "{workers} workers, {jobs} jobs of {} ms, leases of 6 s: {executed} executions in {seconds:.1} s",
        lasts.as_millis()
    );
    let asked = std::mem::take(&mut *place.asked.lock().unwrap());
    for (what, requests) in &asked {
        println!("{what:16} {requests:9} {:8.3} a job", *requests as f64 / jobs as f64);
    }
    let of = |what: &str| asked.get(what).copied().unwrap_or_default() as usize;
    assert!(executed >= jobs && executed <= jobs + jobs / 50, "{executed} of {jobs}");
    // Of the inputs of all jobs, each is asked for by the one who makes the job, or is here; and of a job whether it was made.
    let inputs = jobs * 20 / 21;
    assert!(of("GET entries") <= 2 * inputs + jobs, "{asked:?}");
    // Of a result that somebody brought a moment ago a worker may ask, too, since he has not seen it yet.
    assert!(of("HEAD blobs") <= 2 * inputs, "{asked:?}");
    assert!(of("PUT claims") <= 6 * jobs, "{asked:?}");

    // Who comes when all is done asks for nothing of all that, however many jobs there are.
    work(workers, &plan, &place, &yard);
    assert_eq!(yard.log("log").len(), executed);
    let late = place.asked.lock().unwrap();
    for never in ["GET entries", "GET blobs", "HEAD blobs", "PUT claims", "PUT told"] {
        assert_eq!(late.get(never), None, "{never}: {late:?}");
    }
    assert_eq!(late["LIST told"], (jobs / PAGE + 1) as u64);
}
