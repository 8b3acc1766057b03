//! Hierarchical clustering, which puts similar tasks side by side in a heatmap.

use crate::ml::error::{Error, Result};
use kodama::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far apart two clusters are, from the distances of their members.
///
/// Centroid and median linkage are left out: with them a cluster may be closer than its parts are, which no tree can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Linkage {
    /// The mean distance of a member of the one and a member of the other (UPGMA).
    #[default]
    Average,
    /// The largest distance.
    Complete,
    /// The smallest distance.
    Single,
    /// The mean over the two parts that a cluster was joined from, however many members they have (WPGMA).
    Weighted,
    /// By how much joining them raises the sum of squares within clusters; for Euclidean distances.
    Ward,
}

/// Two clusters that are joined. Clusters are numbered as in SciPy's `linkage`: below the number of observations `n`, an
/// observation; from `n` on, the cluster of step `number - n`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The cluster with the smaller number.
    pub left: usize,
    /// The other.
    pub right: usize,
    /// How far apart they are; never less than in the step before.
    pub distance: f64,
    /// Observations in both.
    pub size: usize,
}

/// Observations joined step by step until one cluster is left.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    /// Number of observations.
    pub observations: usize,
    /// One less than there are observations.
    pub steps: Vec<Step>,
}

impl Tree {
    /// From the distance of every pair: of the first observation to all after it, then of the second, and so on.
    ///
    /// # Errors
    /// If there are not that many, or one is negative or not finite.
    pub fn of_condensed(mut distances: Vec<f64>, observations: usize, linkage: Linkage) -> Result<Self> {
        let pairs = observations * observations.saturating_sub(1) / 2;
        if distances.len() != pairs {
            let expected = format!("{pairs}, one for each pair of {observations}");
            return Err(wrong(format!("{} numbers", distances.len()), expected));
        }
        if let Some(bad) = distances.iter().find(|distance| !distance.is_finite() || **distance < 0.0) {
            return Err(wrong(bad.to_string(), "a finite number that is not negative"));
        }
        let dendrogram = kodama::linkage(&mut distances, observations, linkage.into());
        let steps = dendrogram.steps().iter().map(|step| Step {
            left: step.cluster1,
            right: step.cluster2,
            distance: step.dissimilarity,
            size: step.size,
        });
        Ok(Self { observations, steps: steps.collect() })
    }

    /// From a square matrix of distances.
    ///
    /// # Errors
    /// As [`of_condensed`](Self::of_condensed), and if the matrix is not square and symmetric.
    pub fn of_square(distances: &[Vec<f64>], linkage: Linkage) -> Result<Self> {
        let n = distances.len();
        let mut condensed = Vec::with_capacity(n * n.saturating_sub(1) / 2);
        for (i, row) in distances.iter().enumerate() {
            if row.len() != n {
                return Err(wrong(format!("{n} rows, one of {} numbers", row.len()), "as many rows as columns"));
            }
            for (j, distance) in row.iter().enumerate().skip(i + 1) {
                if *distance != distances[j][i] && !distance.is_nan() {
                    let found = format!("{distance} from {i} to {j} and {} back", distances[j][i]);
                    return Err(wrong(found, "the same distance both ways"));
                }
                condensed.push(*distance);
            }
        }
        Self::of_condensed(condensed, n, linkage)
    }

    /// From the Euclidean distances between rows, as seaborn's `clustermap` does.
    ///
    /// # Errors
    /// If rows differ in length or hold something that is not a finite number.
    pub fn of_rows(rows: &[Vec<f64>], linkage: Linkage) -> Result<Self> {
        let mut condensed = Vec::new();
        for (i, a) in rows.iter().enumerate() {
            if a.len() != rows[0].len() {
                let (first, found) = (rows[0].len(), a.len());
                return Err(wrong(format!("between rows of {first} and {found} numbers"), "rows of one length"));
            }
            condensed.extend(rows[i + 1..].iter().map(|b| euclidean(a, b)));
        }
        Self::of_condensed(condensed, rows.len(), linkage)
    }

    /// The observations in the order in which a drawing of the tree has them, left to right.
    pub fn leaves(&self) -> Vec<usize> {
        let mut leaves = Vec::with_capacity(self.observations);
        let mut open: Vec<usize> = match self.observations {
            0 => Vec::new(),
            n => vec![n - 1 + self.steps.len()],
        };
        while let Some(cluster) = open.pop() {
            match cluster.checked_sub(self.observations) {
                None => leaves.push(cluster),
                Some(step) => open.extend([self.steps[step].right, self.steps[step].left]),
            }
        }
        leaves
    }
}

