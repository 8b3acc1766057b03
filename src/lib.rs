//! SPoT: soft prompt transfer for frozen T5 models (Vu et al., ACL 2022), as one cached and audited pipeline.

mod braces;
pub mod cli;
pub mod data;
pub mod engine;
pub mod error;
pub mod hub;
pub mod ml;
mod panic;
pub mod remote;
mod replace;
pub mod report;
pub mod stages;
pub mod trust;
pub mod ui;
mod units;
