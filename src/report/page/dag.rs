//! The stages of a pipeline as a layered drawing: every stage below those whose results it reads.

use super::cell::short;
use super::scatter::px;
use maud::{Markup, html};
use std::collections::BTreeSet;

/// Stages and what they read.
#[derive(Clone, Debug, PartialEq)]
pub struct Dag {
    /// What it shows.
    pub caption: String,
    /// In the order of the manifest.
    pub nodes: Vec<Node>,
    /// From a stage to one that reads its results, by their places.
    pub edges: Vec<(usize, usize)>,
}

/// A stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Name.
    pub name: String,
    /// Kind of its jobs.
    pub kind: String,
    /// How many jobs are in which state.
    pub states: Vec<(NodeState, usize)>,
    /// How long its jobs took in all, for people.
    pub took: String,
}

/// What is to be done about jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeState {
    /// Done.
    Cached,
    /// They will run.
    Stale,
    /// They will run if something before them makes something new.
    MayRun,
    /// They cannot run.
    Blocked,
    /// They go on where they were stopped.
    Interrupted,
}

impl NodeState {
    fn word(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Stale => "stale",
            Self::MayRun => "may run",
            Self::Blocked => "blocked",
            Self::Interrupted => "interrupted",
        }
    }

    /// A shape of its own in a square of 10, so that colour is not needed to tell states apart.
    fn shape(self) -> &'static str {
        match self {
            Self::Cached => "M1 5.5 4 8.5 9 2",
            Self::Stale => "M5 1.5A3.5 3.5 0 1 1 4.99 1.5Z",
            Self::MayRun => "M5 1.5 8.5 5 5 8.5 1.5 5Z",
            Self::Blocked => "M2 2 8 8M8 2 2 8",
            Self::Interrupted => "M3.2 1.5V8.5M6.8 1.5V8.5",
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Cached => "state cached",
            Self::Stale => "state stale",
            Self::MayRun => "state may-run",
            Self::Blocked => "state blocked",
            Self::Interrupted => "state interrupted",
        }
    }
}

/// Width of a stage's box, and of the place of an edge that passes a layer.
const BOX: f64 = 168.0;
const LANE: f64 = 14.0;
/// Room between neighbours of a layer, and between layers.
const GAP: f64 = 18.0;
const LAYER_GAP: f64 = 34.0;
const LINE: f64 = 15.0;
const MARGIN: f64 = 6.0;

/// Places of boxes and edges.
struct Layout {
    width: f64,
    height: f64,
    /// Middle of the upper side of every box.
    boxes: Vec<(f64, f64)>,
    /// The points that every drawn edge passes.
    edges: Vec<Vec<(f64, f64)>>,
}

/// A box or the lane of an edge in a layer.
#[derive(Clone, Copy)]
struct Slot {
    width: f64,
    x: f64,
}

impl Dag {
    pub(super) fn draw(&self) -> Markup {
        let layout = self.layout();
        let (width, height) = (layout.width.ceil(), layout.height.ceil());
        html! {
            figure {
                figcaption { (self.caption) }
                (self.legend())
                div.scroll tabindex="0" role="region" aria-label=(self.caption) {
                    svg.dag width=(width) height=(height) viewBox=(format!("0 0 {width} {height}")) role="img"
                        aria-label="Stages and what they read; the table below says the same" {
                        @for edge in &layout.edges { path.edge d=(curve(edge)) {} }
                        @for (node, place) in self.nodes.iter().zip(&layout.boxes) { (self.node(node, *place)) }
                    }
                }
                (self.table())
            }
        }
    }

