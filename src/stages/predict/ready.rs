//! Prompts that answer rows, each with what is known of its task.

use crate::data::{DataError, read_task};
use crate::engine::store::digest::Digest;
use crate::ml::batcher::Client;
use crate::ml::generate::check_apart;
use crate::ml::prompt::Prompt;
use crate::ml::prompt::about::About;
use crate::ml::tasks::{Template, fills};
use crate::stages::backbone::Model;

/// What is said of all prompts, in place of what their tasks say.
#[derive(Default)]
pub struct Said {
    /// In place of the tasks' own.
    pub template: Option<Template>,
    /// Inputs are complete, whatever the task's template.
    pub complete: bool,
    /// In place of the tasks' own.
    pub labels: Option<Vec<String>>,
}

/// Checks labels that somebody wrote.
///
/// # Errors
/// What is wrong with them, in words.
pub fn check_labels(labels: &[String]) -> Result<(), String> {
    if labels.is_empty() {
        return Err("is empty, expected the answers to choose among; without labels answers are free".to_owned());
    }
    if let Some(empty) = labels.iter().find(|label| label.trim().is_empty()) {
        return Err(format!("has the label `{empty}`, which is no text"));
    }
    if let Some(padded) = labels.iter().find(|label| label.trim() != label.as_str()) {
        let trimmed = padded.trim();
        return Err(format!("has `{padded}` with white space around it, which no answer has; write `{trimmed}`"));
    }
    match labels.iter().enumerate().find(|(at, label)| labels[..*at].contains(label)) {
        None => Ok(()),
        Some((_, twice)) => Err(format!("has `{twice}` twice")),
    }
}

/// What a data set says of its task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The name of the task.
    pub task: String,
    /// What makes an input of columns, if anything does.
    pub(super) template: Option<Template>,
    /// The answers to choose among; empty if answers are free.
    pub(super) labels: Vec<String>,
}

impl Asked {
    /// Reads what a data set says, but for its examples.
    ///
    /// # Errors
    /// If the file is damaged, or no data set.
    pub fn read(dataset: &[u8]) -> Result<Self, DataError> {
        let (task, template) = read_task(dataset)?;
        let filled = !template.is_empty() && fills(&task);
        let template = Some(template).filter(|_| filled).and_then(|template| Template::parse(&template).ok());
        let template = template.map(|template| template.spaced(task.spacing));
        Ok(Self { task: task.name, template, labels: task.labels })
    }
}

/// A prompt, ready to answer.
pub struct Ready {
    pub(super) client: Client,
    /// `[P, E]`.
    pub(super) prompt: Prompt,
    /// What makes an input of columns, if that is known.
    pub(super) template: Option<Template>,
    /// The answers to choose among, and their ids with eos; empty if answers are free.
    pub(super) labels: Vec<(String, Vec<u32>)>,
}

impl Ready {
    /// A prompt that asks a model through `client`. What its task is may be unknown; `said` stands above it.
    ///
    /// # Errors
    /// If the prompt is not one of this model, whose artifact has the digest `backbone` where that is known, or the model does not tell
    /// two labels apart.
    pub fn new(
        (model, backbone): (&Model, Option<Digest>),
        client: Client,
        (prompt, about): (Prompt, &About),
        asked: Option<Asked>,
        said: &Said,
    ) -> anyhow::Result<Self> {
        prompt.fits(model.weights.dims.width)?;
        if let Some(backbone) = backbone {
            about.check_backbone(&backbone.to_string())?;
        }
        let Asked { template, labels, .. } = asked.unwrap_or_default();
        let labels = said.labels.clone().unwrap_or(labels);
        let ids = labels.iter().map(|label| model.tokens.encode(label, usize::MAX));
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        check_apart(&labels, &ids)?;
        let template = match said {
            Said { complete: true, .. } => None,
            Said { template: Some(template), .. } => Some(template.clone()),
            Said { .. } => template,
        };
        Ok(Self { client, prompt, template, labels: labels.into_iter().zip(ids).collect() })
    }
}
