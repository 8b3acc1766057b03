//! The jobs of a plan and those that they ask for while they run, and what each of them reads.

use crate::engine::context::{Artifact, Cx, Expanded, Read, Readers};
use crate::engine::plan::{Plan, PlannedInput, Source};
use crate::engine::remote::{Presence, Remote};
use crate::engine::stage::{Given, Job, Kind, Promise, Spec};
use crate::engine::store::digest::Digest;
use crate::engine::store::files;
use crate::engine::store::provenance::Origin;
use crate::engine::store::recipe::Recipe;
use crate::engine::store::{self, Store};
use anyhow::Context as _;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Index of a job. Those of the plan come first, in its order.
pub(super) type Id = usize;

/// The jobs known so far. Grows while jobs expand.
pub(super) struct Jobs {
    list: Vec<Known>,
}

/// A job, and what is known of it.
pub(super) struct Known {
    pub(super) name: String,
    pub(super) stage: String,
    pub(super) kind: Kind,
    pub(super) job: Arc<dyn Job>,
    feeds: Feeds,
    /// The jobs that it asked for and what it calls them, once it has been asked.
    pub(super) children: Option<Vec<(String, Id)>>,
    /// What it made, once it is done.
    pub(super) outputs: Option<Vec<(Arc<str>, Artifact)>>,
    readers: Arc<Readers>,
}

enum Feeds {
    Planned(Vec<PlannedInput>),
    Given(Vec<(String, Due)>),
}

/// What a job reads that another job asked for.
enum Due {
    Made(Artifact),
    /// An output of a job.
    Of(Id, &'static str),
}

/// A job with everything known that it reads but the content of files: what a worker needs.
pub(super) struct Order {
    pub(super) id: Id,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) job: Arc<dyn Job>,
    feeds: Vec<Feed>,
    /// The finished jobs it asked for; `None` until it has been asked. Jobs of kinds that never ask have asked for none.
    pub(super) expanded: Option<Vec<Expanded>>,
    readers: Arc<Readers>,
}

enum Feed {
    /// Artifacts with one role; several are sorted by digest.
    Made(String, Vec<Artifact>),
    File(String, PathBuf),
    Folder(String, PathBuf, fn(&[String]) -> Vec<String>),
    Remote(String, Arc<dyn Remote>),
}

/// A file that a job reads and that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("input `{role}`")]
pub(super) struct UnreadableInput {
    role: String,
    #[source]
    error: io::Error,
}

impl Jobs {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut read: Vec<BTreeSet<Arc<str>>> = vec![BTreeSet::new(); plan.graph.node_count()];
        let mut of_stages: BTreeMap<&str, BTreeSet<Arc<str>>> = BTreeMap::new();
        for input in plan.graph.node_weights().flat_map(|job| &job.inputs) {
            let made = match &input.source {
                Source::Output(from, output) => &[(*from, output.clone())][..],
                Source::Outputs(many) => many,
                Source::File(_) | Source::Folder(..) | Source::Remote(_) => &[],
            };
            for (from, output) in made {
                read[from.index()].insert(output.clone());
                of_stages.entry(&plan.graph[*from].stage).or_default().insert(output.clone());
            }
        }
        let known = |(job, of_job): (&crate::engine::plan::Planned, BTreeSet<Arc<str>>)| Known {
            name: job.name.clone(),
            stage: job.stage.clone(),
            kind: job.kind,
            job: job.job.clone(),
            feeds: Feeds::Planned(job.inputs.clone()),
            children: None,
            outputs: None,
            readers: Arc::new(Readers {
                of_job,
                of_stage: of_stages.get(job.stage.as_str()).cloned().unwrap_or_default(),
            }),
        };
        Self { list: plan.graph.node_weights().zip(read).map(known).collect() }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn get(&self, id: Id) -> &Known {
        &self.list[id]
    }

    pub(super) fn get_mut(&mut self, id: Id) -> &mut Known {
        &mut self.list[id]
    }

    /// The jobs whose outputs a job reads, each once; for one that expanded, the jobs that it asked for too.
    pub(super) fn upstream(&self, id: Id) -> BTreeSet<Id> {
        let known = &self.list[id];
        let mut jobs: BTreeSet<Id> = known.children.iter().flatten().map(|(_, child)| *child).collect();
        match &known.feeds {
            Feeds::Planned(inputs) => {
                for input in inputs {
                    match &input.source {
                        Source::Output(node, _) => drop(jobs.insert(node.index())),
                        Source::Outputs(many) => jobs.extend(many.iter().map(|(node, _)| node.index())),
                        Source::File(_) | Source::Folder(..) | Source::Remote(_) => {}
                    }
                }
            }
            Feeds::Given(due) => jobs.extend(due.iter().filter_map(|(_, due)| match due {
                Due::Of(job, _) => Some(*job),
                Due::Made(_) => None,
            })),
        }
        jobs
    }

