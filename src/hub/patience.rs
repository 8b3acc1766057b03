//! How often something is tried again, and what is waited before.

use super::{Error, Watch};
use std::time::{Duration, Instant};

/// Attempts in a row that may fail.
const ATTEMPTS: u32 = 5;
/// The longest wait, whatever a hub asks for.
const LONGEST: Duration = Duration::from_secs(60);
/// How often somebody who waits looks whether to stop.
const TICK: Duration = Duration::from_millis(50);

/// Counts attempts that failed.
pub(super) struct Patience {
    pause: Duration,
    failed: u32,
}

/// An attempt that failed and may succeed next time.
#[derive(Debug)]
pub(super) struct Hitch {
    /// What happened.
    pub(super) why: String,
    /// What the hub asks to wait.
    pub(super) wait: Option<Duration>,
}

impl Hitch {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), wait: None }
    }
}

impl Patience {
    /// Waits `pause` before the second attempt, and twice as long before each that follows.
    pub(super) fn new(pause: Duration) -> Self {
        Self { pause, failed: 0 }
    }

    /// An attempt came further than the one before.
    pub(super) fn renew(&mut self) {
        self.failed = 0;
    }

    /// An attempt failed: waits, or gives the hitch back if that was the last.
    ///
    /// # Errors
    /// If this was the last attempt, or somebody asked to stop.
    pub(super) fn after(&mut self, hitch: Hitch, watch: &dyn Watch) -> Result<(), Ended> {
        self.failed += 1;
        if self.failed >= ATTEMPTS {
            return Err(Ended::Exhausted(hitch));
        }
        let wait = hitch.wait.unwrap_or(self.pause * 2_u32.pow(self.failed - 1)).min(LONGEST);
        watch.warn(&format!("{}; trying again in {:.1} s", hitch.why, wait.as_secs_f64()));
        let started = Instant::now();
        while let Some(left) = wait.checked_sub(started.elapsed()).filter(|left| !left.is_zero()) {
            if watch.stopped() {
                return Err(Ended::Stopped);
            }
            std::thread::sleep(left.min(TICK));
        }
        Ok(())
    }
}

/// Why nothing is tried any more.
#[derive(Debug)]
pub(super) enum Ended {
    /// It failed too often.
    Exhausted(Hitch),
    /// Somebody asked to stop.
    Stopped,
}

/// How often it was tried, for messages.
pub(super) fn attempts() -> String {
    format!("{ATTEMPTS} attempts")
}

/// Waits for something that somebody else has, looking again and again; an error if somebody asks to stop.
///
/// # Errors
/// [`Error::Stopped`] then, and what `look` returns.
pub(super) fn until<T>(
    watch: &dyn Watch,
    waiting: &str,
    mut look: impl FnMut() -> std::io::Result<Option<T>>,
) -> Result<T, Error> {
    let mut said = false;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if watch.stopped() {
            return Err(Error::Stopped);
        }
        if !std::mem::replace(&mut said, true) {
            watch.say(waiting);
        }
        std::thread::sleep(TICK);
    }
}