impl From<Linkage> for Method {
    fn from(linkage: Linkage) -> Self {
        match linkage {
            Linkage::Average => Self::Average,
            Linkage::Complete => Self::Complete,
            Linkage::Single => Self::Single,
            Linkage::Weighted => Self::Weighted,
            Linkage::Ward => Self::Ward,
        }
    }
}

fn euclidean(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

fn wrong(found: impl Into<String>, expected: impl Into<String>) -> Error {
    Error::Setting { field: "distances", found: found.into(), expected: expected.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `tests/golden/clustering.py`.
    #[derive(Deserialize)]
    struct Case {
        method: Linkage,
        rows: Option<Vec<Vec<f64>>>,
        #[serde(default)]
        distances: Vec<f64>,
        steps: Vec<(usize, usize, f64, usize)>,
        leaves: Vec<usize>,
    }

    fn cases() -> Vec<Case> {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/golden/clustering.json")).unwrap();
        serde_json::from_value(golden["cases"].clone()).unwrap()
    }

    #[track_caller]
    fn check(tree: &Tree, case: &Case) {
        assert_eq!(tree.steps.len(), case.steps.len());
        for (ours, (left, right, distance, size)) in tree.steps.iter().zip(&case.steps) {
            assert_eq!((ours.left, ours.right, ours.size), (*left, *right, *size), "{:?}", case.method);
            assert!((ours.distance - distance).abs() <= 1e-9, "{} and {distance}", ours.distance);
        }
        assert_eq!(tree.leaves(), case.leaves);
    }

    fn square(condensed: &[f64], n: usize) -> Vec<Vec<f64>> {
        let mut square = vec![vec![0.0; n]; n];
        let pairs = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j)));
        for ((i, j), distance) in pairs.zip(condensed) {
            square[i][j] = *distance;
            square[j][i] = *distance;
        }
        square
    }

    #[test]
    fn clusterings_agree_with_scipy() {
        let cases = cases();
        assert_eq!(cases.len(), 50);
        for case in &cases {
            match &case.rows {
                Some(rows) => check(&Tree::of_rows(rows, case.method).unwrap(), case),
                None => {
                    let n = case.leaves.len();
                    check(&Tree::of_condensed(case.distances.clone(), n, case.method).unwrap(), case);
                    check(&Tree::of_square(&square(&case.distances, n), case.method).unwrap(), case);
                }
            }
        }
    }

    #[test]
    fn nothing_and_one_thing_are_trees_too() {
        for n in [0, 1] {
            let tree = Tree::of_rows(&vec![vec![1.0, 2.0]; n], Linkage::Average).unwrap();
            assert_eq!((tree.steps.len(), tree.leaves().len()), (0, n));
        }
    }

    #[test]
    fn equal_rows_are_no_distance_apart() {
        let tree = Tree::of_rows(&vec![vec![0.25; 3]; 4], Linkage::Ward).unwrap();
        assert!(tree.steps.iter().all(|step| step.distance == 0.0));
        let mut leaves = tree.leaves();
        leaves.sort_unstable();
        assert_eq!(leaves, [0, 1, 2, 3]);
    }

    #[test]
    fn distances_that_are_none_are_refused() {
        let of =
            |distances: &[f64]| Tree::of_condensed(distances.to_vec(), 3, Linkage::Average).unwrap_err().to_string();
        for bad in [f64::NAN, f64::INFINITY, -1.0] {
            assert!(of(&[1.0, bad, 2.0]).contains("expected a finite number"), "{bad}");
        }
        assert!(of(&[1.0]).contains("expected 3, one for each pair of 3"));
        assert!(Tree::of_rows(&[vec![1.0], vec![f64::NAN]], Linkage::Average).is_err());
        assert!(Tree::of_rows(&[vec![1.0], vec![1.0, 2.0]], Linkage::Average).is_err());
        let lopsided = Tree::of_square(&[vec![0.0, 1.0], vec![2.0, 0.0]], Linkage::Average).unwrap_err();
        assert!(lopsided.to_string().contains("the same distance both ways"));
        assert!(Tree::of_square(&[vec![0.0, 1.0], vec![1.0]], Linkage::Average).is_err());
    }
}
