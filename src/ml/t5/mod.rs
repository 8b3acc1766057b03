//! T5 v1.0 and v1.1 (Raffel et al. 2020; Shazeer 2020), with a soft prompt in front of the encoder's input.
//!
//! Shapes use one alphabet: B batch, T text length, P prompt length, E embedding width, V vocabulary, R runs;
//! and inside the model H heads, D width of a head, I = H·D, F feed-forward width.

mod beam;
mod cross;
mod decode;
#[cfg(test)]
mod decode_tests;
pub mod device;
mod dims;
mod engine;
pub mod fast;
mod generation;
#[cfg(test)]
mod golden;
mod layout;
mod memory;
pub mod position;
mod rank;
pub mod reference;
mod sample;
mod shards;
mod site;
#[cfg(test)]
mod tests;
mod weights;

pub use beam::{Beam, Hypothesis};
pub use candle_transformers::models::t5::Config;
pub use dims::{Dims, Head};
pub use engine::{Engine, devices, open};
pub use generation::Generation;
pub use layout::{Layout, Place, Slot};
pub use memory::{Counts, Rows};
pub use rank::LabelScore;
pub use sample::Sample;
pub use shards::Shard;
pub use weights::{Precision, Weights};
