//! T5 v1.0 and v1.1 (Raffel et al. 2020; Shazeer 2020), with a soft prompt in front of the encoder's input.
//!
//! Shapes use one alphabet: B batch, T text length, P prompt length, E embedding width, V vocabulary, R runs;
//! and inside the model H heads, D width of a head, I = H·D, F feed-forward width.

pub mod arithmetic;
pub mod batch;
mod config;
pub mod cpu;
pub(super) mod decoder;
mod engine;
#[cfg(test)]
pub(super) mod golden;
pub mod gpu;
mod layout;
mod memory;
mod packed;
pub mod position;
#[cfg(test)]
mod reference;
mod shards;
mod site;
mod stack;
#[cfg(test)]
mod tests;
mod weights;

pub use candle_transformers::models::t5::Config;
pub use config::{Dims, Head};
pub use cpu::kernels::{CrossEntropy, Dropout, Key, Sharing};
pub use engine::{Engine, devices, open};
pub use layout::{Layout, Place, Slot};
pub use memory::{Counts, Rows};
pub use packed::{Bytes, pack};
pub use shards::Shard;
pub use weights::{Precision, Weights};
