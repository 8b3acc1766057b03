//! `spot run --worker --workers-per-gpu N`: one process that starts workers, so many for each GPU, and waits for them.

use crate::engine::run::Unavailable;
use crate::error::Exit;
use crate::ui::{self, Colour};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Between two looks at whether the workers are to be told to leave.
const TICK: Duration = Duration::from_millis(100);

/// A worker to be started.
pub(super) struct Worker {
    /// What people call it; in front of every line that it writes.
    pub(super) name: String,
    pub(super) command: Command,
}

/// Starts workers and waits until all have left. Once `stop` is set they are told to save their steps and leave. Where
/// `in_words`, what each says stands behind its name.
///
/// # Errors
/// If one cannot be started; those before it leave.
pub(super) fn work_together(workers: Vec<Worker>, stop: &AtomicBool, in_words: bool) -> anyhow::Result<Exit> {
    let mut started: Vec<(String, Child)> = Vec::new();
    let mut failed = None;
    for Worker { name, mut command } in workers {
        // In a group of its own: an interrupt of a terminal reaches this process alone, which passes it on once. A worker
        // that hears it twice ends without saving.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        match command.spawn() {
            Ok(child) => started.push((name, child)),
            Err(error) => {
                failed = Some(Unavailable(format!("the worker on `{name}` cannot be started: {error}")));
                started.iter().for_each(|(_, child)| tell_to_leave(child));
                break;
            }
        }
    }
    let ended = wait_for(started, stop, failed.is_some(), in_words)?;
    if let Some(failed) = failed {
        return Err(failed.into());
    }
    for (name, status) in &ended {
        if let Some(signal) = status.signal() {
            let warning =
                format!("the worker on `{name}` was killed by signal {signal}; what it did is left to others");
            ui::tell("warning:", Colour::Yellow, &warning);
        }
    }
    Ok(exit(ended.iter().map(|(_, status)| status.code())))
}

fn tell_to_leave(child: &Child) {
    // One that has ended has its number until it is waited for.
    let _ = kill_process(Pid::from_child(child), Signal::TERM);
}

/// Passes on what workers say until all have ended, and tells them to leave once that is asked for, if they were not `told` already.
/// They are in the order in which they ended; of those that ended at a time, whoever had nothing left to do comes first.
fn wait_for(
    mut workers: Vec<(String, Child)>,
    stop: &AtomicBool,
    mut told: bool,
    in_words: bool,
) -> io::Result<Vec<(String, ExitStatus)>> {
    let mut readers = Vec::new();
    for (name, child) in &mut workers {
        let before = if in_words { format!("{name} | ") } else { String::new() };
        if let Some(out) = child.stdout.take() {
            let before = before.clone();
            readers.push(thread::spawn(move || pass_on(out, &before, io::stdout)));
        }
        if let Some(err) = child.stderr.take() {
            readers.push(thread::spawn(move || pass_on(err, &before, io::stderr)));
        }
    }
    let mut ended: Vec<(String, ExitStatus)> = Vec::new();
    while !workers.is_empty() {
        if !told && stop.load(Ordering::Relaxed) {
            told = true;
            workers.iter().for_each(|(_, child)| tell_to_leave(child));
        }
        let (mut at_work, before) = (Vec::new(), ended.len());
        for (name, mut child) in workers {
            match child.try_wait()? {
                Some(status) => ended.push((name, status)),
                None => at_work.push((name, child)),
            }
        }
        ended[before..].sort_by_key(|(_, status)| !status.success());
        workers = at_work;
        if !workers.is_empty() {
            thread::sleep(TICK);
        }
    }
    for reader in readers {
        let _ = reader.join();
    }
    Ok(ended)
}

/// Passes lines on, each in one piece. Somebody who does not listen any more is no reason to let a worker wait for him.
fn pass_on<W: Write>(from: impl Read, before: &str, to: impl Fn() -> W) {
    let mut from = BufReader::new(from);
    let mut line = before.as_bytes().to_vec();
    while from.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
        if line.last() != Some(&b'\n') {
            line.push(b'\n');
        }
        let _ = to().write_all(&line);
        line.truncate(before.len());
    }
}

