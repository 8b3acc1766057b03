//! A plan drawn: as text, Mermaid, Graphviz or JSON.

use super::Plan;
use petgraph::Direction;
use petgraph::graph::NodeIndex;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// How a graph is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Indented lines.
    Text,
    /// Mermaid's `flowchart`.
    Mermaid,
    /// Graphviz.
    Dot,
    /// Nodes and edges.
    Json,
}

/// What a node of a drawing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// All jobs of a stage.
    Stages,
    /// A job.
    Jobs,
}

/// Jobs beyond which a graph shows stages.
const MOST_JOBS: usize = 40;

/// A node: a job, or all jobs of a stage.
struct Node {
    name: String,
    kind: &'static str,
    jobs: usize,
    needs: BTreeSet<usize>,
    /// Numbers of jobs by their state, where states are known.
    states: BTreeMap<String, usize>,
}

/// The plan's jobs, or its stages if there are many.
pub fn render(plan: &Plan, format: Format) -> String {
    render_with(plan, format, None, None)
}

/// The plan's jobs or stages, with the states of the jobs where they are known.
pub fn render_with(
    plan: &Plan,
    format: Format,
    level: Option<Level>,
    state: Option<&dyn Fn(NodeIndex) -> String>,
) -> String {
    let many = plan.graph.node_count() > MOST_JOBS;
    let nodes = match level.unwrap_or(if many { Level::Stages } else { Level::Jobs }) {
        Level::Stages => stages(plan, state),
        Level::Jobs => jobs(plan, state),
    };
    match format {
        Format::Text => text(&nodes),
        Format::Mermaid => mermaid(&nodes),
        Format::Dot => dot(&nodes),
        Format::Json => json(plan, &nodes),
    }
}

fn jobs(plan: &Plan, state: Option<&dyn Fn(NodeIndex) -> String>) -> Vec<Node> {
    let needs = |index| plan.graph.neighbors_directed(index, Direction::Incoming).map(NodeIndex::index).collect();
    plan.graph
        .node_indices()
        .map(|index| {
            let job = &plan.graph[index];
            let states = state.map(|state| (state(index), 1)).into_iter().collect();
            Node { name: job.name.clone(), kind: job.kind.name, jobs: 1, needs: needs(index), states }
        })
        .collect()
}

fn stages(plan: &Plan, state: Option<&dyn Fn(NodeIndex) -> String>) -> Vec<Node> {
    let places: HashMap<&str, usize> = plan.stages.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
    let empty =
        |name: &String| Node { name: name.clone(), kind: "", jobs: 0, needs: BTreeSet::new(), states: BTreeMap::new() };
    let mut nodes: Vec<Node> = plan.stages.iter().map(empty).collect();
    for index in plan.graph.node_indices() {
        let job = &plan.graph[index];
        let Some(node) = places.get(job.stage.as_str()).map(|at| &mut nodes[*at]) else { continue };
        node.kind = job.kind.name;
        node.jobs += 1;
        for upstream in plan.graph.neighbors_directed(index, Direction::Incoming) {
            node.needs.extend(places.get(plan.graph[upstream].stage.as_str()));
        }
        if let Some(state) = state {
            *node.states.entry(state(index)).or_default() += 1;
        }
    }
    nodes
}

fn label(node: &Node) -> String {
    if node.jobs == 1 { node.name.clone() } else { format!("{} ×{}", node.name, node.jobs) }
}

/// `cached`, or `2 cached, 1 stale` for a stage.
fn states(node: &Node) -> String {
    let counted = node
        .states
        .iter()
        .map(|(state, count)| if node.jobs == 1 { state.clone() } else { format!("{count} {state}") });
    counted.collect::<Vec<_>>().join(", ")
}

fn label_with_states(node: &Node, line_break: &str) -> String {
    if node.states.is_empty() { label(node) } else { format!("{}{line_break}{}", label(node), states(node)) }
}

fn text(nodes: &[Node]) -> String {
    let widest = |column: &dyn Fn(&Node) -> String| nodes.iter().map(|n| column(n).chars().count()).max().unwrap_or(0);
    let (names, kinds, known) = (widest(&label), widest(&|node| node.kind.to_owned()), widest(&states));
    let mut out = String::new();
    for node in nodes {
        let mut line = format!("{:names$}  {:kinds$}", label(node), node.kind);
        if known > 0 {
            line += &format!("  {:known$}", states(node));
        }
        if !node.needs.is_empty() {
            let needs: Vec<&str> = node.needs.iter().map(|at| nodes[*at].name.as_str()).collect();
            line += &format!("  ← {}", needs.join(", "));
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}

fn mermaid(nodes: &[Node]) -> String {
    let mut out = String::from("flowchart TD\n");
    for (at, node) in nodes.iter().enumerate() {
        out += &format!("    n{at}[\"{}\"]\n", label_with_states(node, "<br/>").replace('"', "#quot;"));
    }
    for (at, node) in nodes.iter().enumerate() {
        for need in &node.needs {
            out += &format!("    n{need} --> n{at}\n");
        }
    }
    out
}

fn dot(nodes: &[Node]) -> String {
    let quoted = |text: String| text.replace('\\', "\\\\").replace('"', "\\\"");
    let mut out = String::from("digraph {\n    node [shape=box]\n");
    for (at, node) in nodes.iter().enumerate() {
        out += &format!("    n{at} [label=\"{}\"]\n", quoted(label_with_states(node, "\n")).replace('\n', "\\n"));
    }
    for (at, node) in nodes.iter().enumerate() {
        for need in &node.needs {
            out += &format!("    n{need} -> n{at}\n");
        }
    }
    out + "}\n"
}

fn json(plan: &Plan, nodes: &[Node]) -> String {
    let node = |node: &Node| {
        let mut value = serde_json::json!({"name": node.name, "kind": node.kind, "jobs": node.jobs});
        if !node.states.is_empty() {
            value["states"] = serde_json::json!(node.states);
        }
        value
    };
    let listed: Vec<_> = nodes.iter().map(node).collect();
    let edges: Vec<_> = nodes
        .iter()
        .flat_map(|node| node.needs.iter().map(|need| [nodes[*need].name.as_str(), node.name.as_str()]))
        .collect();
    let graph = serde_json::json!({"version": 1, "pipeline": plan.name, "nodes": listed, "edges": edges});
    serde_json::to_string_pretty(&graph).expect("a graph is strings and numbers") + "\n"
}
