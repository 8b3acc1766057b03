//! How fast a job advances, for the people who wait for it.

use std::time::{Duration, Instant};

/// Counts steps and tokens since a job began or went on.
pub(super) struct Pace {
    start: Instant,
    steps: u64,
    tokens: usize,
    shown: Instant,
    /// What else there is to say: `loss 0.312 · score 81.2`.
    pub(super) note: String,
}

/// Time between two reports.
const OFTEN: Duration = Duration::from_millis(500);

impl Pace {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { start: now, steps: 0, tokens: 0, shown: now, note: String::new() }
    }

    /// Counts a step; whether it is time for a report.
    pub(super) fn count(&mut self, tokens: usize) -> bool {
        self.steps += 1;
        self.tokens += tokens;
        let due = self.shown.elapsed() >= OFTEN;
        if due {
            self.shown = Instant::now();
        }
        due
    }

    /// The note, steps and tokens a second, and the time that `left` more steps take.
    pub(super) fn text(&self, left: u64) -> String {
        let seconds = self.start.elapsed().as_secs_f64();
        let mut parts = Vec::new();
        if !self.note.is_empty() {
            parts.push(self.note.clone());
        }
        if self.steps > 0 && seconds > 0.0 {
            let rate = self.steps as f64 / seconds;
            parts.push(format!("{rate:.1} steps/s"));
            parts.push(format!("{:.0} tokens/s", self.tokens as f64 / seconds));
            parts.push(time_left(left as f64 / rate));
        }
        parts.join(" · ")
    }
}

fn time_left(seconds: f64) -> String {
    match seconds {
        left if left < 100.0 => format!("{left:.0} s left"),
        left if left < 6000.0 => format!("{:.0} min left", left / 60.0),
        left => format!("{:.1} h left", left / 3600.0),
    }
}

/// Counts rows since a job began with them.
pub(super) struct RowPace {
    start: Instant,
    shown: Instant,
    /// So far.
    pub(super) rows: usize,
}

impl RowPace {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { start: now, shown: now, rows: 0 }
    }

    /// Whether it is time for a report.
    pub(super) fn is_due(&mut self) -> bool {
        let due = self.shown.elapsed() >= OFTEN;
        if due {
            self.shown = Instant::now();
        }
        due
    }

    /// Rows, rows a second, and the time that the others of `all` take, if their number is known.
    pub(super) fn text(&self, all: Option<usize>) -> String {
        let rate = self.rows as f64 / self.start.elapsed().as_secs_f64().max(1e-3);
        let mut parts = vec![format!("{} rows", self.rows), format!("{rate:.0} rows/s")];
        parts.extend(all.map(|all| time_left(all.saturating_sub(self.rows) as f64 / rate.max(1e-3))));
        parts.join(" · ")
    }
}
