//! The table of kinds, and nothing else.

pub mod backbone;
pub mod catalogue;
mod checkpoint;
mod checkpoint_files;
mod checkpoint_weights;
mod class_labels;
pub mod combine;
pub mod command;
mod corpus;
mod curve;
pub mod embed;
pub mod evaluate;
mod hub;
pub mod ingest;
mod learning;
mod mixture;
mod names;
mod pace;
pub mod predict;
pub mod pretrain;
pub mod prompt;
pub mod rank;
mod reading;
pub mod report;
pub mod submission;
pub mod training;
pub mod transfer;
pub mod tune;
pub mod tune_model;
mod word;

use crate::engine::stage::{Kind, Type};

/// A frozen model: configuration, tokenizer, weights.
pub const BACKBONE: Type = Type("backbone");
/// A task's examples, tokenised.
pub const DATASET: Type = Type("dataset");
/// What is to be known of a data set before anything is learned from it.
pub const CARD: Type = Type("data card");
/// A soft prompt.
pub const PROMPT: Type = Type("prompt");
/// Soft prompts of one tuning at named steps.
pub const CHECKPOINTS: Type = Type("checkpoints");
/// A prompt as the embedding of its task.
pub const EMBEDDING: Type = Type("embedding");
/// Source prompts by similarity to a target.
pub const RANKING: Type = Type("ranking");
/// Metrics of a prompt on a split.
pub const SCORES: Type = Type("scores");
/// What a prompt made the model say, example by example.
pub const PREDICTIONS: Type = Type("predictions");
/// How many rows were answered, and what happened to them.
pub const COUNTS: Type = Type("counts");
/// The running moments of an optimiser of all weights.
pub const OPTIMIZER: Type = Type("optimizer");
/// Losses and scores over steps.
pub const CURVE: Type = Type("curve");
/// The same for TensorBoard.
pub const EVENTS: Type = Type("events");
/// What became of each source that a transfer tried.
pub const TRIALS: Type = Type("trials");
/// The files of a leaderboard.
pub const SUBMISSION: Type = Type("submission");
/// A results table.
pub const REPORT: Type = Type("report");

/// Every kind of stage.
pub static ALL: &[Kind] = &[
    Kind::of::<backbone::Backbone>(),
    Kind::of::<pretrain::Pretrain>(),
    Kind::of::<ingest::Ingest>(),
    Kind::of::<tune::Tune>(),
    Kind::of::<tune_model::TuneModel>(),
    Kind::of::<prompt::Given>(),
    Kind::of::<combine::Combine>(),
    Kind::of::<embed::Embed>(),
    Kind::of::<rank::Rank>(),
    Kind::of::<transfer::Transfer>(),
    Kind::of::<evaluate::Evaluate>(),
    Kind::of::<predict::Predict>(),
    Kind::of::<submission::Submission>(),
    Kind::of::<report::Report>(),
    Kind::of::<command::Command>(),
];
