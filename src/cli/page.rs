//! What the page of a study shows beside its results: the records behind the numbers, learning curves and the stages.

use crate::data::Table;
use crate::engine::catalog::Catalog;
use crate::engine::digest::Digest;
use crate::engine::entry::Entry;
use crate::engine::plan::Plan;
use crate::engine::state::{JobState, State};
use crate::engine::store::Store;
use crate::ml::prompt_file::PromptFile;
use crate::report::page::{Curve, CurvePanel, Curves, Dag, GROUPS, Node, NodeState, Record, RecordInput};
use crate::report::results::Results;
use crate::ui;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The kind that has learning curves.
const TUNE: &str = "tune";
/// Characters of a recipe's parameters that a record shows.
const LONGEST: usize = 1000;

/// Every digest that the results name.
pub(super) fn digests(results: &Results) -> BTreeSet<String> {
    let spreads = results.methods.iter().flat_map(|method| {
        [Some(&method.score), method.change.as_ref(), method.relative_error_reduction.as_ref()].into_iter().flatten()
    });
    let cells = results.targets.iter().flat_map(|target| target.cells.iter().map(|cell| &cell.score));
    let suites = results.suites.iter().flat_map(|suite| &suite.scores);
    let matrix = results.matrix.iter().flat_map(|matrix| {
        let scores = &matrix.scores;
        scores.baseline.iter().chain(scores.sources.iter().flat_map(|source| &source.scores))
    });
    let of_spreads = spreads.chain(cells).chain(suites).chain(matrix).flat_map(|spread| &spread.from);
    let similar = results.similarity.iter().flat_map(|similarity| similarity.from.iter().flatten());
    let points = results.points.iter().flat_map(|point| &point.from);
    of_spreads.chain(similar).chain(points).cloned().collect()
}

/// The records of these digests and of all that they were made from, as far as the store knows.
pub(super) fn records(catalog: &Catalog, digests: &BTreeSet<String>) -> Vec<Record> {
    let mut open: VecDeque<Digest> = digests.iter().filter_map(|digest| digest.parse().ok()).collect();
    let mut seen: BTreeSet<Digest> = open.iter().copied().collect();
    let mut records = Vec::new();
    while let Some(digest) = open.pop_front() {
        let Some((entry, output)) = catalog.makers(&digest).next() else { continue };
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

/// The learning curves of a plan's tunings, by task; `None` if there are none.
pub(super) fn curves(store: &Store, jobs: &[JobState]) -> anyhow::Result<Option<Curves>> {
    let tunings: Vec<(&JobState, &Entry)> =
        jobs.iter().filter(|job| job.kind == TUNE).filter_map(|job| Some((job, job.entry.as_ref()?))).collect();
    let mut groups: Vec<String> = Vec::new();
    for (job, _) in &tunings {
        if !groups.contains(&job.stage) {
            groups.push(job.stage.clone());
        }
    }
    // What is left over shares the last look.
    let group = |stage: &String| groups.iter().position(|group| group == stage).unwrap_or(0).min(GROUPS - 1);
    let mut panels: BTreeMap<String, Vec<Curve>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (job, entry) in &tunings {
        let (Some(curve), Some(prompt)) = (entry.artifact("curve"), entry.artifact("prompt")) else { continue };
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
        let file = PromptFile::from_bytes(&store.read(&prompt.digest, &format!("{}.prompt", job.job))?)?;
        let task = file.metadata.get("task").cloned().unwrap_or_else(|| job.stage.clone());
        let from = vec![curve.digest.to_string()];
        panels.entry(task).or_default().push(Curve { name: job.job.clone(), group: group(&job.stage), points, from });
    }
    if groups.len() > GROUPS {
        groups[GROUPS - 1] = groups.split_off(GROUPS - 1).join(", ");
    }
    let panels: Vec<CurvePanel> = panels.into_iter().map(|(title, lines)| CurvePanel { title, lines }).collect();
    Ok((!panels.is_empty()).then(|| Curves {
        caption: "Validation score while prompts are tuned".to_owned(),
        x: "step".to_owned(),
        y: "score (scales differ)".to_owned(),
        groups,
        panels,
    }))
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
        State::Cached => NodeState::Cached,
        State::Stale => NodeState::Stale,
        State::MayRun => NodeState::MayRun,
        State::Blocked => NodeState::Blocked,
        State::Interrupted(_) => NodeState::Interrupted,
    }
}
