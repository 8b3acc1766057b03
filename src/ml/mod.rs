//! Models, tasks and learning: mathematics on values in memory. No files, no YAML, no cache.

pub mod random;
pub mod tasks;
