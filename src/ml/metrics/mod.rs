//! Measures of quality, as T5 and the official scripts of GLUE, SuperGLUE and SQuAD take them.
//!
//! All are in 0..=100, correlations in -100..=100, and none is ever NaN: where the usual formula divides by zero (constant
//! predictions, no example), the result is 0. In all of them more is better. `table.rs` is the list of them.

mod answers;
mod bleu;
mod classes;
mod drop;
mod rouge;
mod sari;
mod sets;
mod table;

pub use answers::{Texts, names_referent};
pub use classes::{Classes, ILLEGAL, first_of_groups};
pub(crate) use drop::BETWEEN;
pub(crate) use sets::{BETWEEN_LABELS, NO_LABEL};
pub use table::{Answers, Metric, Needs};
