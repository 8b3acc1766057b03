//! From a manifest to a plan, from a plan to entries in the store. No tensors, and no task is known here: the kinds of
//! stages come in as a table.

pub mod audit;
pub mod catalog;
pub mod content;
pub mod context;
pub mod digest;
mod draft;
pub mod entry;
pub mod file_input;
pub mod files;
pub mod gc;
pub mod graph;
mod history;
mod issue;
mod jobs;
pub mod journal;
mod link;
pub mod manifest;
mod matrix;
mod memory;
pub mod node;
pub mod plan;
pub mod problem;
mod profile;
pub mod provenance;
pub mod recipe;
mod reference;
pub mod rerun;
pub mod run;
pub mod schema;
mod shared;
pub mod stage;
pub mod state;
pub mod store;
mod variables;

#[cfg(test)]
mod manifest_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod toys;
