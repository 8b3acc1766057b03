//! Slurm's own programs, asked in their fixed formats.

use super::Array;
use crate::engine::run::Unavailable;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a program of Slurm may take; its own patience with a controller that does not answer ends after some 100 seconds.
const PATIENCE: Duration = Duration::from_secs(150);

/// The tasks of an array that are in the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Queue {
    /// How many are in which state, as Slurm says it.
    states: BTreeMap<String, usize>,
    /// Why tasks wait, by the reason.
    reasons: BTreeMap<String, usize>,
    /// Tasks that wait since they came back a moment ago.
    pub(super) resting: Vec<String>,
}

/// What a program of Slurm printed.
struct Answer {
    succeeded: bool,
    out: String,
    err: String,
}

impl Queue {
    /// Submits a job; its number.
    ///
    /// # Errors
    /// [`Unavailable`] with Slurm's words if it refuses or does not answer.
    pub(super) fn submit(script: &str, mark: &str) -> Result<u64, Unavailable> {
        let answer = ask("sbatch", &["--parsable"], script)?;
        // With clusters that work together its name follows.
        let id = answer.out.trim().split(';').next().and_then(|id| id.parse().ok());
        if let Some(id) = id.filter(|_| answer.succeeded) {
            return Ok(id);
        }
        // A busy controller may have taken a job whose number did not come back, or take it when it comes to it.
        let found = match () {
            () if answer.err.contains("timed out") => Self::marked_in_time(mark)?,
            () if answer.err.contains("Unable to contact") => Self::marked(mark)?,
            () => None,
        };
        found.ok_or_else(|| {
            Unavailable(format!("Slurm does not take the job: {}; `spot slurm script` prints it", said(&answer)))
        })
    }

    /// The array that has this mark, now or in a moment.
    fn marked_in_time(mark: &str) -> Result<Option<u64>, Unavailable> {
        const LOOKS: u32 = 6;
        const PAUSE: Duration = Duration::from_secs(2);
        for _ in 1..LOOKS {
            if let Some(id) = Self::marked(mark)? {
                return Ok(Some(id));
            }
            std::thread::sleep(PAUSE);
        }
        Self::marked(mark)
    }

    /// The array that has this mark.
    fn marked(mark: &str) -> Result<Option<u64>, Unavailable> {
        let answer = ask("squeue", &["-h", "-t", "all", "-o", "%F|%k"], "")?;
        let of = |line: &str| line.split_once('|').filter(|(_, comment)| *comment == mark)?.0.parse().ok();
        Ok(answer.out.lines().find_map(of))
    }

    /// The tasks of an array that are not done.
    ///
    /// # Errors
    /// [`Unavailable`] if Slurm does not answer, or not in the format that was asked for.
    pub(in crate::cli) fn of(array: &Array) -> Result<Self, Unavailable> {
        let Array { id, mark, .. } = array;
        let answer = ask("squeue", &["-h", "-r", "-j", &id.to_string(), "-o", "%i|%T|%k|%r"], "")?;
        // So Slurm says that an array is done and forgotten.
        if !answer.succeeded && answer.err.contains("Invalid job id") {
            return Ok(Self::default());
        }
        if !answer.succeeded {
            return Err(Unavailable(format!("Slurm does not say what became of the array {id}: {}", said(&answer))));
        }
        Self::read(&answer.out, mark).map_err(|line| {
            Unavailable(format!("`squeue` says `{line}` of the array {id}, which is not what it was asked for"))
        })
    }

    /// Reads what `squeue` says of the tasks that have a mark.
    ///
    /// # Errors
    /// The first line that is none: to take it for nothing would be to take the array for done.
    fn read<'a>(text: &'a str, mark: &str) -> Result<Self, &'a str> {
        let mut queue = Self::default();
        for line in text.lines() {
            let fields: Vec<&str> = line.splitn(4, '|').collect();
            let [task, state, comment, reason] = fields[..] else { return Err(line) };
            // Of another cluster, or from before the numbers began anew.
            if comment != mark {
                continue;
            }
            *queue.states.entry(state.to_ascii_lowercase()).or_default() += 1;
            if state == "PENDING" {
                *queue.reasons.entry(reason.to_owned()).or_default() += 1;
                if reason == "BeginTime" {
                    queue.resting.push(task.to_owned());
                }
            }
        }
        Ok(queue)
    }

    /// Whether no task is left.
    pub(in crate::cli) fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// In a few words: `3 running, 13 pending (Resources)`.
    pub(in crate::cli) fn in_words(&self) -> String {
        let reasons: Vec<&str> = self.reasons.keys().map(String::as_str).collect();
        let why = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
        let state = |(state, n): (&String, &usize)| match state.as_str() {
            "pending" => format!("{n} pending{why}"),
            _ => format!("{n} {state}"),
        };
        self.states.iter().map(state).collect::<Vec<_>>().join(", ")
    }

    /// Tasks that came back begin now and not after two minutes, as Slurm has it otherwise. That it may not be so is no error.
    pub(super) fn wake(&self) {
        for task in &self.resting {
            let _ = ask("scontrol", &["update", &format!("JobId={task}"), "StartTime=now"], "");
        }
    }

    /// Ends all tasks of an array; they save their steps, as they do at any signal.
    ///
    /// # Errors
    /// [`Unavailable`] if Slurm does not answer.
    pub(in crate::cli) fn cancel(id: u64) -> Result<(), Unavailable> {
        let answer = ask("scancel", &[&id.to_string()], "")?;
        let is_gone = answer.err.contains("Invalid job id");
        if answer.succeeded || is_gone {
            Ok(())
        } else {
            Err(Unavailable(format!("Slurm does not cancel the array {id}: {}", said(&answer))))
        }
    }
}

