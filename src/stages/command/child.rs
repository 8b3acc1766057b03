//! A program at work: started without a shell, watched, and ended together with everything that it started.

use super::guard::Guarded;
use crate::panic::lock;
use anyhow::Context;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that are kept of the end of what a program says.
const KEPT: usize = 4096;
/// How long to wait for the end of a program before looking whether it is to be stopped.
const LOOK: Duration = Duration::from_millis(20);
/// What a program that is asked to end has for it before it is killed.
const GRACE: Duration = Duration::from_secs(1);
/// How long to wait for what was said last, which somebody that left the program's group may hold open.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What to start.
pub(super) struct Program<'a> {
    /// The program and its arguments.
    pub(super) arguments: &'a [OsString],
    /// All of its environment.
    pub(super) environment: &'a BTreeMap<String, OsString>,
    /// The folder that it starts in.
    pub(super) folder: &'a Path,
    /// How long it may take.
    pub(super) timeout: Option<Duration>,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By itself.
    Exited(ExitStatus),
    /// It took too long, and was killed.
    TimedOut,
    /// Somebody asked to stop, and it was killed.
    Stopped,
}

/// How a program ended, and the end of what it said.
pub(super) struct Ended {
    pub(super) how: End,
    pub(super) out: String,
    pub(super) err: String,
}

impl Program<'_> {
    /// Runs the program; when this returns nothing of its process group is left.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(super) fn run(&self, stopped: &dyn Fn() -> bool) -> anyhow::Result<Ended> {
        let mut child = self.start()?;
        let (out, err) = (Listener::new(child.stdout.take()), Listener::new(child.stderr.take()));
        let group = Pid::from_child(&child);
        let _guarded = Guarded::new(group);
        let how = self.watch(&mut child, stopped).inspect_err(|_| drop(kill(group, Signal::KILL)))?;
        Ok(Ended { how, out: out.text(), err: err.text() })
    }

    fn start(&self) -> anyhow::Result<Child> {
        let (name, arguments) = self.arguments.split_first().context("no program")?;
        let mut command = Command::new(name);
        command.args(arguments).env_clear().envs(self.environment).current_dir(self.folder).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        die_with_us(&mut command);
        let shown = name.to_string_lossy();
        for _ in 0..100 {
            match command.spawn() {
                // A script is an input that was written just now. While it was, another thread may have started a program,
                // which has its file open for writing for an instant.
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => thread::sleep(LOOK),
                Err(error) if error.kind() == io::ErrorKind::NotFound && Path::new(name).is_file() => {
                    return Err(error)
                        .with_context(|| format!("the interpreter that `{shown}` names in its first line"));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let path = self.environment.get("PATH").map(|path| path.to_string_lossy()).unwrap_or_default();
                    return Err(error).with_context(|| {
                        format!(
                            "there is no program `{shown}` in `{path}`; `environment: {{PATH: …}}` says where to look"
                        )
                    });
                }
                other => return other.with_context(|| format!("failed to start `{shown}`")),
            }
        }
        anyhow::bail!("failed to start `{shown}`: another program keeps it open for writing")
    }

    fn watch(&self, child: &mut Child, stopped: &dyn Fn() -> bool) -> anyhow::Result<End> {
        let (group, started) = (Pid::from_child(child), Instant::now());
        let look = Look::at(group);
        let mut end = None;
        while !exited(group)? {
            let late = self.timeout.is_some_and(|timeout| started.elapsed() >= timeout);
            if late || stopped() {
                end = Some(if late { End::TimedOut } else { End::Stopped });
                ask_to_end(group)?;
                break;
            }
            look.wait(LOOK);
        }
        // Its number cannot belong to another group: the program is dead or dying, but still to be waited for.
        kill(group, Signal::KILL)?;
        let status = child.wait()?;
        Ok(end.unwrap_or(End::Exited(status)))
    }
}