    fn node(&self, node: &Node, (x, y): (f64, f64)) -> Markup {
        let left = x - BOX / 2.0;
        let jobs: usize = node.states.iter().map(|(_, n)| n).sum();
        let summary = format!("{} · {jobs} {}", node.kind, if jobs == 1 { "job" } else { "jobs" });
        let all_cached = node.states.iter().all(|(state, _)| *state == NodeState::Cached);
        html! {
            g.node.unfinished[!all_cached] {
                title { (node.name) }
                rect x=(px(left)) y=(px(y)) width=(px(BOX)) height=(px(height(node))) {}
                text.stage x=(px(left + 10.0)) y=(px(y + 18.0)) { (short(&node.name, 22)) }
                text x=(px(left + 10.0)) y=(px(y + 18.0 + LINE)) { (short(&summary, 26)) }
                @for (at, (state, n)) in node.states.iter().enumerate() {
                    @let below = y + 18.0 + (at + 2) as f64 * LINE;
                    g.shape transform=(format!("translate({} {})", px(left + 10.0), px(below - 8.5))) {
                        path class=(state.class()) d=(state.shape()) {}
                    }
                    text x=(px(left + 25.0)) y=(px(below)) { (n) " " (state.word()) }
                }
                @if !node.took.is_empty() {
                    text.took x=(px(left + BOX - 10.0)) y=(px(y + 18.0 + 2.0 * LINE)) text-anchor="end" { (node.took) }
                }
            }
        }
    }

    fn legend(&self) -> Markup {
        let states: BTreeSet<NodeState> = self.nodes.iter().flat_map(|node| node.states.iter().map(|s| s.0)).collect();
        html! {
            ul.keys aria-hidden="true" {
                @for state in states {
                    li { svg viewBox="0 0 10 10" { path class=(state.class()) d=(state.shape()) {} } (state.word()) }
                }
            }
        }
    }

