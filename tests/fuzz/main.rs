//! Every reader of what others wrote, fed with what nobody would write: it must give a value or an error, and neither panic nor abort,
//! nor run on, nor take more memory than it may.
//!
//! As a test, each target reads its corpus and a fixed number of inputs made of it, which are the same every time; all of them take
//! about a minute on two cores. `cargo test --locked --test fuzz csv` is one target. What goes wrong is kept in a file, and
//!
//! ```text
//! cargo test --locked --test fuzz -- --replay csv FILE
//! ```
//!
//! reads it again. `tools/fuzz.sh` is for long runs, guided by which branches of our code inputs reach.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod corpus;
mod coverage;
mod faulty;
mod limits;
mod mending;
mod mutation;
mod scratch;
mod targets;
mod worker;

use faulty::FAULTY;
use scratch::Current;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use targets::{ALL, Target};
use worker::{PANICKED, PATIENCE, Work, findings};

#[global_allocator]
static ALLOCATOR: limits::Counting = limits::Counting;

/// The seed of the bounded run.
const SEED: u64 = 0;
/// How many different findings end a long run.
const MOST_FINDINGS: usize = 40;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match &words[..] {
        ["--worker", name, rest @ ..] => exit(worker::work(named(name), &order(rest))),
        ["--replay", name, file] => exit(worker::replay(named(name), &std::fs::read(file).unwrap())),
        ["--long", name, rest @ ..] => long(named(name), &order(rest)),
        ["--write-corpus"] => {
            corpus::write();
            ExitCode::SUCCESS
        }
        _ => test(&words),
    }
}

fn exit(status: i32) -> ExitCode {
    ExitCode::from(u8::try_from(status).unwrap_or(1))
}

fn named(name: &str) -> &'static Target {
    ALL.iter().chain(FAULTY).find(|target| target.name == name).unwrap_or_else(|| panic!("no target `{name}`"))
}

/// `--seed 1 --from 0 --to 100 --current FILE --kept FOLDER --seconds 60`.
fn order(words: &[&str]) -> Work {
    let given: BTreeMap<&str, &str> = words.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    let number = |name: &str| given.get(name).map(|text| text.parse::<u64>().unwrap());
    Work {
        seed: number("--seed").unwrap_or(SEED),
        from: number("--from").unwrap_or(0),
        to: number("--to").unwrap_or(u64::MAX),
        current: given.get("--current").map_or_else(PathBuf::new, PathBuf::from),
        kept: given.get("--kept").map(PathBuf::from),
        until: number("--seconds").map(Duration::from_secs),
        patience: number("--patience").map_or(PATIENCE, Duration::from_millis),
    }
}

/// Starts a worker and waits for it.
fn run(target: &Target, work: &Work) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--worker", target.name, "--seed", &work.seed.to_string(), "--from", &work.from.to_string()]);
    command.args(["--to", &work.to.to_string(), "--current"]).arg(&work.current).env("RUST_BACKTRACE", "0");
    command.args(["--patience", &work.patience.as_millis().to_string()]);
    if let Some(kept) = &work.kept {
        command.arg("--kept").arg(kept);
    }
    if let Some(until) = work.until {
        command.args(["--seconds", &until.as_secs().to_string()]);
    }
    command.output().unwrap()
}

/// An input that was too much.
struct Finding {
    number: u64,
    file: PathBuf,
    /// How the worker ended, and what it said last.
    what: String,
}

impl Finding {
    fn of(target: &Target, work: &Work, output: &Output) -> Self {
        let (number, bytes) = Current::last(&work.current);
        let file = findings().join(format!("fuzz-{}-{}", target.name, &blake3::hash(&bytes).to_hex()[..16]));
        std::fs::write(&file, bytes).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let said: Vec<&str> = said.lines().filter(|line| !line.is_empty() && !line.starts_with("note: ")).collect();
        let what = format!("{}: {}", ended(output.status), said[said.len().saturating_sub(4)..].join(" / "));
        Self { number, file, what }
    }

    fn tell(&self, target: &Target, seed: u64) -> String {
        let Self { number, file, what } = self;
        let name = target.name;
        format!(
            "{name}: input {number} of seed {seed} {what}\n  read it again: cargo test --locked --test fuzz -- --replay {name} {}",
            file.display()
        )
    }
}

fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(PANICKED), _) => "made the reader panic".to_owned(),
        (Some(limits::HUNG), _) => "has no end".to_owned(),
        (_, Some(signal)) => format!("ended the program (signal {signal})"),
        (code, _) => format!("ended the program with {code:?}"),
    }
}

/// As `cargo test` and nextest call tests: `--list`, `--exact`, names to choose by, and options that say nothing here.
fn test(words: &[&str]) -> ExitCode {
    let values = ["--format", "--color", "--test-threads", "--logfile", "--skip", "-Z"];
    let is_value = |at: usize| at > 0 && values.contains(&words[at - 1]);
    let wanted: Vec<&str> = words
        .iter()
        .enumerate()
        .filter(|(at, word)| !word.starts_with('-') && !is_value(*at))
        .map(|(_, word)| *word)
        .collect();
    let is_exact = words.contains(&"--exact");
    let is_wanted = |target: &&Target| {
        wanted.is_empty() || wanted.iter().any(|word| target.name == *word || !is_exact && target.name.contains(word))
    };
    let chosen: Vec<&Target> =
        ALL.iter().chain(FAULTY).filter(is_wanted).filter(|_| !words.contains(&"--ignored")).collect();
    if words.contains(&"--list") {
        chosen.iter().for_each(|target| println!("{}: test", target.name));
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", chosen.len());
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(chosen.len()) {
            scope.spawn(|| {
                while let Some(target) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    failed.lock().unwrap().extend(bounded(target));
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    failed.iter().for_each(|failure| eprintln!("\n{failure}"));
    println!(
        "\ntest result: {}. {} targets, {} failed",
        if failed.is_empty() { "ok" } else { "FAILED" },
        chosen.len(),
        failed.len()
    );
    exit(i32::from(!failed.is_empty()))
}

/// The bounded run of a target; what went wrong.
fn bounded(target: &Target) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let current = folder.path().join("current");
    let patience = if faulty::expected(target).is_some() { faulty::PATIENCE } else { PATIENCE };
    let work = Work { seed: SEED, from: 0, to: target.runs, current, kept: None, until: None, patience };
    let output = run(target, &work);
    let (is_right, said) = (output.status.success(), String::from_utf8_lossy(&output.stdout));
    let failure = match faulty::expected(target) {
        None => (!is_right).then(|| Finding::of(target, &work, &output).tell(target, SEED)),
        Some(expected) => faulty::missed(&Finding::of(target, &work, &output), is_right, expected),
    };
    println!("test {} ... {} ({})", target.name, if failure.is_none() { "ok" } else { "FAILED" }, said.trim());
    failure
}

/// A long run, which goes on behind what goes wrong.
fn long(target: &'static Target, order: &Work) -> ExitCode {
    let (began, folder) = (Instant::now(), tempfile::tempdir().unwrap());
    let mut work = Work { current: folder.path().join("current"), ..order.clone() };
    order.kept.iter().for_each(|kept| std::fs::create_dir_all(kept).unwrap());
    let mut found: BTreeMap<String, Finding> = BTreeMap::new();
    let mut last = String::new();
    while work.from < work.to && found.len() < MOST_FINDINGS {
        work.until = order.until.map(|until| until.saturating_sub(began.elapsed()));
        let output = run(target, &work);
        last = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() {
            let read = last.split(' ').nth(1).and_then(|read| read.parse::<u64>().ok()).unwrap_or(0);
            work.from += read;
            break;
        }
        let finding = Finding::of(target, &work, &output);
        work.from = finding.number + 1;
        let what = kind(&finding.what);
        if let Entry::Vacant(new) = found.entry(what) {
            println!("{}", finding.tell(target, work.seed));
            new.insert(finding);
        }
    }
    println!(
        "{}: {} inputs in {:.0?}, {} kinds of findings; the last worker {last}",
        target.name,
        work.from - order.from,
        began.elapsed(),
        found.len()
    );
    exit(i32::from(!found.is_empty()))
}

/// What is alike of two findings: the words without numbers.
fn kind(what: &str) -> String {
    what.chars().filter(|c| !c.is_ascii_digit()).take(200).collect()
}
