//! The arguments that say which pipeline is meant, and which of its jobs.

use super::project;
use crate::engine::manifest::problem::suggestion;
use crate::engine::manifest::project::FOLDER;
use crate::engine::manifest::{self, Options};
use crate::engine::plan::Plan;
use crate::engine::stage::Kind;
use crate::error::Usage;
use clap::{Args, ValueHint};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Which pipeline, and how.
#[derive(Args)]
pub(super) struct Pipeline {
    /// A manifest: a path, or a name in `pipelines/`
    #[arg(value_name = "PIPE", value_hint = ValueHint::FilePath, value_parser = project::name())]
    pipe: String,
    #[command(flatten)]
    settings: Settings,
}

/// How a manifest is read.
#[derive(Args)]
pub(super) struct Settings {
    /// Profile of the manifest; several, separated by commas, are applied one over the other [default: its first]
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
    /// Set a variable or a field, over manifest and profile
    #[arg(long, value_name = "A.B=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
}

impl Pipeline {
    /// Loads the manifest.
    ///
    /// # Errors
    /// If there is no such manifest, or it is wrong.
    pub(super) fn load(&self, kinds: &[Kind]) -> anyhow::Result<Plan> {
        self.settings.load(&self.pipe, kinds)
    }

    /// The manifest as it was named.
    pub(super) fn name(&self) -> &str {
        &self.pipe
    }

    /// The manifest.
    ///
    /// # Errors
    /// If there is no such manifest.
    pub(super) fn manifest(&self) -> Result<PathBuf, Usage> {
        find(&self.pipe)
    }

    /// Loads the manifest as others read it.
    ///
    /// # Errors
    /// If there is no such manifest, or it is wrong.
    pub(super) fn load_as(&self, settings: &Settings, kinds: &[Kind]) -> anyhow::Result<Plan> {
        settings.load(&self.pipe, kinds)
    }

    /// The words of a command line that read a manifest in the same way.
    pub(super) fn words(&self) -> Vec<String> {
        let Settings { profile, set } = &self.settings;
        let profile = profile.iter().flat_map(|profile| ["--profile".to_owned(), profile.clone()]);
        let set = set.iter().flat_map(|(path, value)| ["--set".to_owned(), format!("{path}={value}")]);
        profile.chain(set).collect()
    }

    /// Whether anything says how the manifest is to be read.
    pub(super) fn is_set(&self) -> bool {
        self.settings.profile.is_some() || !self.settings.set.is_empty()
    }

    pub(super) fn into_settings(self) -> Settings {
        self.settings
    }
}

impl Settings {
    /// Loads the manifest that `pipe` names.
    ///
    /// # Errors
    /// If there is no such manifest, or it is wrong.
    pub(super) fn load(&self, pipe: &str, kinds: &[Kind]) -> anyhow::Result<Plan> {
        let environment = |name: &str| std::env::var(name).ok();
        let options = Options { profile: self.profile.as_deref(), set: &self.set, environment: &environment };
        Ok(manifest::load(&find(pipe)?, kinds, &options)?)
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (path, value) = text.split_once('=').ok_or("expected `path=value`, such as `vars.steps=100`")?;
    Ok((path.trim().to_owned(), value.to_owned()))
}

/// The manifest that is meant.
///
/// # Errors
/// If there is no such manifest; names one that is spelt alike.
pub(super) fn find(pipe: &str) -> Result<PathBuf, Usage> {
    let named = Path::new(FOLDER).join(pipe);
    let candidates = [PathBuf::from(pipe), named.clone(), with_yaml(&named), with_yaml(Path::new(pipe))];
    if let Some(found) = candidates.into_iter().find(|path| path.is_file()) {
        return Ok(found);
    }
    let known = names();
    let known = suggestion(pipe, known.iter().map(String::as_str));
    Err(Usage(format!("no manifest `{pipe}`, neither as a path nor in `{FOLDER}/`{known}")))
}

fn with_yaml(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".yaml");
    PathBuf::from(name)
}

/// The manifests in `pipelines/`, in the order of their names.
pub(super) fn manifests() -> Vec<PathBuf> {
    names().iter().map(|name| with_yaml(&Path::new(FOLDER).join(name))).collect()
}

fn names() -> Vec<String> {
    let items = fs_err::read_dir(FOLDER).into_iter().flatten().flatten();
    let names = items.filter_map(|item| item.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter_map(|name| name.strip_suffix(".yaml").map(str::to_owned)).collect();
    names.sort();
    names
}

/// The jobs that patterns stand for: a job, a stage, or a stage with `*` for any value. A job that another asks for while it
/// runs (`transfer[rte]/mnli,0`) is taken as it is written, since it may not be known yet.
///
/// # Errors
/// If a pattern stands for no job.
pub(super) fn select(plan: &Plan, patterns: &[String]) -> Result<BTreeSet<String>, Usage> {
    let mut selected = BTreeSet::new();
    for pattern in patterns {
        if let Some((parent, _)) = pattern.split_once('/') {
            plan.find(parent).map_err(Usage)?;
            selected.insert(pattern.clone());
        } else {
            let jobs = plan.select(pattern).map_err(Usage)?;
            selected.extend(jobs.into_iter().map(|job| plan.graph[job].name.clone()));
        }
    }
    Ok(selected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_splits_at_its_first_equals_sign() {
        assert_eq!(assignment("vars.a = x=y").unwrap(), ("vars.a".to_owned(), " x=y".to_owned()));
        assert!(assignment("vars.a").is_err());
    }
}