    /// The jobs called `only`, and everything upstream of them; all if `None`.
    pub(super) fn wanted(&self, only: Option<&BTreeSet<String>>) -> BTreeSet<Id> {
        let asked = |id: &Id| only.is_none_or(|only| only.contains(&self.get(*id).name));
        let mut open: Vec<Id> = (0..self.len()).filter(asked).collect();
        let mut wanted = BTreeSet::new();
        while let Some(id) = open.pop() {
            if wanted.insert(id) {
                open.extend(self.upstream(id));
            }
        }
        wanted
    }

    /// Adds the jobs that `parent` asks for.
    ///
    /// # Errors
    /// If two of them have one name, or one reads what none before it makes.
    pub(super) fn expand(&mut self, parent: Id, specs: Vec<Spec>) -> anyhow::Result<Vec<Id>> {
        let mut children: Vec<(String, Id)> = Vec::new();
        for spec in specs {
            let (name, stage) = (format!("{}/{}", self.list[parent].name, spec.name), self.list[parent].stage.clone());
            anyhow::ensure!(children.iter().all(|(known, _)| *known != spec.name), "asks for two jobs called `{name}`");
            let job: Arc<dyn Job> = spec.job.into();
            let due = |(role, given): (String, Given)| match given {
                Given::Artifact(artifact) => Ok((role, Due::Made(artifact))),
                Given::Output(place, output) => {
                    let before = children.get(place).map(|(_, id)| *id);
                    let makes = |id: &Id| self.list[*id].job.outputs().iter().any(|made| &*made.name == output);
                    let id = before.filter(makes);
                    let id =
                        id.with_context(|| format!("`{name}` reads an output `{output}` that no job before it makes"));
                    Ok((role, Due::Of(id?, output)))
                }
            };
            let due = spec.inputs.into_iter().map(due).collect::<anyhow::Result<_>>()?;
            // The job that asked for it gets all that it makes.
            let made: BTreeSet<Arc<str>> = job.outputs().into_iter().map(|output| output.name).collect();
            let readers = Arc::new(Readers { of_job: made.clone(), of_stage: made });
            children.push((spec.name, self.list.len()));
            self.list.push(Known {
                name,
                stage,
                kind: job.kind(),
                job,
                feeds: Feeds::Given(due),
                children: None,
                outputs: None,
                readers,
            });
        }
        let ids = children.iter().map(|(_, id)| *id).collect();
        self.list[parent].children = Some(children);
        Ok(ids)
    }

    /// What a worker needs to do a job; `None` while the outputs of a job upstream are not known.
    pub(super) fn order(&self, id: Id) -> Option<Order> {
        let known = &self.list[id];
        let feeds = match &known.feeds {
            Feeds::Planned(inputs) => inputs.iter().map(|input| self.feed(input)).collect::<Option<_>>()?,
            Feeds::Given(due) => {
                let read = |(role, due): &(String, Due)| {
                    let artifact = match due {
                        Due::Made(artifact) => artifact.clone(),
                        Due::Of(job, output) => self.output(*job, output)?,
                    };
                    Some(Read { role: role.clone(), artifact })
                };
                let reads = by_digest_within_roles(due.iter().map(read).collect::<Option<_>>()?);
                reads.into_iter().map(|read| Feed::Made(read.role, vec![read.artifact])).collect()
            }
        };
        let expanded = match &known.children {
            None => (!known.kind.expands).then(Vec::new),
            Some(children) => Some(children.iter().map(|child| self.expanded(child)).collect::<Option<_>>()?),
        };
        let readers = known.readers.clone();
        let (name, job) = (known.name.clone(), known.job.clone());
        Some(Order { id, name, kind: known.kind, job, feeds, expanded, readers })
    }

    /// The model that a job shares with others; `None` if it shares none, or if the model is not known yet.
    pub(super) fn model(&self, id: Id) -> Option<Digest> {
        let known = &self.list[id];
        let role = known.job.needs().shared_model?;
        let artifact = match &known.feeds {
            Feeds::Planned(inputs) => match &inputs.iter().find(|input| input.role == role)?.source {
                Source::Output(node, name) => self.output(node.index(), name),
                Source::Outputs(_) | Source::File(_) | Source::Folder(..) | Source::Remote(_) => None,
            },
            Feeds::Given(due) => match &due.iter().find(|(known, _)| known == role)?.1 {
                Due::Made(artifact) => Some(artifact.clone()),
                Due::Of(job, output) => self.output(*job, output),
            },
        };
        Some(artifact?.digest)
    }

