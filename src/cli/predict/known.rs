//! The prompts that answer rows, each with what is known of its task.

use crate::cli::prompt::given::{self, Given};
use crate::data::read_task;
use crate::engine::store::Store;
use crate::engine::store::catalog::Catalog;
use crate::engine::store::digest::Digest;
use crate::ml::batcher::{Batcher, Client};
use crate::ml::generate::check_apart;
use crate::ml::prompt::Prompt;
use crate::ml::tasks::{Task, Template, fills};
use crate::stages::backbone::Model;
use anyhow::Context as _;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// A prompt, ready to answer.
pub(super) struct Known {
    pub(super) client: Client,
    pub(super) prompt: Prompt,
    /// What makes an input of columns, if that is known.
    pub(super) template: Option<Template>,
    /// The answers to choose among, and their ids with eos; empty if answers are free.
    pub(super) labels: Vec<(String, Vec<u32>)>,
}

/// What the command line says of all prompts.
pub(super) struct Said {
    /// In place of the tasks' own.
    pub(super) template: Option<Template>,
    /// Inputs are complete, whatever the task's template.
    pub(super) complete: bool,
    /// In place of the tasks' own.
    pub(super) labels: Option<Vec<String>>,
}

/// All prompts that were named so far, for one model.
pub(super) struct Prompts<'a> {
    store: Arc<Store>,
    catalog: Catalog,
    batcher: &'a Batcher,
    model: &'a Model,
    /// Digest of the backbone artifact, where the model is from one.
    backbone: Option<Digest>,
    said: Said,
    known: HashMap<String, Rc<Known>>,
}

/// Different prompts that one call holds in memory.
const MOST: usize = 4096;

impl<'a> Prompts<'a> {
    pub(super) fn new(
        (store, catalog): (Arc<Store>, Catalog),
        batcher: &'a Batcher,
        (model, backbone): (&'a Model, Option<Digest>),
        said: Said,
    ) -> Self {
        Self { store, catalog, batcher, model, backbone, said, known: HashMap::new() }
    }

    /// The prompt of this name, read when it is named for the first time.
    ///
    /// # Errors
    /// If there is no such prompt, or it is not one of this model.
    pub(super) fn get(&mut self, name: &str) -> anyhow::Result<Rc<Known>> {
        if let Some(known) = self.known.get(name) {
            return Ok(known.clone());
        }
        anyhow::ensure!(
            self.known.len() < MOST,
            "more than {MOST} different prompts; answer the rows of some at a time"
        );
        let given = given::read(name, &self.store, &self.catalog)?;
        self.add(name, given)
    }

    /// Makes a prompt that was read known by a name.
    ///
    /// # Errors
    /// If it is not one of this model.
    pub(super) fn add(&mut self, name: &str, given: Given) -> anyhow::Result<Rc<Known>> {
        let known = Rc::new(self.ready(given).with_context(|| format!("prompt `{name}`"))?);
        self.known.insert(name.to_owned(), known.clone());
        Ok(known)
    }

    fn ready(&self, given: Given) -> anyhow::Result<Known> {
        given.prompt.fits(self.model.weights.dims.width)?;
        if let Some(backbone) = self.backbone {
            given.about.check_backbone(&backbone.to_string())?;
        }
        let task = self.task(&given)?;
        let (labels, template) = task.map_or_else(Default::default, |(task, template)| (task.labels, template));
        let labels = self.said.labels.clone().unwrap_or(labels);
        let ids = labels.iter().map(|label| self.model.tokens.encode(label, usize::MAX));
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        check_apart(&labels, &ids)?;
        let template = match &self.said {
            Said { complete: true, .. } => None,
            Said { template: Some(template), .. } => Some(template.clone()),
            Said { .. } => template.and_then(|template| Template::parse(&template).ok()),
        };
        let client = self.batcher.client(&given.name);
        Ok(Known { client, prompt: given.prompt, template, labels: labels.into_iter().zip(ids).collect() })
    }

    /// The task of a prompt and its template, by the data that the prompt was tuned on, if they are in the cache. A name alone would
    /// not do: it says neither whether inputs began with it nor what the labels were.
    fn task(&self, given: &Given) -> anyhow::Result<Option<(Task, Option<String>)>> {
        let Some(name) = &given.about.task else { return Ok(None) };
        let entries = given.digest.iter().flat_map(|digest| self.catalog.makers(digest)).map(|(entry, _)| entry);
        for (_, input) in entries.flat_map(|entry| &entry.recipe.inputs) {
            let is_data = |(_, made): &(&_, &str)| *made == "dataset";
            if !self.catalog.makers(input).any(|maker| is_data(&maker)) {
                continue;
            }
            let (task, template) = read_task(&self.store.read(input, "dataset")?)?;
            if task.name == *name {
                let template = Some(template).filter(|template| !template.is_empty() && fills(&task));
                return Ok(Some((task, template)));
            }
        }
        Ok(None)
    }
}
