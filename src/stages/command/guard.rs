//! Whoever kills this program leaves the programs that it started to a guard: a shell that waits for the end of this process,
//! however it comes, and then kills their groups. The kernel does that for a program itself, but not for what it has started.

use crate::panic::lock;
use rustix::process::Pid;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};

/// Reads which groups began (`+`) and ended (`-`) until nobody is left to say so.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
groups=' '
while read -r what group; do
    case $what in
        +) groups="$groups$group " ;;
        -) groups="${groups%% $group *} ${groups#* $group }" ;;
    esac
done
for group in $groups; do kill -9 "-$group" 2>/dev/null; done
"#;

/// A group of processes that does not outlive this one; dropped when it has ended.
pub(super) struct Guarded(Pid);

impl Guarded {
    pub(super) fn new(group: Pid) -> Self {
        tell('+', group);
        Self(group)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        tell('-', self.0);
    }
}

/// Without a shell on this machine there is no guard, and programs of killed runs end when they like.
fn tell(what: char, group: Pid) {
    static GUARD: OnceLock<Option<Mutex<ChildStdin>>> = OnceLock::new();
    if let Some(guard) = GUARD.get_or_init(|| start().map(Mutex::new)) {
        let _ = writeln!(lock(guard), "{what} {}", group.as_raw_nonzero());
    }
}

fn start() -> Option<ChildStdin> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", SCRIPT]).env_clear().current_dir("/").process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().ok()?.stdin.take()
}
