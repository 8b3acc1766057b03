//! Results as tables and pages.

pub mod analysis;
mod basis;
mod choices;
pub mod columns;
pub mod compare;
mod derived;
pub mod embeddings;
pub mod evaluation;
mod figures;
mod grid;
pub mod leaks;
mod methods;
pub mod page;
pub mod prediction;
pub mod results;
pub mod similarities;
pub mod spread;
pub mod study;
mod tables;
pub mod transfer;
pub mod transfers;

fn signed(percent: f64) -> String {
    format!("{percent:+.1}")
}

/// A p-value in three digits.
fn probability(p: Option<f64>) -> String {
    match p {
        None => String::new(),
        Some(p) if p < 0.001 => "<0.001".to_owned(),
        Some(p) => format!("{p:.3}"),
    }
}

/// A count of steps: `3,600`.
fn steps(steps: f64) -> String {
    let digits = format!("{steps:.0}");
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).expect("digits")).collect();
    groups.join(",")
}
