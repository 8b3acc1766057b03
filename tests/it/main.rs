//! End-to-end tests: the real `spot` in temporary folders.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod analyse;
mod bad_input;
mod browser;
mod cards;
mod checkpoints;
mod combine;
mod commands;
mod completions;
mod diff;
mod doctor;
mod edits;
mod formats;
mod forms;
mod gc;
mod hub;
mod integrity;
mod kinds;
mod leaks;
mod mixtures;
mod mock_hub;
mod model_tuning;
mod models;
mod own_tasks;
mod page;
mod predict;
mod prompts;
mod reading;
mod run;
mod shell;
mod study;
mod submission;
mod tidy;
mod torch_files;
