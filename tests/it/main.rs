//! End-to-end tests: the real `spot` in temporary folders.

mod bad_input;
mod edits;
mod formats;
mod integrity;
mod run;
mod shell;
mod tidy;
