//! From a manifest to a plan, from a plan to entries in the store. No tensors, and no task is known here: the kinds of
//! stages come in as a table.

pub mod check;
pub mod context;
pub mod files_input;
pub mod input;
pub mod library;
pub mod manifest;
pub mod plan;
pub mod remote;
pub mod resources;
pub mod run;
pub mod sharing;
pub mod signing;
pub mod stage;
pub mod store;

#[cfg(test)]
mod requests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod toys;
