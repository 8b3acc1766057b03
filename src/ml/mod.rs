//! Models, tasks and learning: mathematics on values in memory. No files, no YAML, no cache.

pub mod batcher;
pub mod error;
pub mod generate;
pub mod metadata;
pub mod metrics;
pub mod model;
pub mod pointer;
pub mod prompt;
pub mod random;
pub mod statistics;
pub mod tasks;
pub mod text;
pub mod torch;
pub mod train;
pub mod world;
