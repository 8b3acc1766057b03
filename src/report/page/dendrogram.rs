//! Dendrograms: the brackets of a tree as geometry, and their drawing beside a heatmap.

use super::scale::extent;
use crate::ml::prompt::clustering::Tree;
use maud::{Markup, html};

/// Two clusters that are joined: a line up from each, and one across.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bracket {
    /// Where the clusters are, in rows from the start of the heatmap; the first leaf is at one half.
    sides: (f64, f64),
    /// The heights of the clusters, as shares of the whole tree's.
    feet: (f64, f64),
    /// The height at which they are joined.
    height: f64,
}

/// Which side of the heatmap the leaves are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// To the left: rows.
    Left,
    /// Above: columns.
    Above,
}

/// Length of a leaf's share and of the whole height in the drawing; it is stretched to the place that it has.
const UNIT: f64 = 10.0;
const DEPTH: f64 = 100.0;

fn brackets(tree: &Tree) -> Vec<Bracket> {
    let top = extent(tree.steps.iter().map(|step| step.distance)).map_or(0.0, |(_, high)| high);
    // Place and height of every cluster, leaves first.
    let mut clusters = vec![(0.0, 0.0); tree.observations];
    for (at, leaf) in tree.leaves().into_iter().enumerate() {
        clusters[leaf].0 = at as f64 + 0.5;
    }
    let mut brackets = Vec::with_capacity(tree.steps.len());
    for (number, step) in tree.steps.iter().enumerate() {
        let (left, right) = (clusters[step.left], clusters[step.right]);
        // Where nothing has any distance the steps are drawn one above the other, to be seen at all.
        let height = if top > 0.0 { step.distance / top } else { (number + 1) as f64 / tree.steps.len() as f64 };
        brackets.push(Bracket { sides: (left.0, right.0), feet: (left.1, right.1), height });
        clusters.push(((left.0 + right.0) / 2.0, height));
    }
    brackets
}

/// The tree, stretched over the cell of the table that holds it.
pub(super) fn draw(tree: &Tree, side: Side, label: &str) -> Markup {
    let length = tree.observations as f64 * UNIT;
    let path: String = brackets(tree).iter().map(|bracket| path(bracket, side)).collect();
    let view = match side {
        Side::Left => format!("0 0 {DEPTH} {length}"),
        Side::Above => format!("0 0 {length} {DEPTH}"),
    };
    html! {
        svg viewBox=(view) preserveAspectRatio="none" role="img" aria-label=(label) {
            path d=(path) fill="none" {}
        }
    }
}

fn path(bracket: &Bracket, side: Side) -> String {
    let Bracket { sides, feet, height } = *bracket;
    let points = [(sides.0, feet.0), (sides.0, height), (sides.1, height), (sides.1, feet.1)];
    let points = points.map(|(place, height)| {
        // A little room, so that the last bracket is not cut.
        let (place, height) = (place * UNIT, height * DEPTH * 0.97);
        match side {
            Side::Left => format!("{height:.2} {place:.2}"),
            Side::Above => format!("{place:.2} {height:.2}"),
        }
    });
    format!("M{}", points.join("L"))
}

/// What is joined with what, in words: the same as the drawing says.
pub(super) fn in_words(tree: &Tree, names: &[String]) -> Vec<String> {
    let mut members: Vec<Vec<&str>> = names.iter().map(|name| vec![name.as_str()]).collect();
    let mut words = Vec::with_capacity(tree.steps.len());
    for step in &tree.steps {
        let [left, right] = [step.left, step.right].map(|cluster| members[cluster].clone());
        let parts = [&left, &right].map(|part| match part[..] {
            [one] => one.to_owned(),
            _ => format!("({})", part.join(", ")),
        });
        words.push(format!("{} with {} at {:.4}", parts[0], parts[1], step.distance));
        members.push(left.into_iter().chain(right).collect());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::prompt::clustering::Linkage;

    fn tree() -> Tree {
        // 0 and 2 are near, 1 and 3 too; the pairs are far apart.
        let rows = [[0.0], [10.0], [1.0], [12.0]].map(Vec::from);
        Tree::of_rows(&rows, Linkage::Average).unwrap()
    }

    #[test]
    fn brackets_stand_on_their_clusters() {
        let found = brackets(&tree());
        assert_eq!(found[0], Bracket { sides: (0.5, 1.5), feet: (0.0, 0.0), height: 1.0 / 10.5 });
        assert_eq!(found[1], Bracket { sides: (2.5, 3.5), feet: (0.0, 0.0), height: 2.0 / 10.5 });
        assert_eq!(found[2], Bracket { sides: (1.0, 3.0), feet: (1.0 / 10.5, 2.0 / 10.5), height: 1.0 });
    }

    #[test]
    fn every_bracket_is_above_its_feet_and_inside_the_drawing() {
        let rows: Vec<Vec<f64>> = (0..40).map(|i| vec![f64::from(i * i % 41), f64::from(i * 7 % 13)]).collect();
        for linkage in [Linkage::Average, Linkage::Single, Linkage::Ward] {
            let tree = Tree::of_rows(&rows, linkage).unwrap();
            let found = brackets(&tree);
            assert_eq!(found.len(), 39);
            for bracket in &found {
                assert!(bracket.height >= bracket.feet.0 && bracket.height >= bracket.feet.1);
                assert!(bracket.sides.0 < bracket.sides.1, "the left cluster is left");
                assert!(bracket.sides.0 >= 0.5 && bracket.sides.1 <= 39.5 && bracket.height <= 1.0);
            }
        }
    }

    #[test]
    fn equal_rows_still_make_a_tree_to_be_seen() {
        let tree = Tree::of_rows(&vec![vec![1.0]; 3], Linkage::Average).unwrap();
        assert_eq!(brackets(&tree).iter().map(|bracket| bracket.height).collect::<Vec<_>>(), [0.5, 1.0]);
        assert!(!draw(&tree, Side::Above, "x").into_string().contains("NaN"));
    }

    #[test]
    fn the_words_say_what_the_drawing_shows() {
        let names = ["a", "b", "c", "d"].map(str::to_owned);
        assert_eq!(
            in_words(&tree(), &names),
            ["a with c at 1.0000", "b with d at 2.0000", "(a, c) with (b, d) at 10.5000"]
        );
    }
}
