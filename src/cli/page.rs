//! What the page of a study shows beside its results: the records behind the numbers, learning curves and the stages.

use crate::data::Table;
use crate::engine::plan::Plan;
use crate::engine::run::state::{JobState, State};
use crate::engine::stage::{self, Kind};
use crate::engine::store::Store;
use crate::engine::store::catalog::Catalog;
use crate::engine::store::digest::{Digest, Key};
use crate::engine::store::entry::{Entry, Record as Artifact};
use crate::ml::prompt::clustering::Linkage;
use crate::ml::prompt::file::PromptFile;
use crate::report::page::{Curve, CurvePanel, Curves, Dag, GROUPS, Node, NodeState, Record, RecordInput};
use crate::report::results::Results;
use crate::ui;
use anyhow::Context;
use clap::ValueEnum;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Characters of a recipe's parameters that a record shows.
const LONGEST: usize = 1000;

/// [`Linkage`] as an argument.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Joining {
    Average,
    Complete,
    Single,
    Weighted,
    Ward,
}

impl From<Joining> for Linkage {
    fn from(joining: Joining) -> Self {
        match joining {
            Joining::Average => Self::Average,
            Joining::Complete => Self::Complete,
            Joining::Single => Self::Single,
            Joining::Weighted => Self::Weighted,
            Joining::Ward => Self::Ward,
        }
    }
}

/// Every digest that the results name.
pub(super) fn digests(results: &Results) -> BTreeSet<String> {
    let spreads = results.methods.iter().flat_map(|method| {
        [Some(&method.score), method.change.as_ref(), method.relative_error_reduction.as_ref()].into_iter().flatten()
    });
    let cells = results.targets.iter().flat_map(|target| target.cells.iter().map(|cell| &cell.score));
    let suites = results.suites.iter().flat_map(|suite| &suite.scores);
    let matrix = results.matrix.iter().flat_map(|matrix| {
        let scores = &matrix.scores;
        scores.baseline.iter().flatten().chain(scores.sources.iter().flat_map(|source| source.scores.iter().flatten()))
    });
    let of_spreads = spreads.chain(cells).chain(suites).chain(matrix).flat_map(|spread| &spread.from);
    let similar = results.similarity.iter().flat_map(|similarity| similarity.from.iter().flatten());
    let points = results.points.iter().flat_map(|point| &point.from);
    let chosen = results.choices.iter().flat_map(|choice| &choice.chosen);
    of_spreads.chain(similar).chain(points).chain(chosen).cloned().collect()
}

/// The records of these digests and of all that they were made from, as far as the store knows.
pub(super) fn records(catalog: &Catalog, digests: &BTreeSet<String>) -> Vec<Record> {
    let mut open: VecDeque<Digest> = digests.iter().filter_map(|digest| digest.parse().ok()).collect();
    let mut seen: BTreeSet<Digest> = open.iter().copied().collect();
    let mut records = Vec::new();
    while let Some(digest) = open.pop_front() {
        // Who chose it only hands it on.
        let origins: BTreeSet<Key> = catalog.origins(&digest).into_iter().map(|entry| entry.key).collect();
        let maker = catalog.makers(&digest).find(|(entry, _)| origins.contains(&entry.key));
        let Some((entry, output)) = maker else { continue };
        records.push(record(catalog, entry, output, &digest));
        open.extend(entry.recipe.inputs.iter().map(|(_, input)| *input).filter(|input| seen.insert(*input)));
    }
    records
}

fn record(catalog: &Catalog, entry: &Entry, output: &str, digest: &Digest) -> Record {
    let provenance = &entry.provenance;
    let params: String = entry.recipe.params.to_string().chars().take(LONGEST).collect();
    let revision = provenance.revision.as_ref().map_or_else(String::new, |revision| format!(" ({revision})"));
    let input = |(role, digest): &(String, Digest)| {
        let origin = provenance.inputs.iter().find(|origin| origin.role == *role && origin.digest == *digest);
        let named = origin.and_then(|origin| {
            let file = origin.file.as_ref().map(|file| file.display().to_string());
            origin.artifact.clone().or(file)
        });
        let is_made = catalog.makers(digest).next().is_some();
        RecordInput {
            role: role.clone(),
            what: named.unwrap_or_else(|| digest.short()),
            digest: is_made.then(|| digest.to_string()),
        }
    };
    Record {
        digest: digest.to_string(),
        name: format!("{}.{output}", provenance.job),
        kind: format!("{} v{}", entry.recipe.kind, entry.recipe.version),
        key: Some(entry.key.to_string()),
        took: Some(ui::seconds(provenance.seconds)),
        program: Some(format!("spot {}{revision}", provenance.program)),
        device: Some(provenance.device.clone()),
        notes: vec![("made".to_owned(), provenance.end.clone()), ("parameters".to_owned(), params)],
        inputs: entry.recipe.inputs.iter().map(input).collect(),
    }
}

