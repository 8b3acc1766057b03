//! References become edges: which output of which job is meant, and that nothing waits for itself.

use super::draft::{Draft, Drafts, Stage};
use super::problem::{Problem, Spot, clipped, suggestion};
use super::reference;
use crate::engine::plan::{Linked, Planned, count};
use crate::engine::stage::{Asked, Input, Issue, Known, Made, Promise, Ref, Subject, Type};
use petgraph::algo::toposort;
use petgraph::graph::{DiGraph, NodeIndex};
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// References of all jobs together, wildcards counted for each job that they stand for.
const MOST_REFERENCES: usize = 2_000_000;

/// The jobs as a graph; everything that is wrong with their references goes to `found`. `removed` are the stages that were
/// set to null.
pub(super) fn link(drafts: &Drafts, removed: &BTreeSet<String>, found: &mut Vec<Problem>) -> DiGraph<Planned, ()> {
    let mut linker = Linker { drafts, removed, references: 0, problems: BTreeSet::new() };
    let mut graph = DiGraph::with_capacity(drafts.jobs.len(), drafts.jobs.len());
    for (index, draft) in drafts.jobs.iter().enumerate() {
        let inputs = linker.inputs(index, draft);
        let Stage { name, kind, place, .. } = &drafts.stages[draft.stage];
        // Where a reference is wrong, numbers would be too.
        if inputs.len() == draft.inputs.len()
            && let Err(Issue { field, message }) = draft.job.check_inputs(&|role| count(&inputs, role))
        {
            linker.problems.insert(Problem::new(*place, format!("`{field}` {message}")).in_stage(name));
        }
        let (name, stage) = (draft.name.clone(), name.clone());
        let resources = draft.resources;
        graph.add_node(Planned { name, stage, kind: *kind, job: draft.job.clone(), inputs, resources });
        if linker.references > MOST_REFERENCES {
            break;
        }
    }
    connect(&mut graph, drafts.jobs.len());
    if let Some(cycle) = cycle(&graph) {
        let names: Vec<&str> = cycle.iter().map(|index| graph[*index].name.as_str()).collect();
        let place = drafts.stages[drafts.jobs[cycle[0].index()].stage].place;
        let message = format!("jobs wait for each other in a cycle: {} -> {}", names.join(" -> "), names[0]);
        linker.problems.insert(Problem::new(place, message));
    }
    // Only a graph that is whole has an order.
    if linker.problems.is_empty() && found.is_empty() {
        check_subjects(drafts, &graph, &mut linker.problems);
    }
    found.extend(linker.problems);
    graph
}

/// Carries what jobs are about from job to job, and asks each whether what it reads can be told apart.
fn check_subjects(drafts: &Drafts, graph: &DiGraph<Planned, ()>, problems: &mut BTreeSet<Problem>) {
    let mut subjects: Vec<Option<Subject>> = vec![None; graph.node_count()];
    for index in toposort(graph, None).expect("a cycle is a problem") {
        let (planned, draft) = (&graph[index], &drafts.jobs[index.index()]);
        let known = |role: &str| -> Vec<Known> {
            let jobs = planned.inputs.iter().filter(|input| input.role == role).flat_map(Linked::jobs);
            let known = |job: NodeIndex| {
                let subject = subjects[job.index()].clone()?;
                Some(Known { job: graph[job].name.clone(), subject })
            };
            jobs.filter_map(known).collect()
        };
        if let Err(Issue { field, message }) = planned.job.check_subjects(&known) {
            let stage = &drafts.stages[draft.stage];
            let mut roles = draft.inputs.iter().zip(&draft.places);
            let places = roles.find(|(input, _)| input.role == field).map(|(_, places)| places);
            let own = Spot { place: stage.place, used: None };
            let spot = places.and_then(|places| places.first()).copied().unwrap_or(own);
            problems.insert(Problem::at(spot, format!("`{field}` {message}")).in_stage(&stage.name));
        }
        let subject = planned.job.subject(&known);
        subjects[index.index()] = subject;
    }
}

/// A job, and the name of an output that it makes.
type Output = (NodeIndex, Arc<str>);

struct Linker<'d> {
    drafts: &'d Drafts,
    removed: &'d BTreeSet<String>,
    references: usize,
    problems: BTreeSet<Problem>,
}

