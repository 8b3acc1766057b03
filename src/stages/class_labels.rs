//! The labels with which `init: class_labels` begins a prompt (Lester et al. 2021, section 2.1).

use super::mixture::Tasks;
use crate::data::Dataset;
use crate::engine::context::Cx;
use anyhow::bail;
use std::collections::BTreeSet;

/// The words that Lester et al. took for tasks of SuperGLUE whose answers are free text.
const WORDS: [(&str, &str); 2] =
    [("record", "commonsense reasoning reading comprehension"), ("wsc", "commonsense pronoun resolution")];

/// The labels of a task, or of all tasks of a mixture, each once. A mixture may have tasks without labels, which add none.
///
/// # Errors
/// If no task has labels: rows of the vocabulary would be another initialiser than the one that was asked for.
pub(super) fn labels<'t>(cx: &Cx<'_>, tasks: &'t Tasks) -> anyhow::Result<Vec<&'t str>> {
    let (with, without): (Vec<&Dataset>, Vec<&Dataset>) =
        tasks.0.iter().map(|learned| &learned.data).partition(|dataset| !dataset.task.labels.is_empty());
    if with.is_empty() {
        bail!("{}", refusal(&without));
    }
    if !without.is_empty() {
        let names = names(&without);
        cx.progress()
            .warn(&format!("`init: class_labels` begins with the labels of the other tasks, as {names} have none"));
    }
    let labels = with.iter().flat_map(|dataset| &dataset.task.labels).map(String::as_str);
    // Tasks of a mixture may share labels.
    let mut seen = BTreeSet::new();
    Ok(labels.filter(|label| seen.insert(*label)).collect())
}

fn names(datasets: &[&Dataset]) -> String {
    datasets.iter().map(|dataset| format!("`{}`", dataset.task.name)).collect::<Vec<_>>().join(", ")
}

fn refusal(without: &[&Dataset]) -> String {
    let known = |dataset: &&Dataset| {
        let name = dataset.task.name.rsplit('/').next().unwrap_or_default();
        WORDS.iter().find(|(task, _)| *task == name).map(|(_, words)| *words)
    };
    let words: Vec<&str> = without.iter().filter_map(known).collect();
    let (text, whose) = match words.is_empty() {
        true => ("words that describe the task".to_owned(), ""),
        false => (words.join(" "), "; the words are those of Lester et al. 2021"),
    };
    format!(
        "`init: class_labels` finds no labels, as answers of {} are free text or numbers; `init: {{text: \"{text}\"}}` begins \
         with a row for each piece of these words{whose}, and `init: {{sampled_vocabulary: {{}}}}` with none",
        names(without)
    )
}