/// The learning curves of a plan's jobs, for each kind that has some.
///
/// # Errors
/// If a curve is damaged or is not a curve.
pub(super) fn curves(store: &Store, kinds: &[Kind], jobs: &[JobState]) -> anyhow::Result<Vec<Curves>> {
    let mut all = Vec::new();
    for (kind, curves) in kinds.iter().filter_map(|kind| Some((kind.name, kind.curves?))) {
        let runs = jobs.iter().filter(|job| job.kind == kind);
        let runs: Vec<(&JobState, &Entry)> = runs.filter_map(|job| Some((job, job.entry.as_ref()?))).collect();
        all.extend(curves_of(store, &runs, curves)?);
    }
    Ok(all)
}

/// The learning curves of runs, by task; `None` if there are none.
fn curves_of(
    store: &Store,
    runs: &[(&JobState, &Entry)],
    stage::Curves { caption, told_by }: stage::Curves,
) -> anyhow::Result<Option<Curves>> {
    let mut groups: Vec<String> = Vec::new();
    for (job, _) in runs {
        if !groups.contains(&job.stage) {
            groups.push(job.stage.clone());
        }
    }
    // What is left over shares the last look.
    let group = |stage: &String| groups.iter().position(|group| group == stage).unwrap_or(0).min(GROUPS - 1);
    let mut panels: BTreeMap<String, Vec<Curve>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (job, entry) in runs {
        let (Some(curve), Some(result)) = (entry.artifact("curve"), entry.artifact(told_by)) else { continue };
        if !seen.insert(entry.key) {
            continue;
        }
        let mut table = Table::from_parquet(&store.read(&curve.digest, &format!("{}.curve", job.job))?)?;
        let (steps, scores) = (table.take_int("step")?, table.take_opt_float("score")?);
        let points = steps.into_iter().zip(scores).filter_map(|(step, score)| Some((step as f64, score?)));
        let points: Vec<(f64, f64)> = points.collect();
        if points.len() < 2 {
            continue;
        }
        // The curve of a mixture has the score of each task; there may be many mixtures, with a run or two each.
        let is_mixture = table.columns.iter().any(|(name, _)| name.starts_with("score_"));
        let task = if is_mixture { Some("mixtures".to_owned()) } else { task(store, job, result)? };
        let task = task.unwrap_or_else(|| job.stage.clone());
        let from = vec![curve.digest.to_string()];
        panels.entry(task).or_default().push(Curve { name: job.job.clone(), group: group(&job.stage), points, from });
    }
    let panels: Vec<CurvePanel> = panels.into_iter().map(|(title, lines)| CurvePanel { title, lines }).collect();
    Ok((!panels.is_empty()).then(|| Curves {
        caption: caption.to_owned(),
        x: "step".to_owned(),
        y: "score".to_owned(),
        groups: at_most(groups, GROUPS),
        panels,
    }))
}

/// The task that a job learned, as its result says.
fn task(store: &Store, job: &JobState, result: &Artifact) -> anyhow::Result<Option<String>> {
    let name = format!("{}.{}", job.job, result.name);
    Ok(PromptFile::about_in(&store.map(&result.digest, &name)?).with_context(|| name)?.task)
}

/// The names, those that are too many joined in the last.
fn at_most(mut names: Vec<String>, most: usize) -> Vec<String> {
    if names.len() > most {
        let rest = names.split_off(most - 1);
        names.push(rest.join(", "));
    }
    names
}

