//! A plan drawn: as text, Mermaid, Graphviz or JSON.

use super::plan::Plan;
use petgraph::Direction;
use petgraph::graph::NodeIndex;
use std::collections::BTreeSet;

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

/// Jobs beyond which a graph shows stages.
const MOST_JOBS: usize = 40;

/// A node: a job, or all jobs of a stage.
struct Node {
    name: String,
    kind: &'static str,
    jobs: usize,
    needs: BTreeSet<usize>,
}

/// The plan's jobs, or its stages if there are many.
pub fn render(plan: &Plan, format: Format) -> String {
    let nodes = if plan.graph.node_count() > MOST_JOBS { stages(plan) } else { jobs(plan) };
    match format {
        Format::Text => text(&nodes),
        Format::Mermaid => mermaid(&nodes),
        Format::Dot => dot(&nodes),
        Format::Json => json(plan, &nodes),
    }
}

fn jobs(plan: &Plan) -> Vec<Node> {
    let needs = |index| plan.graph.neighbors_directed(index, Direction::Incoming).map(NodeIndex::index).collect();
    plan.graph
        .node_indices()
        .map(|index| {
            let job = &plan.graph[index];
            Node { name: job.name.clone(), kind: job.kind.name, jobs: 1, needs: needs(index) }
        })
        .collect()
}

fn stages(plan: &Plan) -> Vec<Node> {
    let place = |stage: &str| plan.stages.iter().position(|name| name == stage);
    let mut nodes: Vec<Node> =
        plan.stages.iter().map(|name| Node { name: name.clone(), kind: "", jobs: 0, needs: BTreeSet::new() }).collect();
    for index in plan.graph.node_indices() {
        let job = &plan.graph[index];
        let Some(at) = place(&job.stage) else { continue };
        nodes[at].kind = job.kind.name;
        nodes[at].jobs += 1;
        for upstream in plan.graph.neighbors_directed(index, Direction::Incoming) {
            nodes[at].needs.extend(place(&plan.graph[upstream].stage));
        }
    }
    nodes
}

fn label(node: &Node) -> String {
    if node.jobs == 1 { node.name.clone() } else { format!("{} ×{}", node.name, node.jobs) }
}

fn text(nodes: &[Node]) -> String {
    let width = nodes.iter().map(|node| label(node).chars().count()).max().unwrap_or(0);
    nodes
        .iter()
        .map(|node| {
            let needs: Vec<&str> = node.needs.iter().map(|at| nodes[*at].name.as_str()).collect();
            let from = if needs.is_empty() { String::new() } else { format!("  ← {}", needs.join(", ")) };
            let label = label(node);
            let padding = " ".repeat(width - label.chars().count());
            format!("{label}{padding}  {:9}{from}", node.kind).trim_end().to_owned() + "\n"
        })
        .collect()
}

fn mermaid(nodes: &[Node]) -> String {
    let mut out = String::from("flowchart TD\n");
    for (at, node) in nodes.iter().enumerate() {
        out += &format!("    n{at}[\"{}\"]\n", label(node).replace('"', "#quot;"));
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
        out += &format!("    n{at} [label=\"{}\"]\n", quoted(label(node)));
    }
    for (at, node) in nodes.iter().enumerate() {
        for need in &node.needs {
            out += &format!("    n{need} -> n{at}\n");
        }
    }
    out + "}\n"
}

fn json(plan: &Plan, nodes: &[Node]) -> String {
    let listed: Vec<_> =
        nodes.iter().map(|node| serde_json::json!({"name": node.name, "kind": node.kind, "jobs": node.jobs})).collect();
    let edges: Vec<_> = nodes
        .iter()
        .flat_map(|node| node.needs.iter().map(|need| [nodes[*need].name.as_str(), node.name.as_str()]))
        .collect();
    let graph = serde_json::json!({"version": 1, "pipeline": plan.name, "nodes": listed, "edges": edges});
    serde_json::to_string_pretty(&graph).expect("a graph is strings and numbers") + "\n"
}
