//! Results as tables and pages.

pub mod analysis;
pub mod compare;
mod figures;
mod grid;
pub mod page;
pub mod results;
pub mod similarities;
pub mod study;
mod tables;
pub mod transfer;

fn signed(percent: f64) -> String {
    format!("{percent:+.1}")
}
