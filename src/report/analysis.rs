//! The page of a matrix of transfer scores that someone brought along.

use super::figures;
use super::page::{Block, Cell, Page, Record, ScatterPoint, Section};
use super::transfer::{Findings, Scores};
use crate::ml::clustering::Linkage;
use crate::ml::error::Result;

/// What is shown.
pub struct Analysis<'a> {
    /// What the matrix is called.
    pub name: &'a str,
    /// Its scores.
    pub scores: &'a Scores,
    /// What they say.
    pub findings: &'a Findings,
    /// Similarities in the order of sources and targets, and the digest of their record.
    pub similarities: Option<(&'a [Vec<f64>], &'a str)>,
    /// How sources and targets are clustered.
    pub linkage: Linkage,
    /// The files that the numbers are from.
    pub records: Vec<Record>,
    /// Version of the program.
    pub program: String,
}

impl Analysis<'_> {
    /// The page.
    ///
    /// # Errors
    /// If the similarities cannot be clustered.
    pub fn page(&self) -> Result<Page> {
        let Self { scores, findings, .. } = self;
        let (n_sources, n_targets) = (scores.sources.len(), scores.targets.len());
        let mut sections = vec![self.transfer(), self.sources(), self.scores()];
        if let Some((similarities, digest)) = self.similarities {
            sections.push(self.similarity(similarities, digest)?);
            sections.push(self.prediction(similarities, digest));
        }
        let Findings { helping, hurting, .. } = findings;
        Ok(Page {
            title: format!("Transfer between tasks: {}", self.name),
            lead: format!(
                "{n_sources} source tasks tried on {n_targets} target tasks. Of {} pairs {helping} help and {hurting} hurt.",
                n_sources * n_targets
            ),
            about: vec![("made by".to_owned(), format!("spot {}", self.program))],
            notices: Vec::new(),
            sections,
            records: self.records.clone(),
        })
    }

    fn transfer(&self) -> Section {
        Section {
            id: "transfer",
            title: "What transfer gained".to_owned(),
            lead:
                "How much of a target's error goes away when its prompt begins from that of a source: blue helps, orange \
                   hurts. Sources stand in the order of their mean scores."
                .to_owned(),
            blocks: vec![
                figures::facts(self.scores, self.findings),
                figures::counts(self.findings),
                Block::Heatmap(figures::reductions(self.scores, self.findings)),
            ],
        }
    }

    fn sources(&self) -> Section {
        Section {
            id: "sources-ranked",
            title: "Single sources".to_owned(),
            lead: "One source for all targets is the plainest choice; a way of choosing has to be better than the best of \
                   these."
                .to_owned(),
            blocks: vec![Block::Dots(figures::source_means(self.scores, self.findings))],
        }
    }

    fn scores(&self) -> Section {
        Section {
            id: "scores",
            title: "Scores".to_owned(),
            lead: String::new(),
            blocks: vec![Block::Heatmap(figures::matrix(self.scores, self.findings))],
        }
    }

    fn similarity(&self, similarities: &[Vec<f64>], digest: &str) -> Result<Section> {
        let sources: Vec<String> = self.scores.sources.iter().map(|source| source.name.clone()).collect();
        let row = |row: &Vec<f64>| row.iter().map(|value| Cell::of(*value).from([digest])).collect();
        let cells = similarities.iter().map(row).collect();
        let caption = "Similarity of the prompts, like tasks side by side".to_owned();
        let names = [sources.as_slice(), &self.scores.targets];
        let heatmap = figures::similarities(caption, ["source", "target"], names, cells, self.linkage)?;
        Ok(Section {
            id: "similarity",
            title: "Similarity of tasks".to_owned(),
            lead: "Rows and columns are clustered by the Euclidean distance of their similarities.".to_owned(),
            blocks: vec![Block::Heatmap(heatmap)],
        })
    }

    fn prediction(&self, similarities: &[Vec<f64>], digest: &str) -> Section {
        let points = |target: usize| {
            let name = &self.scores.targets[target];
            let point = |(source, row): (&super::transfer::Source, &Vec<f64>)| {
                let gain = self.findings.relative_error_reduction[&source.name][name]?;
                let mut from = source.scores[target].from.clone();
                from.push(digest.to_owned());
                Some(ScatterPoint { name: source.name.clone(), x: row[target], y: gain, from })
            };
            self.scores.sources.iter().zip(similarities).filter_map(point).collect()
        };
        let targets = self.scores.targets.iter().enumerate().map(|(at, name)| (name, points(at)));
        let correlation = |target: &str| self.findings.correlation.as_ref()?.get(target).copied();
        Section {
            id: "prediction",
            title: "Similarity and transfer".to_owned(),
            lead: "A dot is a source. Where similarity tells what helps, the dots rise to the right; a dashed line may be \
                   chance (p of Pearson's correlation at 0.05 or more)."
                .to_owned(),
            blocks: vec![Block::Scatter(figures::scatter(targets, correlation))],
        }
    }
}