/// Puts the task of an array that this process is back into the queue; whether it is one.
///
/// # Errors
/// [`Unavailable`] if Slurm does not answer.
pub(in crate::cli) fn requeue_self() -> Result<bool, Unavailable> {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| text.parse::<u64>().is_ok());
    let (Some(array), Some(task)) = (variable("SLURM_ARRAY_JOB_ID"), variable("SLURM_ARRAY_TASK_ID")) else {
        return Ok(false);
    };
    const ATTEMPTS: u32 = 4;
    const PAUSE: Duration = Duration::from_secs(2);
    let mut attempt = 1;
    loop {
        // Not by the job's own number, which for one of the tasks is that of the whole array.
        let answer = ask("scontrol", &["requeue", &format!("{array}_{task}")], "")?;
        if answer.succeeded {
            return Ok(true);
        }
        if attempt == ATTEMPTS {
            return Err(Unavailable(format!("Slurm does not take the worker back into its queue: {}", said(&answer))));
        }
        attempt += 1;
        std::thread::sleep(PAUSE);
    }
}

fn said(answer: &Answer) -> String {
    let lines = answer.err.lines().map(|line| line.trim_start_matches("sbatch: ").trim_start_matches("error: "));
    let text = lines.collect::<Vec<_>>().join("; ");
    if text.is_empty() { "it does not say why".to_owned() } else { text }
}

/// Runs a program of Slurm to its end.
fn ask(program: &str, arguments: &[&str], input: &str) -> Result<Answer, Unavailable> {
    let wrong = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Unavailable(format!("there is no `{program}` here: `--executor slurm` is typed where Slurm's programs are"))
        }
        _ => Unavailable(format!("`{program}` cannot be run: {error}")),
    };
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C");
    // Choices of the user's own would be others, and go before what a script says.
    for (name, _) in std::env::vars_os() {
        let is_choice = name.to_str().is_some_and(|name| name.starts_with("SQUEUE_") || name.starts_with("SBATCH_"));
        if is_choice {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(wrong)?;
    let mut to = child.stdin.take().expect("it is piped");
    let (mut out, mut err) = (child.stdout.take().expect("it is piped"), child.stderr.take().expect("it is piped"));
    let started = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || drop(to.write_all(input.as_bytes())));
        let out = scope.spawn(move || read(&mut out));
        let err = scope.spawn(move || read(&mut err));
        let status = loop {
            match child.try_wait().map_err(wrong)? {
                Some(status) => break Some(status),
                None if started.elapsed() > PATIENCE => {
                    let _ = child.kill();
                    let _ = child.wait();
                    break None;
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
        match status {
            Some(status) => Ok(Answer { succeeded: status.success(), out, err }),
            None => Err(Unavailable(format!("`{program}` did not answer within {} seconds", PATIENCE.as_secs()))),
        }
    })
}

/// What there is to read, at most some megabytes.
fn read(from: &mut impl Read) -> String {
    const MOST: u64 = 64 << 20;
    let mut bytes = Vec::new();
    let _ = from.take(MOST).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_read_and_told() {
        let text = "28_0|PENDING|m|BeginTime\n21_1|RUNNING|m|None\n21_2|PENDING|m|Resources\n21_3|RUNNING|m|None\n\
                    9|RUNNING|other|None\n";
        let queue = Queue::read(text, "m").unwrap();
        assert_eq!(queue.in_words(), "2 pending (BeginTime, Resources), 2 running");
        assert_eq!(queue.resting, ["28_0"]);
        assert!(Queue::read("", "m").unwrap().is_empty() && !queue.is_empty());
        assert_eq!(Queue::read("slurm_load_jobs error", "m"), Err("slurm_load_jobs error"));
    }
}
