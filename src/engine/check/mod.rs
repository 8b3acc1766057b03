//! Checks of a store, and what of it can go.

pub mod audit;
pub mod gc;
pub mod require;
pub mod rerun;
