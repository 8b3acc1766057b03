//! What people see of a run: a progress line on a terminal, plain lines elsewhere, events for programs.

mod events;
mod lines;
mod printable;
mod progress;
mod trace;

use crate::engine::run::reason::Reason;
pub use crate::units::{bytes, seconds};
pub use events::Events;
pub use lines::Lines;
pub(crate) use printable::printable;
use printable::printable_json;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
pub use trace::Trace;

/// Reasons shown of one job; the rest are counted.
const MOST_REASONS: usize = 4;

/// Writes a text for people to standard output; what it quotes of others cannot steer the terminal.
///
/// # Errors
/// If it cannot be written, for one because the reader has closed the pipe.
pub fn print(text: &str) -> io::Result<()> {
    write_out(&printable(text))
}

/// Writes a value in JSON to standard output.
///
/// # Errors
/// As [`print`].
pub fn print_json_text(json: &str) -> io::Result<()> {
    write_out(&printable_json(json))
}

/// Writes data to standard output: every character as it is, but on a terminal, which some would steer.
///
/// # Errors
/// As [`print`].
pub fn print_data(data: &str) -> io::Result<()> {
    if io::stdout().is_terminal() { print(data) } else { write_out(data) }
}

fn write_out(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.is_empty() && !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// Writes a line of JSON to standard output.
///
/// # Errors
/// As [`print`].
pub fn print_json(value: &impl Serialize) -> io::Result<()> {
    print_json_text(&serde_json::to_string(value)?)
}

/// Writes a line to standard error: a word in front, with its colour, and what there is to say. Nobody is left to be told if
/// it cannot be written.
pub fn tell(word: &str, colour: Colour, text: &str) {
    let _ = writeln!(io::stderr(), "{} {}", paint(word, colour), printable(text));
}

/// Writes a line without a word in front to standard error.
pub fn remark(text: &str) {
    let _ = writeln!(io::stderr(), "{}", printable(text));
}

/// Reasons in one line; jobs upstream by their stages.
pub fn reasons(reasons: &[Reason]) -> String {
    let mut texts = Vec::new();
    let mut stages: Vec<&str> = Vec::new();
    for reason in reasons {
        match reason {
            Reason::Upstream(job) => stages.push(job.split(['[', '/']).next().unwrap_or(job)),
            other => texts.push(other.to_string()),
        }
    }
    stages.dedup();
    if !stages.is_empty() {
        texts.push(format!("depends on {}", stages.join(", ")));
    }
    let more = texts.len().saturating_sub(MOST_REASONS);
    texts.truncate(MOST_REASONS);
    if more > 0 {
        texts.push(format!("and {more} more"));
    }
    texts.join("; ")
}

/// Colour of a word on standard error, if that is a terminal and `NO_COLOR` is not set.
pub fn paint(word: &str, colour: Colour) -> String {
    let wanted = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if wanted { format!("\x1b[{}m{word}\x1b[0m", colour as u8) } else { word.to_owned() }
}

/// Colours by their terminal code.
#[derive(Clone, Copy, Debug)]
pub enum Colour {
    /// Something failed.
    Red = 31,
    /// Something was done.
    Green = 32,
    /// Something to look at.
    Yellow = 33,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_reasons_are_counted() {
        let many = vec![Reason::Forced; 6];
        assert_eq!(reasons(&many), "forced; forced; forced; forced; and 2 more");
        let upstream = ["data[a]", "data[b]", "tune[a,0]"].map(|job| Reason::Upstream(job.to_owned()));
        assert_eq!(reasons(&upstream), "depends on data, tune");
    }
}
