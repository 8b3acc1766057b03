//! A worker: a process that reads one input after the other and is not there any more when one of them is too much.

use super::coverage::Coverage;
use super::mutation::Mutation;
use super::scratch::{Current, Scratch};
use super::targets::Target;
use super::{corpus, limits};
use spot::ml::random::Stream;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The status that a worker ends with when a reader panicked.
pub(crate) const PANICKED: i32 = 101;

/// MiB beside those of the target that a worker may address: stacks, mapped files, libraries that are not Rust.
const BESIDE: usize = 768;

/// How long reading an input may take, on a busy machine and not optimised. Readers take microseconds to milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes of the longest input that others are made of: long ones are slow to read.
const LONGEST_KEPT: usize = 1 << 13;

/// What a worker does.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// Names the inputs, with their numbers.
    pub(crate) seed: u64,
    /// The first number. Before the first of all come the files of the corpus as they are.
    pub(crate) from: u64,
    /// The number after the last.
    pub(crate) to: u64,
    /// Where the input is while it is read.
    pub(crate) current: PathBuf,
    /// Where inputs are kept that reach something new, if the build tells.
    pub(crate) kept: Option<PathBuf>,
    /// When it ends without having read all.
    pub(crate) until: Option<Duration>,
    /// How long reading an input may take.
    pub(crate) patience: Duration,
}

/// The stream of an input.
fn stream(target: &Target, seed: u64, number: u64) -> Stream {
    Stream::new(seed ^ number.rotate_left(32), target.name)
}

/// The input with this number, of a corpus that stays as it is.
pub(crate) fn input(target: &Target, mutation: &Mutation<'_>, seed: u64, number: u64) -> Vec<u8> {
    let mut stream = stream(target, seed, number);
    let mut input = mutation.input(&mut stream);
    if stream.chance(0.6) {
        (target.mend)(&mut input);
    }
    input
}

/// What becomes of a single input, in a thread with the stack that jobs have.
pub(crate) fn replay(target: &'static Target, bytes: &[u8]) -> i32 {
    in_job(target, PATIENCE, |scratch| if is_read(target, scratch, bytes) { 0 } else { PANICKED })
}

/// Reads inputs until all are read or one of them was too much.
pub(crate) fn work(target: &'static Target, work: &Work) -> i32 {
    in_job(target, work.patience, |scratch| Worker::new(target, work, scratch).run())
}

fn in_job(target: &'static Target, patience: Duration, job: impl FnOnce(&Scratch) -> i32 + Send) -> i32 {
    let (scratch, memory) = (Scratch::new(), target.memory << 20);
    set_hook(Box::new(|panic| {
        TOLD.store(true, Ordering::Relaxed);
        eprintln!("{panic}");
    }));
    prepare(&scratch);
    limits::watch(patience);
    limits::address_at_most((memory + (BESIDE << 20)) as u64);
    // Two MiB, as the standard library gives the threads of jobs.
    std::thread::scope(|scope| scope.spawn(|| job(&scratch)).join()).unwrap_or(PANICKED)
}

/// What manifests may name.
fn prepare(scratch: &Scratch) {
    scratch.put(
        "pipelines/base.yaml",
        b"version: 1\nname: base\nvars: {length: 8}\nstages:\n  made: {kind: command, run: ['true'], outputs: [x]}\n",
    );
}

struct Worker<'w> {
    target: &'static Target,
    work: &'w Work,
    scratch: &'w Scratch,
    current: Current,
    mutation: Mutation<'static>,
    coverage: Coverage,
}

impl<'w> Worker<'w> {
    fn new(target: &'static Target, work: &'w Work, scratch: &'w Scratch) -> Self {
        let known = corpus::of(target, work.kept.as_deref());
        let mutation = Mutation { known, dictionary: target.dictionary };
        Self { target, work, scratch, current: Current::new(&work.current), mutation, coverage: Coverage::new() }
    }

    fn run(&mut self) -> i32 {
        let began = Instant::now();
        let is_over = || self.work.until.is_some_and(|until| began.elapsed() > until);
        let (mut number, mut is_right) = (self.work.from, true);
        let known = self.mutation.known.clone();
        for bytes in known {
            is_right = is_right && (self.work.from > 0 && !self.coverage.is_counted() || self.read(number, &bytes));
        }
        self.coverage.take();
        while is_right && number < self.work.to && !(number % 64 == 0 && is_over()) {
            let bytes = input(self.target, &self.mutation, self.work.seed, number);
            is_right = self.read(number, &bytes);
            if is_right && self.coverage.is_counted() && self.coverage.take() {
                self.keep(bytes);
            }
            number += 1;
        }
        let (kept, edges) = (self.mutation.known.len(), self.coverage.edges());
        println!(
            "read {} inputs in {:.0?}; {kept} in the corpus, {edges} edges",
            number - self.work.from,
            began.elapsed()
        );
        if is_right { 0 } else { PANICKED }
    }

    /// Whether a reader came back from the input with this number.
    fn read(&self, number: u64, bytes: &[u8]) -> bool {
        self.current.set(number, bytes);
        is_read(self.target, self.scratch, bytes)
    }

    fn keep(&mut self, bytes: Vec<u8>) {
        if bytes.len() > LONGEST_KEPT {
            return;
        }
        if let Some(folder) = &self.work.kept {
            let name = blake3::hash(&bytes).to_hex()[..20].to_owned();
            std::fs::write(folder.join(name), &bytes).expect("the folder of kept inputs can be written");
        }
        self.mutation.known.push(bytes);
    }
}

/// Whether a panic was told: those that a reader makes errors of are not.
static TOLD: AtomicBool = AtomicBool::new(false);

/// Whether a reader came back from an input, and without a word on standard error.
fn is_read(target: &Target, scratch: &Scratch, bytes: &[u8]) -> bool {
    limits::allow(target.memory << 20);
    limits::begin();
    let read = catch_unwind(AssertUnwindSafe(|| (target.read)(scratch, bytes)));
    limits::end();
    limits::allow_all();
    read.is_ok() && !TOLD.load(Ordering::Relaxed)
}

/// The folder in which inputs are kept that went wrong.
pub(crate) fn findings() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}