/// Hears of the end of a child.
struct Look(Receiver<()>);

impl Look {
    fn at(child: Pid) -> Self {
        let (tell, ended) = mpsc::channel();
        thread::spawn(move || {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while matches!(waitid(WaitId::Pid(child), options), Err(Errno::INTR)) {}
            // Nobody listens any more to the end of a program that was killed.
            let _ = tell.send(());
        });
        Self(ended)
    }

    /// Waits until the child has ended, and no longer than `most`.
    fn wait(&self, most: Duration) {
        // Once it was heard of there is nothing to wait for.
        let _ended = self.0.recv_timeout(most);
    }
}

/// Lets the program end in its own way for a while.
fn ask_to_end(group: Pid) -> io::Result<()> {
    kill(group, Signal::TERM)?;
    let asked = Instant::now();
    while !exited(group)? && asked.elapsed() < GRACE {
        thread::sleep(LOOK);
    }
    Ok(())
}

/// Whether a child has ended; it stays to be waited for.
fn exited(child: Pid) -> io::Result<bool> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match waitid(WaitId::Pid(child), options) {
        Ok(status) => Ok(status.is_some()),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn kill(group: Pid, signal: Signal) -> io::Result<()> {
    match kill_process_group(group, signal) {
        // Nobody is left.
        Ok(()) | Err(Errno::SRCH | Errno::PERM) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Has the kernel kill the program when the thread that started it is gone, which a killed run cannot do any more.
#[cfg(target_os = "linux")]
fn die_with_us(command: &mut Command) {
    let ask = || Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?);
    // SAFETY: between fork and exec the closure makes one system call; it neither allocates nor takes a lock.
    unsafe { command.pre_exec(ask) };
}

#[cfg(not(target_os = "linux"))]
fn die_with_us(_: &mut Command) {}

/// Reads all that a program says and keeps the end of it.
struct Listener {
    tail: Arc<Mutex<Tail>>,
    done: Receiver<()>,
}

#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
    is_cut: bool,
}

impl Tail {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        if let Some(surplus) = self.bytes.len().checked_sub(KEPT).filter(|surplus| *surplus > 0) {
            self.bytes.drain(..surplus);
            self.is_cut = true;
        }
    }

    /// As text for people: without escape sequences, and from the beginning of a line.
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        let text = text.split_once('\n').filter(|_| self.is_cut).map_or(&*text, |(_, rest)| rest);
        let seen = |c: char| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c };
        text.trim_end().replace("\r\n", "\n").chars().map(seen).collect()
    }
}

impl Listener {
    fn new(pipe: Option<impl Read + Send + 'static>) -> Self {
        let (tail, (tell, done)) = (Arc::new(Mutex::new(Tail::default())), mpsc::channel());
        let heard = tail.clone();
        thread::spawn(move || {
            let Some(mut pipe) = pipe else { return };
            let mut buffer = [0; 8192];
            loop {
                match pipe.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(read) => lock(&heard).add(&buffer[..read]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            drop(tell);
        });
        Self { tail, done }
    }

    fn text(self) -> String {
        // Never sends: it ends with the reader.
        let _ended = self.done.recv_timeout(LAST_WORDS);
        lock(&self.tail).text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(pieces: &[&str]) -> String {
        let mut tail = Tail::default();
        pieces.iter().for_each(|piece| tail.add(piece.as_bytes()));
        tail.text()
    }

    #[test]
    fn the_end_is_kept_from_the_beginning_of_a_line() {
        assert_eq!(tail(&["one\n", "two\n\n"]), "one\ntwo");
        let long = "x".repeat(KEPT);
        assert_eq!(tail(&[&long, "y\nlast\n"]), "last");
        assert_eq!(tail(&["\u{1b}[31mred\u{1b}[0m\r\n"]), "\u{fffd}[31mred\u{fffd}[0m");
        assert_eq!(tail(&[]), "");
    }
}
