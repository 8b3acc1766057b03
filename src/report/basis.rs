//! The seeds on which a study is compared.

use super::columns::Column;
use super::evaluation::Evaluation;
use anyhow::{bail, ensure};
use std::collections::{BTreeMap, BTreeSet};

/// The seeds on which rows are compared: for each target those that all of them have. Rows without seeds, as an ensemble of all,
/// are compared with all of these.
pub(super) struct Basis {
    seeds: BTreeMap<String, BTreeSet<String>>,
    /// What a reader should know of it.
    pub(super) notes: Vec<String>,
}

impl Basis {
    /// # Errors
    /// If a target has no seed that all rows have.
    pub(super) fn of(columns: &[Column], pairs: &[Evaluation]) -> anyhow::Result<Self> {
        let mut seeds = BTreeMap::new();
        let mut lacking: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for task in columns[0].scores.keys() {
            let of_column = |column: &'_ Column| column.scores[task].keys().cloned().collect::<BTreeSet<String>>();
            let of_pairs: BTreeSet<String> = pairs.iter().filter(|e| e.task == *task).map(|e| e.seed.clone()).collect();
            ensure!(pairs.is_empty() || !of_pairs.is_empty(), "`pairs` has no scores for `{task}`");
            let mut rows: Vec<(&str, BTreeSet<String>)> =
                columns.iter().map(|column| (column.name.as_str(), of_column(column))).collect();
            if !pairs.is_empty() {
                rows.push(("pairs", of_pairs));
            }
            let baseline = rows[0].1.clone();
            // What is of no single seed goes with all of them.
            rows.retain(|(_, seeds)| *seeds == baseline || *seeds != BTreeSet::from([String::new()]));
            let common: BTreeSet<String> =
                baseline.iter().filter(|seed| rows.iter().all(|(_, seeds)| seeds.contains(*seed))).cloned().collect();
            if common.is_empty() {
                let listed = rows.iter().map(|(name, seeds)| format!("`{name}` has {}", spelled(seeds)));
                bail!(
                    "rows cannot be compared on `{task}`: no seed is in all of them; {}",
                    listed.collect::<Vec<_>>().join(", ")
                );
            }
            for (name, seeds) in &rows {
                let lacks = baseline.difference(seeds).cloned();
                lacking.entry(name).or_default().extend(lacks);
            }
            seeds.insert(task.clone(), common);
        }
        let lacks = lacking.into_iter().filter(|(_, seeds)| !seeds.is_empty());
        let lacks: Vec<String> = lacks.map(|(name, seeds)| format!("`{name}` lacks {}", spelled(&seeds))).collect();
        let note = format!("All rows are compared on the seeds that all of them have: {}.", lacks.join(", "));
        Ok(Self { seeds, notes: (!lacks.is_empty()).then_some(note).into_iter().collect() })
    }

    pub(super) fn has(&self, task: &str, seed: &str) -> bool {
        self.seeds.get(task).is_some_and(|seeds| seeds.contains(seed))
    }

    pub(super) fn restrict(&self, column: &mut Column) {
        for (task, scores) in &mut column.scores {
            let alone = scores.len() == 1;
            scores.retain(|seed, _| self.has(task, seed) || alone && seed.is_empty());
        }
    }

    /// How many seeds a target has; the fewest, if targets differ.
    pub(super) fn count(&self) -> usize {
        self.seeds.values().map(BTreeSet::len).min().unwrap_or(0)
    }
}

fn spelled(seeds: &BTreeSet<String>) -> String {
    let seeds: Vec<&str> = seeds.iter().map(|seed| if seed.is_empty() { "none" } else { seed.as_str() }).collect();
    let word = if seeds.len() == 1 { "seed" } else { "seeds" };
    format!("{word} {}", seeds.join(", "))
}
