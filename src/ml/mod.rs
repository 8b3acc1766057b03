//! Models, tasks and learning: mathematics on values in memory. No files, no YAML, no cache.

pub mod batch;
pub mod batcher;
pub mod clustering;
pub mod error;
pub mod examples;
pub mod kernels;
pub mod metrics;
pub mod mixture;
pub mod model_tuning;
pub mod optim;
pub mod peft;
pub mod pretrain;
pub mod prompt;
pub mod prompt_file;
pub mod random;
pub mod similarity;
pub mod spiece;
pub mod statistics;
pub mod t5;
pub mod tasks;
pub mod tokens;
pub mod train;
pub mod vocabulary;
pub mod weight_gradients;
pub mod weight_optimizer;
pub mod world;