/// How workers end together that ended in this order; `None` was killed. The run is done if no job failed and the last of them had
/// nothing left to do: what one leaves behind that ends otherwise, nobody takes over who was gone by then.
fn exit(codes: impl Iterator<Item = Option<i32>>) -> Exit {
    let codes: Vec<Option<i32>> = codes.collect();
    let is_one = |exit: &Exit| codes.contains(&Some(i32::from(exit.code())));
    let worst = [Exit::JobFailed, Exit::Integrity, Exit::Usage].into_iter().find(is_one);
    let undone = || [Exit::Interrupted, Exit::Locked].into_iter().find(is_one).unwrap_or(Exit::Environment);
    worst.unwrap_or_else(|| if codes.last() == Some(&Some(0)) { Exit::Ok } else { undone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn worker(name: &str, script: &str) -> Worker {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        Worker { name: name.to_owned(), command }
    }

    #[test]
    fn a_run_is_done_if_the_last_worker_had_nothing_left_to_do() {
        let of = |codes: &[Option<i32>]| exit(codes.iter().copied());
        assert_eq!(of(&[Some(0), Some(0)]), Exit::Ok);
        assert_eq!(of(&[Some(5), None, Some(0)]), Exit::Ok);
        assert_eq!(of(&[Some(0), None]), Exit::Environment, "nobody takes over what it did");
        assert_eq!(of(&[Some(0), Some(5)]), Exit::Environment);
        assert_eq!(of(&[Some(0), Some(130)]), Exit::Interrupted);
        assert_eq!(of(&[Some(0), Some(1)]), Exit::JobFailed);
        assert_eq!(of(&[Some(130), Some(5)]), Exit::Interrupted);
        assert_eq!(of(&[None, None]), Exit::Environment);
        assert_eq!(of(&[Some(101)]), Exit::Environment, "a code that is none of ours");
    }

    #[test]
    fn workers_are_told_to_leave_once_and_waited_for() {
        let stop = AtomicBool::new(false);
        let leaves = "trap 'exit 130' TERM; while :; do sleep 0.05; done";
        let ends = "exit 5";
        let start = Instant::now();
        let exit = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(300));
                stop.store(true, Ordering::Relaxed);
            });
            work_together(vec![worker("a", leaves), worker("b", ends), worker("c", leaves)], &stop, true).unwrap()
        });
        assert_eq!(exit, Exit::Interrupted);
        assert!(start.elapsed() >= Duration::from_millis(300));
    }

    #[test]
    fn those_that_were_started_leave_if_another_cannot_be() {
        let leaves = "trap 'exit 130' TERM; while :; do sleep 0.05; done";
        let none = Worker { name: "b".to_owned(), command: Command::new("/nowhere/spot") };
        let error = work_together(vec![worker("a", leaves), none], &AtomicBool::new(false), true).unwrap_err();
        assert!(error.is::<Unavailable>());
        assert!(error.to_string().starts_with("the worker on `b` cannot be started: "), "{error}");
    }

    #[test]
    fn what_workers_say_stands_behind_their_names() {
        let said = |text: &'static [u8], before: &str| {
            let to = std::sync::Mutex::new(Vec::new());
            struct To<'a>(&'a std::sync::Mutex<Vec<u8>>);
            impl Write for To<'_> {
                fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                    self.0.lock().unwrap().extend_from_slice(bytes);
                    Ok(bytes.len())
                }
                fn flush(&mut self) -> io::Result<()> {
                    Ok(())
                }
            }
            pass_on(text, before, || To(&to));
            String::from_utf8(to.into_inner().unwrap()).unwrap()
        };
        assert_eq!(said(b"one\n\ntwo", "cuda:1 | "), "cuda:1 | one\ncuda:1 | \ncuda:1 | two\n");
        assert_eq!(said(b"{}\n", ""), "{}\n");
    }
}
