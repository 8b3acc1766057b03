//! From a manifest to a plan, from a plan to entries in the store. No tensors, and no task is known here: the kinds of
//! stages come in as a table.

pub mod context;
pub mod digest;
pub mod manifest;
pub mod node;
pub mod plan;
pub mod problem;
mod reference;
pub mod stage;
mod variables;