    fn table(&self) -> Markup {
        html! {
            details {
                summary { "The stages as a table, with everything that each reads" }
                div.scroll tabindex="0" role="region" aria-label="The stages as a table" {
                    table.plain {
                        thead { tr {
                            th scope="col" { "Stage" } th scope="col" { "Kind" } th scope="col" { "Jobs" }
                            th.number scope="col" { "Took" } th scope="col" { "Reads" }
                        } }
                        tbody {
                            @for (at, node) in self.nodes.iter().enumerate() {
                                tr {
                                    th scope="row" { (node.name) }
                                    td { (node.kind) }
                                    td { (states(node)) }
                                    td.number { (node.took) }
                                    td { (self.reads(at)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    fn reads(&self, node: usize) -> String {
        let needed: BTreeSet<usize> = self.edges.iter().filter(|(_, to)| *to == node).map(|(from, _)| *from).collect();
        let names: Vec<&str> = needed.into_iter().filter_map(|at| Some(self.nodes.get(at)?.name.as_str())).collect();
        names.join(", ")
    }

    fn layout(&self) -> Layout {
        let n = self.nodes.len();
        let edges = reduced(n, &self.edges);
        let layers = layers(n, &edges);
        let depth = layers.iter().max().map_or(0, |last| last + 1);
        // Slots of boxes come first, so a box has the number of its node.
        let mut slots = vec![Slot { width: BOX, x: 0.0 }; n];
        let mut rows: Vec<Vec<usize>> = vec![Vec::new(); depth];
        (0..n).for_each(|node| rows[layers[node]].push(node));
        let mut chains = Vec::with_capacity(edges.len());
        for (from, to) in &edges {
            let mut chain = vec![*from];
            for row in &mut rows[layers[*from] + 1..layers[*to]] {
                chain.push(slots.len());
                row.push(slots.len());
                slots.push(Slot { width: LANE, x: 0.0 });
            }
            chain.push(*to);
            chains.push(chain);
        }
        let links: Vec<(usize, usize)> =
            chains.iter().flat_map(|chain| chain.windows(2).map(|pair| (pair[0], pair[1]))).collect();
        untangle(&mut rows, &links, slots.len());
        place(&rows, &links, &mut slots);
        self.finish(&rows, &chains, &slots)
    }

    fn finish(&self, rows: &[Vec<usize>], chains: &[Vec<usize>], slots: &[Slot]) -> Layout {
        let edge = |slot: &Slot, side: f64| slot.x + side * slot.width / 2.0;
        let left = slots.iter().map(|slot| edge(slot, -1.0)).fold(f64::INFINITY, f64::min);
        let right = slots.iter().map(|slot| edge(slot, 1.0)).fold(f64::NEG_INFINITY, f64::max);
        let mut tops = vec![0.0; slots.len()];
        let mut y = MARGIN;
        for row in rows {
            row.iter().for_each(|slot| tops[*slot] = y);
            let tallest = row.iter().filter_map(|slot| self.nodes.get(*slot)).map(height).fold(0.0, f64::max);
            y += tallest + LAYER_GAP;
        }
        let x = |slot: usize| slots[slot].x - left + MARGIN;
        let points = |chain: &Vec<usize>| {
            let (first, last) = (chain[0], chain[chain.len() - 1]);
            let mut points = vec![(x(first), tops[first] + height(&self.nodes[first]))];
            points.extend(chain[1..chain.len() - 1].iter().flat_map(|slot| {
                // A lane is straight along the boxes of its layer.
                let layer = rows.iter().find(|row| row.contains(slot)).into_iter().flatten();
                let tallest = layer.filter_map(|slot| self.nodes.get(*slot)).map(height).fold(0.0, f64::max);
                [(x(*slot), tops[*slot]), (x(*slot), tops[*slot] + tallest)]
            }));
            points.push((x(last), tops[last]));
            points
        };
        Layout {
            width: if slots.is_empty() { 0.0 } else { right - left + 2.0 * MARGIN },
            height: (y - LAYER_GAP + MARGIN).max(0.0),
            boxes: (0..self.nodes.len()).map(|node| (x(node), tops[node])).collect(),
            edges: chains.iter().map(points).collect(),
        }
    }
}

fn height(node: &Node) -> f64 {
    18.0 + LINE * (1 + node.states.len().max(1)) as f64 + 10.0
}

fn states(node: &Node) -> String {
    node.states.iter().map(|(state, n)| format!("{n} {}", state.word())).collect::<Vec<_>>().join(", ")
}

/// The edges without those that follow from others. What is not an edge between two stages, or leads back, is left out.
fn reduced(n: usize, edges: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let edges: BTreeSet<(usize, usize)> =
        edges.iter().copied().filter(|(from, to)| *from < n && *to < n && from != to).collect();
    let next = |node: usize| edges.range((node, 0)..(node + 1, 0)).map(|(_, to)| *to);
    let reaches = |from: usize, goal: usize| {
        let (mut open, mut seen) = (vec![from], BTreeSet::new());
        while let Some(node) = open.pop() {
            if node == goal {
                return true;
            }
            open.extend(next(node).filter(|node| seen.insert(*node)));
        }
        false
    };
    let needed =
        |&(from, to): &(usize, usize)| !reaches(to, from) && !next(from).any(|other| other != to && reaches(other, to));
    edges.iter().copied().filter(needed).collect()
}

/// The layer of every node: below all that it reads, and no higher than what reads it asks for.
fn layers(n: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut layers = vec![0; n];
    // Edges have no circle, so that at most n rounds change anything.
    for _ in 0..n {
        for (from, to) in edges {
            layers[*to] = layers[*to].max(layers[*from] + 1);
        }
    }
    for node in 0..n {
        let is_source = edges.iter().all(|(_, to)| *to != node);
        let first_reader = edges.iter().filter(|(from, _)| *from == node).map(|(_, to)| layers[*to]).min();
        if let Some(first) = first_reader.filter(|_| is_source) {
            layers[node] = first - 1;
        }
    }
    layers
}

/// Puts the slots of every layer in an order with few crossings: by the mean place of their neighbours, up and down by turns.
fn untangle(rows: &mut Vec<Vec<usize>>, links: &[(usize, usize)], n_slots: usize) {
    let mut best = (crossings(rows, links, n_slots), rows.clone());
    for sweep in 0..12 {
        let downwards = sweep % 2 == 0;
        let order: Vec<usize> =
            if downwards { (1..rows.len()).collect() } else { (0..rows.len().saturating_sub(1)).rev().collect() };
        for layer in order {
            let places = places(rows, n_slots);
            let mean = |slot: usize| {
                let neighbours = links.iter().filter_map(|&(a, b)| match (downwards, a == slot, b == slot) {
                    (true, _, true) => Some(places[a]),
                    (false, true, _) => Some(places[b]),
                    _ => None,
                });
                let neighbours: Vec<f64> = neighbours.collect();
                if neighbours.is_empty() { places[slot] } else { crate::ml::statistics::mean(&neighbours) }
            };
            let mut keyed: Vec<(f64, usize)> = rows[layer].iter().map(|slot| (mean(*slot), *slot)).collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            rows[layer] = keyed.into_iter().map(|(_, slot)| slot).collect();
        }
        let found = crossings(rows, links, n_slots);
        if found < best.0 {
            best = (found, rows.clone());
        }
    }
    *rows = best.1;
}

/// The place of every slot within its layer, as a share of it.
fn places(rows: &[Vec<usize>], n_slots: usize) -> Vec<f64> {
    let mut places = vec![0.0; n_slots];
    for row in rows {
        row.iter().enumerate().for_each(|(at, slot)| places[*slot] = (at as f64 + 0.5) / row.len() as f64);
    }
    places
}

fn crossings(rows: &[Vec<usize>], links: &[(usize, usize)], n_slots: usize) -> usize {
    let places = places(rows, n_slots);
    let mut layer = vec![0; n_slots];
    rows.iter().enumerate().for_each(|(at, row)| row.iter().for_each(|slot| layer[*slot] = at));
    let cross = |&(a, b): &(usize, usize), &(c, d): &(usize, usize)| {
        layer[a] == layer[c] && (places[a] - places[c]) * (places[b] - places[d]) < 0.0
    };
    links.iter().enumerate().map(|(at, one)| links[..at].iter().filter(|other| cross(one, other)).count()).sum()
}

/// Gives every slot a place as near to the mean of its neighbours as the order within its layer allows.
fn place(rows: &[Vec<usize>], links: &[(usize, usize)], slots: &mut [Slot]) {
    for row in rows {
        let wanted = vec![0.0; row.len()];
        settle(row, &wanted, slots);
    }
    for _ in 0..24 {
        for row in rows {
            let wanted: Vec<f64> = row.iter().map(|slot| neighbours_mean(*slot, links, slots)).collect();
            settle(row, &wanted, slots);
        }
    }
}

/// The mean place of what a slot is linked with. Pieces of one edge hold together more than others do, so that long edges
/// are straight.
fn neighbours_mean(slot: usize, links: &[(usize, usize)], slots: &[Slot]) -> f64 {
    let (mut sum, mut weights) = (0.0, 0.0);
    for &(a, b) in links {
        let other = match (a == slot, b == slot) {
            (true, _) => b,
            (_, true) => a,
            _ => continue,
        };
        let weight = if slots[slot].width == LANE && slots[other].width == LANE { 8.0 } else { 1.0 };
        sum += weight * slots[other].x;
        weights += weight;
    }
    if weights == 0.0 { slots[slot].x } else { sum / weights }
}

/// The places nearest to the wanted ones (least squares) that keep order and distance: once the distances are taken off, that
/// is isotonic regression, by pooling neighbours that are in each other's way.
fn settle(row: &[usize], wanted: &[f64], slots: &mut [Slot]) {
    let mut offset = 0.0;
    let mut offsets = Vec::with_capacity(row.len());
    for (at, slot) in row.iter().enumerate() {
        if at > 0 {
            offset += (slots[row[at - 1]].width + slots[*slot].width) / 2.0 + GAP;
        }
        offsets.push(offset);
    }
    // Pools of neighbours: sum of what they want, and how many they are.
    let mut pools: Vec<(f64, usize)> = Vec::new();
    for (wanted, offset) in wanted.iter().zip(&offsets) {
        let mut pool = (wanted - offset, 1);
        while let Some(&(sum, n)) = pools.last().filter(|(sum, n)| sum / *n as f64 >= pool.0 / pool.1 as f64) {
            pools.pop();
            pool = (pool.0 + sum, pool.1 + n);
        }
        pools.push(pool);
    }
    let settled = pools.iter().flat_map(|&(sum, n)| std::iter::repeat_n(sum / n as f64, n));
    for ((slot, offset), base) in row.iter().zip(offsets).zip(settled) {
        slots[*slot].x = base + offset;
    }
}

/// A line through the points that leaves and reaches each of them upright.
fn curve(points: &[(f64, f64)]) -> String {
    let mut path = format!("M{} {}", px(points[0].0), px(points[0].1));
    for pair in points.windows(2) {
        let ((x, y), (to_x, to_y)) = (pair[0], pair[1]);
        let middle = f64::midpoint(y, to_y);
        if x == to_x {
            path += &format!("V{}", px(to_y));
        } else {
            path += &format!("C{} {} {} {} {} {}", px(x), px(middle), px(to_x), px(middle), px(to_x), px(to_y));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dag(n: usize, edges: &[(usize, usize)]) -> Dag {
        let node = |at| Node {
            name: format!("stage {at}"),
            kind: "tune".to_owned(),
            states: vec![(NodeState::Cached, 3), (NodeState::Blocked, 1)],
            took: "1.0 s".to_owned(),
        };
        Dag { caption: String::new(), nodes: (0..n).map(node).collect(), edges: edges.to_vec() }
    }

    #[test]
    fn edges_that_follow_from_others_are_left_out() {
        assert_eq!(reduced(4, &[(0, 1), (1, 2), (0, 2), (2, 3), (0, 3), (0, 1)]), [(0, 1), (1, 2), (2, 3)]);
        assert_eq!(reduced(2, &[(0, 0), (0, 7), (0, 1), (1, 0)]), [], "circles and strangers are not drawn");
    }

    #[test]
    fn every_stage_is_below_what_it_reads_and_boxes_do_not_overlap() {
        let edges = [(0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 5), (6, 5), (0, 7), (7, 8), (8, 5), (2, 9), (9, 5)];
        let dag = dag(10, &edges);
        let layout = dag.layout();
        let tall = height(&dag.nodes[0]);
        for (from, to) in edges {
            assert!(layout.boxes[from].1 + tall < layout.boxes[to].1, "{from} to {to}");
        }
        for (at, a) in layout.boxes.iter().enumerate() {
            assert!(a.0 - BOX / 2.0 >= 0.0 && a.0 + BOX / 2.0 <= layout.width && a.1 + tall <= layout.height);
            for b in &layout.boxes[..at] {
                assert!((a.0 - b.0).abs() >= BOX || (a.1 - b.1).abs() >= tall, "{a:?} {b:?}");
            }
        }
        assert!(layout.boxes[6].1 > layout.boxes[0].1, "a source stands just above its first reader");
    }

    #[test]
    fn no_stage_and_one_stage_are_drawn() {
        assert!(!dag(0, &[]).draw().into_string().contains("NaN"));
        let html = dag(1, &[(0, 0)]).draw().into_string();
        assert!(html.contains("3 cached") && html.contains("1 blocked") && !html.contains("inf"), "{html}");
    }

    #[test]
    fn places_keep_order_and_distance() {
        let mut slots = vec![Slot { width: 10.0, x: 0.0 }; 3];
        settle(&[0, 1, 2], &[100.0, 0.0, 300.0], &mut slots);
        let places: Vec<f64> = slots.iter().map(|slot| slot.x).collect();
        assert_eq!(places, [50.0 - 14.0, 50.0 + 14.0, 300.0]);
    }
}
