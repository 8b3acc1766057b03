//! The prompts of a stage: that of rows that name none, and those that rows name.

use super::answering::Prompts;
use super::ready::{Asked, Ready, Said};
use super::role;
use crate::engine::context::{Artifact, Cx};
use crate::engine::manifest::problem::suggestion;
use crate::ml::prompt::file::{PROMPT, PromptFile};
use crate::ml::tasks::shortened;
use crate::stages::backbone::Model;
use crate::stages::reading::{read, read_all};
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Prompts by the names that rows have for them.
pub(super) struct Named {
    usual: Option<Rc<Ready>>,
    by_name: BTreeMap<String, Rc<Ready>>,
}

impl Named {
    /// The prompts among the inputs of a job: `prompt`, and one of each of these names.
    pub(super) fn read<'n>(
        cx: &Cx<'_>,
        model: &Model,
        said: &Said,
        names: impl Iterator<Item = &'n String>,
    ) -> anyhow::Result<Self> {
        let tasks = tasks(cx)?;
        let backbone = cx.one("backbone")?;
        let ready = |role: &str, artifact: &Artifact| {
            let PromptFile { about, prompts } = read(role, artifact, PromptFile::from_bytes)?;
            let shown = || format!("`{role}`: `{}`", artifact.origin());
            let prompt = prompts.get(PROMPT).with_context(|| format!("{}: no tensor `{PROMPT}`", shown()))?.clone();
            let asked = of_task(&tasks, about.task.as_deref()).with_context(shown)?;
            let model = (model, Some(backbone.digest));
            let client = model.0.client(cx, backbone)?;
            Ready::new(model, client, (prompt, &about), asked, said).map(Rc::new).with_context(shown)
        };
        let usual = cx.many("prompt").first().map(|artifact| ready("prompt", artifact)).transpose()?;
        let named = |name: &String| Ok((name.clone(), ready(&role(name), cx.one(&role(name))?)?));
        Ok(Self { usual, by_name: names.map(named).collect::<anyhow::Result<_>>()? })
    }
}

impl Prompts for Named {
    fn get(&mut self, name: Option<&str>) -> anyhow::Result<Rc<Ready>> {
        let Some(name) = name else {
            let message = "no field `prompt`, expected one of the names in `prompts`; a `prompt` of the stage is for rows without";
            return self.usual.clone().context(message);
        };
        if let Some(ready) = self.by_name.get(name) {
            return Ok(ready.clone());
        }
        let shown = shortened(name);
        if self.by_name.is_empty() {
            bail!(
                "`prompt` is `{shown}`, but the stage names none; give `prompts` a job for this name, or leave the field out of \
                 the rows"
            );
        }
        let hint = suggestion(name, self.by_name.keys().map(String::as_str));
        bail!("`prompt` is `{shown}`, which is no name in `prompts`{hint}")
    }
}

/// What the data sets of a job say of their tasks.
fn tasks(cx: &Cx<'_>) -> anyhow::Result<Vec<Asked>> {
    let mut tasks: Vec<Asked> = Vec::new();
    for asked in read_all(cx, "data", Asked::read)? {
        match tasks.iter().find(|known| known.task == asked.task) {
            Some(known) if *known == asked => {}
            Some(Asked { task, .. }) => {
                bail!("`data` has two data sets of `{task}`, with other templates or labels; name one of them")
            }
            None => tasks.push(asked),
        }
    }
    Ok(tasks)
}

/// What is known of the task of a prompt; nothing where no data set is given.
fn of_task(tasks: &[Asked], task: Option<&str>) -> anyhow::Result<Option<Asked>> {
    let found = tasks.iter().find(|asked| Some(asked.task.as_str()) == task);
    if found.is_none() && !tasks.is_empty() {
        let names: Vec<&str> = tasks.iter().map(|asked| asked.task.as_str()).collect();
        bail!(
            "its task is `{}`, but `data` is of `{}`; add the data set of its task, or say `template` and `labels` in place of `data`",
            task.unwrap_or("not known"),
            names.join("`, `")
        );
    }
    Ok(found.cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_of_one_of_the_tasks_that_are_given() {
        let asked = |task: &str| Asked { task: task.to_owned(), ..Asked::default() };
        assert_eq!(of_task(&[], Some("mood")).unwrap(), None);
        assert_eq!(of_task(&[asked("animal"), asked("mood")], Some("mood")).unwrap(), Some(asked("mood")));
        let error = of_task(&[asked("animal"), asked("mood")], Some("moot")).unwrap_err().to_string();
        assert!(error.starts_with("its task is `moot`, but `data` is of `animal`, `mood`; add"), "{error}");
    }

    #[test]
    fn names_that_are_not_there_are_told_with_those_that_are() {
        let mut none = Named { usual: None, by_name: BTreeMap::new() };
        let error = |prompts: &mut Named, name| prompts.get(name).map(drop).unwrap_err().to_string();
        assert!(error(&mut none, None).starts_with("no field `prompt`"));
        assert!(error(&mut none, Some("x")).contains("`prompt` is `x`, but the stage names none"));
    }
}