    /// The job whose output is the model that a job of the plan shares with others; `None` if it shares none.
    pub(super) fn model_from(&self, id: Id) -> Option<Id> {
        let known = &self.list[id];
        let role = known.job.needs().shared_model?;
        let Feeds::Planned(inputs) = &known.feeds else { return None };
        match &inputs.iter().find(|input| input.role == role)?.source {
            Source::Output(node, _) => Some(node.index()),
            Source::Outputs(_) | Source::File(_) | Source::Folder(..) | Source::Remote(_) => None,
        }
    }

    /// Number of artifacts that a job reads in a role.
    pub(super) fn count(&self, id: Id, role: &str) -> usize {
        match &self.list[id].feeds {
            Feeds::Planned(inputs) => crate::engine::plan::count(inputs, role),
            Feeds::Given(due) => due.iter().filter(|(known, _)| known == role).count(),
        }
    }

    /// What is known of the inputs of a job whose upstream is not done: role and content.
    pub(super) fn known_inputs(&self, id: Id, store: &Store) -> Vec<(String, Digest)> {
        let feeds: Vec<_> = match &self.list[id].feeds {
            Feeds::Planned(inputs) => inputs.iter().filter_map(|input| self.feed(input)).collect(),
            Feeds::Given(_) => Vec::new(),
        };
        let reads = feeds.iter().filter_map(|feed| feed.read(store).ok()).flatten();
        reads.map(|read| (read.role, read.artifact.digest)).collect()
    }

    /// A file or folder that a job needs and that is not there, whatever its upstream will be.
    pub(super) fn lacking(&self, id: Id) -> Option<UnreadableInput> {
        let Feeds::Planned(inputs) = &self.list[id].feeds else { return None };
        inputs.iter().find_map(|input| {
            let found = match &input.source {
                Source::File(path) => files::is_there(path),
                Source::Folder(path, _) => folder_is_there(path),
                Source::Output(..) | Source::Outputs(_) | Source::Remote(_) => Ok(()),
            };
            found.err().map(|error| UnreadableInput { role: input.role.clone(), error })
        })
    }

    /// Why files that a job reads and that are kept elsewhere are not here; `None` if they are.
    pub(super) fn away(&self, id: Id) -> Option<String> {
        let Feeds::Planned(inputs) = &self.list[id].feeds else { return None };
        inputs.iter().find_map(|input| {
            let Source::Remote(remote) = &input.source else { return None };
            match remote.look() {
                Ok(Presence::Here { .. }) => None,
                Ok(Presence::Away(why)) => Some(why),
                Err(error) => Some(format!("{error:#}")),
            }
        })
    }

    fn expanded(&self, (name, id): &(String, Id)) -> Option<Expanded> {
        Some(Expanded { name: name.clone(), outputs: self.list[*id].outputs.clone()? })
    }

    /// An output of a job that is done.
    fn output(&self, id: Id, name: &str) -> Option<Artifact> {
        let outputs = self.list[id].outputs.as_ref()?;
        outputs.iter().find(|(output, _)| **output == *name).map(|(_, artifact)| artifact.clone())
    }

    fn feed(&self, input: &PlannedInput) -> Option<Feed> {
        let role = input.role.clone();
        Some(match &input.source {
            Source::Output(node, name) => Feed::Made(role, vec![self.output(node.index(), name)?]),
            Source::Outputs(many) => {
                let artifacts = many.iter().map(|(node, name)| self.output(node.index(), name));
                Feed::Made(role, artifacts.collect::<Option<_>>()?)
            }
            Source::File(path) => Feed::File(role, path.clone()),
            Source::Folder(path, pick) => Feed::Folder(role, path.clone(), *pick),
            Source::Remote(remote) => Feed::Remote(role, remote.clone()),
        })
    }
}

impl Order {
    /// What of its inputs is kept elsewhere, by role.
    pub(super) fn remotes(&self) -> impl Iterator<Item = (&str, &dyn Remote)> {
        self.feeds.iter().filter_map(|feed| match feed {
            Feed::Remote(role, remote) => Some((role.as_str(), &**remote)),
            Feed::Made(..) | Feed::File(..) | Feed::Folder(..) => None,
        })
    }

