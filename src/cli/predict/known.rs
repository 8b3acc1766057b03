//! The prompts that rows name, read when they are named for the first time.

use crate::cli::prompt::given::{self, Given};
use crate::engine::store::Store;
use crate::engine::store::catalog::Catalog;
use crate::engine::store::digest::Digest;
use crate::error::Usage;
use crate::ml::batcher::Batcher;
use crate::stages::backbone::Model;
use crate::stages::predict::{Asked, Prompts, Ready, Said};
use anyhow::Context as _;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// All prompts that were named so far, for one model.
pub(super) struct Named<'a> {
    pub(super) store: Arc<Store>,
    pub(super) catalog: Catalog,
    pub(super) batcher: &'a Batcher,
    pub(super) model: &'a Model,
    /// Digest of the backbone artifact, where the model is from one.
    pub(super) backbone: Option<Digest>,
    pub(super) said: &'a Said,
    /// The prompt of rows that name none.
    pub(super) usual: Option<&'a str>,
    pub(super) known: HashMap<String, Rc<Ready>>,
}

/// Different prompts that one call holds in memory.
const MOST: usize = 4096;

impl Prompts for Named<'_> {
    fn get(&mut self, name: Option<&str>) -> anyhow::Result<Rc<Ready>> {
        let name = name.or(self.usual).ok_or_else(no_prompt)?;
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
}

impl Named<'_> {
    /// Makes a prompt that was read known by a name.
    ///
    /// # Errors
    /// If it is not one of this model.
    pub(super) fn add(&mut self, name: &str, given: Given) -> anyhow::Result<Rc<Ready>> {
        let known = Rc::new(self.ready(given).with_context(|| format!("prompt `{name}`"))?);
        self.known.insert(name.to_owned(), known.clone());
        Ok(known)
    }

    fn ready(&self, given: Given) -> anyhow::Result<Ready> {
        let asked = self.asked(&given)?;
        let client = self.batcher.client(&given.name);
        Ready::new((self.model, self.backbone), client, (given.prompt, &given.about), asked, self.said)
    }

    /// What is known of the task of a prompt, by the data that the prompt was tuned on, if they are in the cache. A name alone would
    /// not do: it says neither whether inputs began with it nor what the labels were.
    fn asked(&self, given: &Given) -> anyhow::Result<Option<Asked>> {
        let Some(name) = &given.about.task else { return Ok(None) };
        let entries = given.digest.iter().flat_map(|digest| self.catalog.makers(digest)).map(|(entry, _)| entry);
        for (_, input) in entries.flat_map(|entry| &entry.recipe.inputs) {
            let is_data = |(_, made): &(&_, &str)| *made == "dataset";
            if !self.catalog.makers(input).any(|maker| is_data(&maker)) {
                continue;
            }
            let asked = Asked::read(&self.store.read(input, "dataset")?)?;
            if asked.task == *name {
                return Ok(Some(asked));
            }
        }
        Ok(None)
    }
}

pub(super) fn no_prompt() -> Usage {
    Usage("no prompt; give `--prompt`, or a `prompt` in every row".to_owned())
}