impl Linker<'_> {
    /// The inputs of a job, without those with which, or with whose stage, something is wrong.
    fn inputs(&mut self, index: usize, draft: &Draft) -> Vec<Linked> {
        let inputs = draft.inputs.iter().zip(&draft.places);
        inputs.filter_map(|(input, places)| self.input(index, draft, input, places)).collect()
    }

    fn input(&mut self, index: usize, draft: &Draft, input: &Input, places: &[Spot]) -> Option<Linked> {
        input.refine(|asked| self.artifacts(index, draft, asked, places))
    }

    fn artifacts(
        &mut self,
        index: usize,
        draft: &Draft,
        asked: &Asked,
        places: &[Spot],
    ) -> Option<Vec<Made<NodeIndex>>> {
        let Asked { refs, of, many, .. } = asked;
        let mut sources: Vec<Output> = Vec::new();
        let mut good = true;
        for (Ref(reference), spot) in refs.iter().zip(places) {
            match self.reference(index, draft, reference, *of, *many) {
                Ok(Some(found)) => {
                    self.references += found.len();
                    sources.extend(found);
                }
                Ok(None) => good = false,
                Err(message) => {
                    let stage = &self.drafts.stages[draft.stage].name;
                    self.problems.insert(Problem::at(*spot, message).in_stage(stage));
                    good = false;
                }
            }
            if self.references > MOST_REFERENCES {
                let message = format!("more than {MOST_REFERENCES} references in the plan");
                self.problems.insert(Problem::at(*spot, message));
                return None;
            }
        }
        if !good {
            return None;
        }
        // A set: what two patterns both stand for is read once.
        let mut seen = BTreeSet::new();
        sources.retain(|source| seen.insert(source.clone()));
        Some(sources.into_iter().map(|(job, output)| Made::Output(job, output)).collect())
    }

    /// The outputs that a reference stands for; `None` if its stage has mistakes of its own.
    fn reference(
        &self,
        index: usize,
        draft: &Draft,
        text: &str,
        of: Type,
        many: bool,
    ) -> Result<Option<Vec<Output>>, String> {
        let parsed = reference::parse(text)?;
        if self.drafts.broken.contains(parsed.stage) {
            return Ok(None);
        }
        let Some(stage) = self.drafts.by_name.get(parsed.stage).map(|at| &self.drafts.stages[*at]) else {
            return Err(self.no_stage(parsed.stage));
        };
        let selection = stage.matrix.select(&stage.name, parsed.pattern.as_ref())?;
        if selection.several && !many {
            let own = &self.drafts.stages[draft.stage];
            return Err(format!("`{text}` may stand for several jobs, but one is needed; {}", instead(stage, own)));
        }
        let jobs = selection.jobs.into_iter().map(|job| {
            let job = stage.first + job;
            let output = output(&stage.name, &self.drafts.jobs[job].outputs, parsed.output, of)?;
            Ok((NodeIndex::new(job), output))
        });
        let jobs: Vec<_> = jobs.collect::<Result<_, String>>()?;
        if jobs.iter().any(|(job, _)| job.index() == index) {
            let how = if selection.several { "includes" } else { "is" };
            return Err(format!("`{text}` {how} the job that reads it, `{}`", draft.name));
        }
        Ok(Some(jobs))
    }

    fn no_stage(&self, name: &str) -> String {
        if self.removed.contains(name) {
            return format!(
                "stage `{name}` is removed (set to null by a manifest, a profile or `--set`), but needed here"
            );
        }
        let known = self.drafts.names.iter().map(String::as_str);
        format!("no stage `{}`{}", clipped(name), suggestion(name, known))
    }
}

/// How to name one job of a stage.
fn instead(stage: &Stage, own: &Stage) -> String {
    if stage.matrix.keys().all(|key| own.matrix.keys().any(|known| known == key)) {
        let keys: Vec<String> = stage.matrix.keys().map(|key| format!("${{{key}}}")).collect();
        return format!("write `{}[{}]`", stage.name, keys.join(","));
    }
    format!("name one, such as `{}{}`", stage.name, stage.matrix.suffix(0))
}

/// The output of a job of the stage `name` that is meant.
fn output(name: &str, outputs: &[Promise], named: Option<&str>, of: Type) -> Result<Arc<str>, String> {
    let made = || outputs.iter().map(|o| format!("`{}` ({})", o.name, o.of)).collect::<Vec<_>>().join(", ");
    if let Some(named) = named {
        return match outputs.iter().find(|output| &*output.name == named) {
            Some(output) if output.of.fits(of) => Ok(output.name.clone()),
            Some(output) => {
                Err(format!("`{name}.{named}` is of type {}, expected {of}; `{name}` makes {}", output.of, made()))
            }
            None => Err(format!("`{name}` has no output `{}`; it makes {}", clipped(named), made())),
        };
    }
    let mut fitting = outputs.iter().filter(|output| output.of.fits(of));
    match (fitting.next(), fitting.next()) {
        (Some(output), None) => Ok(output.name.clone()),
        (None, _) => Err(format!("`{name}` makes no {of}, which is needed here; it makes {}", made())),
        (Some(first), Some(_)) => {
            Err(format!("`{name}` makes several of type {of}; write `{name}.{}` or another of {}", first.name, made()))
        }
    }
}

/// Adds an edge from each job to those that read its outputs.
fn connect(graph: &mut DiGraph<Planned, ()>, jobs: usize) {
    let mut edges = BTreeSet::new();
    for index in graph.node_indices() {
        edges.extend(graph[index].inputs.iter().flat_map(Linked::jobs).map(|from| (from, index)));
    }
    // Where linking was broken off, some jobs are not in the graph.
    if graph.node_count() == jobs {
        for (from, to) in edges {
            graph.add_edge(from, to, ());
        }
    }
}

/// A shortest cycle through the first job that is on one.
fn cycle(graph: &DiGraph<Planned, ()>) -> Option<Vec<NodeIndex>> {
    // Not Tarjan's: petgraph's is recursive, and a chain of jobs may be long.
    let components = petgraph::algo::kosaraju_scc(graph);
    let on_cycles = components.into_iter().filter(|component| component.len() > 1);
    let start = on_cycles.flatten().min()?;
    let mut came_from: HashMap<NodeIndex, NodeIndex> = HashMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        let mut next: Vec<NodeIndex> = graph.neighbors(at).collect();
        next.sort_unstable();
        for node in next {
            if node == start {
                let mut path = vec![at];
                while let Some(before) = came_from.get(&path[path.len() - 1]) {
                    path.push(*before);
                }
                path.reverse();
                return Some(path);
            }
            if let Entry::Vacant(place) = came_from.entry(node) {
                place.insert(at);
                queue.push_back(node);
            }
        }
    }
    None
}