/// The stages with the states of their jobs, those that jobs asked for included.
pub(super) fn dag(plan: &Plan, jobs: &[JobState]) -> Dag {
    let node = |stage: &String| {
        let of_stage: Vec<&JobState> = jobs.iter().filter(|job| job.stage == *stage).collect();
        let mut states: BTreeMap<NodeState, usize> = BTreeMap::new();
        of_stage.iter().for_each(|job| *states.entry(state(job.state)).or_default() += 1);
        // A result that several jobs share was computed once.
        let entries = of_stage.iter().filter_map(|job| job.entry.as_ref());
        let seconds: BTreeMap<_, f64> = entries.map(|entry| (entry.key, entry.provenance.seconds)).collect();
        Node {
            name: stage.clone(),
            kind: of_stage.first().map_or_else(String::new, |job| job.kind.to_owned()),
            states: states.into_iter().collect(),
            took: if seconds.is_empty() { String::new() } else { ui::seconds(seconds.values().sum()) },
        }
    };
    let place = |stage: &str| plan.stages.iter().position(|known| known == stage);
    let edges: BTreeSet<(usize, usize)> = plan
        .graph
        .edge_indices()
        .filter_map(|edge| {
            let (from, to) = plan.graph.edge_endpoints(edge)?;
            Some((place(&plan.graph[from].stage)?, place(&plan.graph[to].stage)?))
        })
        .collect();
    Dag {
        caption: "The stages of the pipeline, the states of their jobs, and how long they took".to_owned(),
        nodes: plan.stages.iter().map(node).collect(),
        edges: edges.into_iter().collect(),
    }
}

fn state(state: State) -> NodeState {
    match state {
        State::Cached | State::Shared => NodeState::Cached,
        State::Stale => NodeState::Stale,
        State::MayRun => NodeState::MayRun,
        State::Blocked => NodeState::Blocked,
        State::Interrupted(_) => NodeState::Interrupted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::store::provenance::{Origin, Provenance};
    use crate::engine::store::recipe::Recipe;

    /// An entry of a job that made `output` from `input`, which came from a job or a file.
    fn save(store: &Store, job: &str, output: &str, input: &str, file: Option<&str>) {
        let digest = Digest::of(input.as_bytes());
        let recipe = Recipe::new("tune", 3, serde_json::json!({"seed": output}), vec![("data".to_owned(), digest)]);
        let made = store.put(output.as_bytes()).unwrap();
        let artifact = Artifact {
            name: "prompt".to_owned(),
            r#type: "prompt".to_owned(),
            digest: made,
            sha256: None,
            size: output.len() as u64,
            parts: Vec::new(),
        };
        let origin = Origin {
            role: "data".to_owned(),
            digest,
            artifact: file.is_none().then(|| format!("{input}.prompt")),
            file: file.map(Into::into),
        };
        let provenance = Provenance {
            job: job.to_owned(),
            inputs: vec![origin],
            program: "0.1.0".to_owned(),
            device: "cpu".to_owned(),
            seconds: 75.0,
            ..Provenance::default()
        };
        let entry = Entry { key: recipe.key(), recipe, artifacts: vec![artifact], provenance };
        store.save(&[&entry], Vec::new()).unwrap();
    }

    #[test]
    fn records_lead_from_a_digest_back_to_files() {
        let folder = tempfile::TempDir::new().unwrap();
        let store = Store::new(folder.path());
        store.prepare().unwrap();
        save(&store, "first", "first", "text", Some("data/a.tsv"));
        save(&store, "second", "second", "first", None);
        save(&store, "stranger", "stranger", "first", None);
        let second = Digest::of(b"second").to_string();
        let wanted = BTreeSet::from([second.clone(), Digest::of(b"gone").to_string(), "no digest".to_owned()]);
        let found = records(&Catalog::read(&store).unwrap(), &wanted);
        let names: Vec<&str> = found.iter().map(|record| record.name.as_str()).collect();
        assert_eq!(names, ["second.prompt", "first.prompt"]);
        assert_eq!((found[0].digest.as_str(), found[0].took.as_deref()), (second.as_str(), Some("75.0 s")));
        let first = RecordInput {
            role: "data".to_owned(),
            what: "first.prompt".to_owned(),
            digest: Some(Digest::of(b"first").to_string()),
        };
        assert_eq!(found[0].inputs, [first]);
        let file = RecordInput { role: "data".to_owned(), what: "data/a.tsv".to_owned(), digest: None };
        assert_eq!(found[1].inputs, [file]);
    }

    #[test]
    fn names_that_are_too_many_share_the_last_place() {
        let names = |n: usize| ["a", "b", "c", "d", "e", "f"][..n].iter().map(|&name| name.to_owned()).collect();
        assert_eq!(at_most(names(6), 4), ["a", "b", "c", "d, e, f"]);
        assert_eq!(at_most(names(4), 4), ["a", "b", "c", "d"]);
        assert_eq!(at_most(names(0), 4), Vec::<String>::new());
    }
}