    /// Everything the job reads, in the order in which it is hashed; files are digested here.
    pub(super) fn read(&self, store: &Store) -> Result<Vec<Read>, UnreadableInput> {
        let mut reads = Vec::new();
        for feed in &self.feeds {
            reads.extend(feed.read(store)?);
        }
        Ok(reads)
    }

    /// The recipe of the job: its inputs, and the outputs of the jobs that it asked for.
    pub(super) fn recipe(&self, reads: &[Read]) -> Recipe {
        let inputs = reads.iter().map(|read| (read.role.clone(), read.artifact.digest));
        let expanded = self.expanded.iter().flatten().flat_map(|job| &job.outputs);
        let expanded = expanded.map(|(_, artifact)| ("expanded".to_owned(), artifact.digest));
        Recipe::new(self.kind.name, self.kind.version, self.job.params(), inputs.chain(expanded).collect())
    }

    /// Where everything that is read came from, in the order of the recipe.
    pub(super) fn origins(&self, reads: &[Read]) -> Vec<Origin> {
        let origin = |role: &str, artifact: &Artifact| {
            let file = artifact.path().map(Path::to_owned);
            let made = file.is_none().then(|| artifact.origin());
            Origin { role: role.to_owned(), digest: artifact.digest, artifact: made, file }
        };
        let expanded = self.expanded.iter().flatten().flat_map(|job| &job.outputs);
        let inputs = reads.iter().map(|read| origin(&read.role, &read.artifact));
        inputs.chain(expanded.map(|(_, artifact)| origin("expanded", artifact))).collect()
    }

    /// What the job writes, and what of it others read.
    pub(super) fn promises(&self) -> (Vec<Promise>, &Readers) {
        (self.job.outputs(), &self.readers)
    }

    /// Asks the job for more jobs.
    pub(super) fn expand(&self, cx: &Cx<'_>) -> anyhow::Result<Vec<Spec>> {
        self.job.expand(cx)
    }
}

impl Feed {
    fn read(&self, store: &Store) -> Result<Vec<Read>, UnreadableInput> {
        let unreadable = |role: &str, error| UnreadableInput { role: role.to_owned(), error };
        match self {
            Self::Made(role, artifacts) => {
                let reads = artifacts.iter().map(|artifact| Read { role: role.clone(), artifact: artifact.clone() });
                Ok(by_digest_within_roles(reads.collect()))
            }
            Self::File(role, path) => {
                let digest = store.files().digest(path).map_err(|error| unreadable(role, error))?;
                Ok(vec![Read { role: role.clone(), artifact: Artifact::file(path, digest) }])
            }
            Self::Folder(role, path, pick) => folder(store, role, path, *pick).map_err(|error| unreadable(role, error)),
            Self::Remote(role, remote) => remote_files(store, role, &**remote).map_err(|error| unreadable(role, error)),
        }
    }
}

fn folder_is_there(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("`{}` is not a folder", path.display())))
}

fn folder(store: &Store, role: &str, path: &Path, pick: fn(&[String]) -> Vec<String>) -> io::Result<Vec<Read>> {
    folder_is_there(path)?;
    let mut names = store::list(path)?;
    names.retain(|name| path.join(name).is_file());
    named_files(store, role, pick(&names).into_iter().map(|name| (name.clone(), path.join(name))).collect())
}

fn remote_files(store: &Store, role: &str, remote: &dyn Remote) -> io::Result<Vec<Read>> {
    match remote.look() {
        Ok(Presence::Here { files, .. }) => named_files(store, role, files),
        Ok(Presence::Away(why)) => Err(io::Error::new(io::ErrorKind::NotFound, why)),
        Err(error) => Err(io::Error::other(format!("{error:#}"))),
    }
}

/// Files by name and path, in the order of their names.
fn named_files(store: &Store, role: &str, mut files: Vec<(String, PathBuf)>) -> io::Result<Vec<Read>> {
    files.sort();
    let read = |(name, path): (String, PathBuf)| {
        let artifact = Artifact::file(&path, store.files().digest(&path)?);
        Ok(Read { role: format!("{role}/{name}"), artifact })
    };
    files.into_iter().map(read).collect()
}

/// Neighbours with one role are a set: in the order of their digests. The order of roles stays.
fn by_digest_within_roles(mut reads: Vec<Read>) -> Vec<Read> {
    for group in reads.chunk_by_mut(|a, b| a.role == b.role) {
        group.sort_by_key(|read| read.artifact.digest);
    }
    reads
}
