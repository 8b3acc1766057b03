//! The table of kinds, and nothing else.

pub mod backbone;
pub mod best;
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
mod work;

use crate::engine::stage::{Kind, Type};

// Types: a name, and what files of it end in. A type without an ending cannot be written down.

/// A frozen model: configuration, tokenizer, weights.
pub const BACKBONE: Type = Type::new("backbone", "json");
/// A task's examples, tokenised.
pub const DATASET: Type = Type::new("dataset", "parquet");
/// What is to be known of a data set before anything is learned from it.
pub const CARD: Type = Type::new("data card", "json");
/// What its examples say, as digests.
pub const INPUTS: Type = Type::new("inputs", "parquet");
/// A soft prompt.
pub const PROMPT: Type = Type::new("prompt", "safetensors");
/// Soft prompts of one tuning at named steps.
pub const CHECKPOINTS: Type = Type::new("checkpoints", "safetensors");
/// A prompt as the embedding of its task.
pub const EMBEDDING: Type = Type::new("embedding", "parquet");
/// Source prompts by similarity to a target.
pub const RANKING: Type = Type::new("ranking", "parquet");
/// Metrics of a prompt on a split.
pub const SCORES: Type = Type::new("scores", "parquet");
/// What a prompt made the model say, example by example.
pub const PREDICTIONS: Type = Type::new("predictions", "parquet");
/// How many rows were answered, and what happened to them.
pub const COUNTS: Type = Type::new("counts", "json");
/// The running moments of an optimiser of all weights.
pub const OPTIMIZER: Type = Type::new("optimizer", "safetensors");
/// What a pretrained model can do, skill by skill.
pub const SKILLS: Type = Type::new("skills", "parquet");
/// Losses and scores over steps.
pub const CURVE: Type = Type::new("curve", "parquet");
/// The same for TensorBoard.
pub const EVENTS: Type = Type::new("events", "tfevents");
/// What became of each source that a transfer tried.
pub const TRIALS: Type = Type::new("trials", "parquet");
/// The prompts among which one was chosen.
pub const CANDIDATES: Type = Type::new("candidates", "parquet");
/// The files of a leaderboard.
pub const SUBMISSION: Type = Type::new("submission", "json");
/// The results of a study, for terminals.
pub const REPORT_TEXT: Type = Type::new("report", "txt");
/// The same for documents.
pub const REPORT_MARKDOWN: Type = Type::new("report", "md");
/// The same for machines.
pub const REPORT_JSON: Type = Type::new("report", "json");
/// Of a report a row for each method and target.
pub const REPORT_SCORES: Type = Type::new("report scores", "parquet");
/// Of a report a row for each method.
pub const REPORT_METHODS: Type = Type::new("report methods", "parquet");
/// Of a report a row for each source prompt and target.
pub const REPORT_TRANSFERS: Type = Type::new("report transfers", "parquet");

/// The tables that SQL can ask for: what a type of artifacts is called there. Cards are JSON, with a row for each split.
pub fn table(of: Type) -> Option<String> {
    let is_table = of.ending() == "parquet";
    is_table.then(|| of.name().replace(' ', "_")).or_else(|| (of == CARD).then(|| "card".to_owned()))
}

/// Every kind of stage.
pub static ALL: &[Kind] = &[
    Kind::of::<backbone::Backbone>(),
    Kind::of::<pretrain::Pretrain>(),
    Kind::of::<ingest::Ingest>(),
    Kind::of::<tune::Tune>(),
    Kind::of::<tune_model::TuneModel>(),
    Kind::of::<prompt::Given>(),
    Kind::of::<combine::Combine>(),
    Kind::of::<best::Best>(),
    Kind::of::<embed::Embed>(),
    Kind::of::<rank::Rank>(),
    Kind::of::<transfer::Transfer>(),
    Kind::of::<evaluate::Evaluate>(),
    Kind::of::<predict::Predict>(),
    Kind::of::<submission::Submission>(),
    Kind::of::<report::Report>(),
    Kind::of::<command::Command>(),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::stage::Promise;
    use std::collections::BTreeSet;

    #[test]
    fn every_output_has_a_file_of_its_own_with_an_ending() {
        for kind in ALL {
            let files: Vec<String> = kind.outputs.iter().map(|output| Promise::from(output).file_name()).collect();
            let different: BTreeSet<&String> = files.iter().collect();
            assert_eq!(different.len(), files.len(), "{kind:?}: {files:?}");
            for file in &files {
                assert!(file.contains('.') && file != "entry.json", "{kind:?}: `{file}` says not what it is");
            }
        }
    }

    #[test]
    fn tables_have_names_that_sql_takes_without_quotes() {
        let types: BTreeSet<Type> = ALL.iter().flat_map(|kind| kind.outputs).map(|output| output.of).collect();
        let names: Vec<String> = types.iter().filter_map(|of| table(*of)).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
        assert!(names.iter().flat_map(|name| name.chars()).all(|c| c.is_ascii_lowercase() || c == '_'), "{names:?}");
    }
}
