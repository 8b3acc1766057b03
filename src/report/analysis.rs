//! What transfer scores that someone brought along say: as tables, as JSON and as a page.

use super::columns::{Column, Role};
use super::derived;
use super::evaluation::Evaluation;
use super::figures;
use super::grid::Grid;
use super::methods;
use super::page::{Block, Cell, Page, Record, ScatterPoint, Section};
use super::prediction::{Likeness, Prediction, Reliability};
use super::results::Method;
use super::spread::Spread;
use super::tables;
use super::transfer::{Findings, Scores, matrix, to_parquet};
use super::transfers::Transfers;
use crate::data::DataError;
use crate::ml::error::Result;
use crate::ml::prompt::clustering::Linkage;
use crate::ml::prompt::similarity::Similarity;
use serde::Serialize;
use std::collections::BTreeMap;

/// What someone brings along.
#[derive(Clone, Debug, Default)]
pub struct Brought {
    /// Names of the targets in the order in which they are shown.
    pub targets: Vec<String>,
    /// Scores of targets begun from source prompts; none of a task on itself.
    pub transfers: Vec<Evaluation>,
    /// Scores without transfer; of every target or of none.
    pub baseline: Vec<Evaluation>,
    /// Standard deviations over runs by source and target; the source is empty for those without transfer.
    pub deviations: BTreeMap<(String, String), f64>,
    /// The number of runs behind them, if it is known.
    pub runs: Option<usize>,
    /// Similarities of source prompts to targets.
    pub likeness: Vec<Likeness>,
    /// How the similarities were computed, and the digest of their record.
    pub similarity: Option<(Option<Similarity>, String)>,
    /// Steps of the run behind an embedding, if costs are to be told.
    pub embedding_steps: Option<u64>,
    /// What a reader should know of how it was read.
    pub notes: Vec<String>,
}

/// What it says.
#[derive(Clone, Debug)]
pub struct Analysis {
    scores: Scores,
    likeness: Vec<Likeness>,
    similarity: Option<(Option<Similarity>, String)>,
    said: Said,
}

/// The numbers, as scripts read them.
#[derive(Clone, Debug, Serialize)]
struct Said {
    #[serde(flatten)]
    findings: Findings,
    #[serde(flatten)]
    prediction: Prediction,
    /// Ways to choose a source.
    methods: Vec<Method>,
    notes: Vec<String>,
}

impl Analysis {
    /// What scores and similarities say.
    ///
    /// # Errors
    /// If a transfer is there twice.
    pub fn of(brought: &Brought) -> std::result::Result<Self, String> {
        let mut transfers = Transfers::of(&brought.transfers)?;
        transfers.targets.sort_by_key(|target| brought.targets.iter().position(|name| name == target));
        let scores = brought.scores(&transfers);
        let prediction = Prediction::of(&transfers, &brought.likeness, brought.reliability(&transfers, &scores));
        let mut notes = brought.notes.clone();
        notes.extend(missing(&transfers, &scores));
        notes.extend(unlike(&transfers, &brought.likeness));
        notes.extend(unrankable(&prediction));
        notes.extend(chosen_on_what_is_reported(&brought.transfers));
        let said = Said { findings: Findings::of(&scores), prediction, methods: brought.methods(&transfers), notes };
        Ok(Self { scores, likeness: brought.likeness.clone(), similarity: brought.similarity.clone(), said })
    }

    /// For machines; ends with a line feed.
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(&self.said).expect("findings are strings and finite numbers");
        json.push('\n');
        json
    }

    /// For terminals.
    pub fn to_text(&self) -> String {
        self.lay_out(Grid::to_text, "")
    }

    /// For documents.
    pub fn to_markdown(&self) -> String {
        self.lay_out(Grid::to_markdown, "## ")
    }

    /// A row for each pair of source and target.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn to_parquet(&self) -> std::result::Result<Vec<u8>, DataError> {
        to_parquet(&self.scores, |source, target| self.alike(source, target))
    }

    fn lay_out(&self, draw: fn(&Grid) -> String, heading: &str) -> String {
        let Said { findings, prediction, methods, notes } = &self.said;
        let mut parts = Vec::new();
        let mut table = |title: &str, grid: &Grid| parts.push(format!("{heading}{title}\n\n{}", draw(grid)));
        if self.scores.baseline.is_some() {
            table("Relative error reduction in %, source by target", &findings.reductions(&self.scores));
        }
        if self.scores.baseline.is_none() || findings.deviation.is_some() {
            let title = if findings.deviation.is_some() { "Scores (mean ± sd)" } else { "Scores" };
            table(title, &matrix(&self.scores));
        }
        table("Mean scores", &findings.means(&self.scores));
        table(&format!("What is gained over {}", methods[0].name), &tables::gains(methods));
        if let Some(shown) = prediction.show(&self.scores.targets) {
            table("Similarity and score, over the sources of a target", &shown.correlations);
            if let Some(rankings) = &shown.rankings {
                table("How good the order by similarity is: regrets in %", rankings);
            }
            if !shown.summary.is_empty() {
                parts.push(shown.summary + "\n");
            }
        }
        if let Some(baseline_mean) = findings.baseline_mean {
            let Findings { best_per_target_mean, helping, hurting, tied, .. } = findings;
            parts.push(format!(
                "Without transfer {baseline_mean:.2}; with the best source for each target {best_per_target_mean:.2}. Of {} \
                 pairs {helping} help, {hurting} hurt, {tied} tie.\n",
                helping + hurting + tied
            ));
        }
        if !notes.is_empty() {
            let notes: String = notes.iter().map(|note| format!("- {note}\n")).collect();
            parts.push(format!("{heading}Caveats\n\n{notes}"));
        }
        parts.join("\n")
    }

    /// The mean similarity of a source task to a target.
    fn alike(&self, source: &str, target: &str) -> Option<f64> {
        let pairs = self.likeness.iter().filter(|alike| alike.source.0 == source && alike.target.0 == target);
        let values: Vec<f64> = pairs.map(|alike| alike.value).collect();
        (!values.is_empty()).then(|| crate::ml::statistics::mean(&values))
    }

    /// The page; `name` is what the matrix is called, `records` are the files that its numbers are from.
    ///
    /// # Errors
    /// If the similarities cannot be clustered.
    pub fn page(&self, name: &str, linkage: Linkage, records: Vec<Record>, program: &str) -> Result<Page> {
        let Said { findings, prediction, methods, notes } = &self.said;
        let (n_sources, n_targets) = (self.scores.sources.len(), self.scores.targets.len());
        let mut sections = vec![self.transfer(), choosing(methods), self.sources(), self.scores()];
        sections.extend(self.similarity(linkage)?);
        if !self.likeness.is_empty() {
            sections.push(self.prediction());
        }
        sections.extend(figures::prediction(prediction, &self.scores.targets, None));
        let Findings { helping, hurting, tied, .. } = findings;
        let pairs = match self.scores.baseline {
            Some(_) => format!(" Of {} pairs {helping} help and {hurting} hurt.", helping + hurting + tied),
            None => String::new(),
        };
        Ok(Page {
            title: format!("Transfer between tasks: {name}"),
            lead: format!("{n_sources} source tasks tried on {n_targets} target tasks.{pairs}"),
            about: vec![("made by".to_owned(), format!("spot {program}"))],
            notices: notes.clone(),
            sections,
            records,
        })
    }

    fn transfer(&self) -> Section {
        let mut blocks = vec![figures::facts(&self.scores, &self.said.findings)];
        blocks.extend(figures::transfer(&self.scores, &self.said.findings));
        Section {
            id: "transfer",
            title: "What transfer gained".to_owned(),
            lead:
                "How much of a target's error goes away when its prompt begins from that of a source: blue helps, orange \
                   hurts. Sources stand in the order of their mean scores."
                .to_owned(),
            blocks,
        }
    }

    fn sources(&self) -> Section {
        Section {
            id: "sources-ranked",
            title: "Single sources".to_owned(),
            lead: "One source for all targets is the plainest choice; a way of choosing has to be better than the best of \
                   these."
                .to_owned(),
            blocks: vec![Block::Dots(figures::source_means(&self.scores, &self.said.findings))],
        }
    }

    fn scores(&self) -> Section {
        Section {
            id: "scores",
            title: "Scores".to_owned(),
            lead: String::new(),
            blocks: vec![Block::Heatmap(figures::matrix(&self.scores, &self.said.findings))],
        }
    }

    /// Similarities as a heatmap, if all of them are known: those that are not could be put nowhere in a clustering.
    fn similarity(&self, linkage: Linkage) -> Result<Option<Section>> {
        let Some((_, digest)) = &self.similarity else { return Ok(None) };
        let (sources, targets) = (&self.scores.sources, &self.scores.targets);
        let row = |source: &super::transfer::Source| -> Option<Vec<Cell>> {
            targets.iter().map(|target| Some(Cell::of(self.alike(&source.name, target)?).from([digest]))).collect()
        };
        let Some(cells) = sources.iter().map(row).collect::<Option<Vec<_>>>() else { return Ok(None) };
        let names: Vec<String> = sources.iter().map(|source| source.name.clone()).collect();
        let caption = "Similarity of the prompts, like tasks side by side".to_owned();
        let heatmap = figures::similarities(caption, ["source", "target"], [&names, targets], cells, linkage)?;
        Ok(Some(Section {
            id: "similarity",
            title: "Similarity of tasks".to_owned(),
            lead: "Rows and columns are clustered by the Euclidean distance of their similarities.".to_owned(),
            blocks: vec![Block::Heatmap(heatmap)],
        }))
    }

    fn prediction(&self) -> Section {
        let digest = self.similarity.as_ref().map(|(_, digest)| digest.clone());
        let points = |target: usize| {
            let name = &self.scores.targets[target];
            let point = |source: &super::transfer::Source| {
                let score = source.scores[target].as_ref()?;
                let gain = match &self.scores.baseline {
                    Some(_) => self.said.findings.relative_error_reduction[&source.name][name]?,
                    None => score.mean,
                };
                let x = self.alike(&source.name, name)?;
                let from = score.from.iter().cloned().chain(digest.clone()).collect();
                Some(ScatterPoint { name: source.name.clone(), x, y: gain, from })
            };
            self.scores.sources.iter().filter_map(point).collect()
        };
        let targets = self.scores.targets.iter().enumerate().map(|(at, name)| (name, points(at)));
        let y = if self.scores.baseline.is_some() { figures::REDUCTION } else { figures::SCORE };
        let correlation = |target: &str| self.said.prediction.correlation.get(target).copied();
        Section {
            id: "prediction",
            title: "Similarity and transfer".to_owned(),
            lead: "A dot is a source. Where similarity tells what helps, the dots rise to the right; a dashed line may be \
                   chance (p of Pearson's correlation at 0.05 or more)."
                .to_owned(),
            blocks: vec![Block::Scatter(figures::scatter(targets, y, correlation))],
        }
    }
}

fn choosing(methods: &[Method]) -> Section {
    let caption = format!("What is gained over {}", methods[0].name);
    Section {
        id: "choosing",
        title: "Ways to choose a source".to_owned(),
        lead: "Intervals are by Student's t over targets, p-values by exchanging the signs of the targets' gains, corrected for the \
               number of ways (Holm). An oracle is known only afterwards, and the maximum of many scores is partly noise."
            .to_owned(),
        blocks: vec![Block::Table(tables::gains(methods).to_table(&caption))],
    }
}

impl Brought {
    fn scores(&self, transfers: &Transfers<'_>) -> Scores {
        let of = |target: &&str| {
            let runs: Vec<&Evaluation> = self.baseline.iter().filter(|e| e.task == **target).collect();
            let scores: Vec<f64> = runs.iter().map(|e| e.score).collect();
            let spread = Spread::of(&scores).from(runs.iter().map(|e| e.digest.clone()));
            self.with_deviation(spread, "", target)
        };
        let baseline = (!self.baseline.is_empty()).then(|| transfers.targets.iter().map(of).collect());
        let mut scores = Scores::of(transfers, baseline);
        for source in &mut scores.sources {
            for (target, score) in scores.targets.iter().zip(&mut source.scores) {
                *score = score.take().map(|score| self.with_deviation(score, &source.name, target));
            }
        }
        scores
    }

    fn with_deviation(&self, mut spread: Spread, source: &str, target: &str) -> Spread {
        if let Some(deviation) = self.deviations.get(&(source.to_owned(), target.to_owned())) {
            spread.deviation = Some(*deviation);
            spread.seeds = self.runs.unwrap_or(spread.seeds);
        }
        spread
    }

    /// From the runs, or from deviations if the number of their runs is known.
    fn reliability(&self, transfers: &Transfers<'_>, scores: &Scores) -> BTreeMap<String, Reliability> {
        let Some(runs) = self.runs else { return Reliability::of_runs(transfers) };
        let of = |(at, target): (usize, &String)| {
            let cells = scores.sources.iter().filter_map(|source| source.scores[at].as_ref());
            let known: Option<Vec<(f64, f64)>> = cells.map(|score| Some((score.mean, score.deviation?))).collect();
            let (means, deviations): (Vec<f64>, Vec<f64>) = known?.into_iter().unzip();
            Some((target.clone(), Reliability::of_means(&means, &deviations, runs)?))
        };
        scores.targets.iter().enumerate().filter_map(of).collect()
    }

    /// Ways to choose a source, beside tuning without transfer, or beside a random source where that is not known.
    fn methods(&self, transfers: &Transfers<'_>) -> Vec<Method> {
        let by_similarity = derived::by_similarity(transfers, &self.likeness, self.embedding_steps);
        let derived = derived::columns(transfers, &by_similarity);
        let mut columns = Vec::new();
        if !self.baseline.is_empty() {
            columns.push(Column::of_runs("no transfer", Role::Baseline, &self.baseline));
        }
        columns.extend(by_similarity.into_iter().chain(derived));
        if self.baseline.is_empty()
            && let Some(chance) = columns.iter().position(|column| column.role == Role::Chance)
        {
            let mut chance = columns.remove(chance);
            chance.role = Role::Baseline;
            columns.insert(0, chance);
        }
        methods::methods(&columns, Some(transfers))
    }
}

/// Pairs that nobody tried, beside those of a task with itself.
fn missing(transfers: &Transfers<'_>, scores: &Scores) -> Option<String> {
    let cells = scores.sources.iter().flat_map(|source| {
        let cells = scores.targets.iter().zip(&source.scores);
        cells.filter(|(target, score)| score.is_none() && **target != source.name)
    });
    let (missing, all) = (cells.count(), transfers.sources.len() * transfers.targets.len());
    (missing > 0).then(|| {
        format!(
            "{missing} of {all} pairs have no score; means of sources are over the targets that they were tried on."
        )
    })
}

/// Pairs with a score of which no similarity is known.
fn unlike(transfers: &Transfers<'_>, likeness: &[Likeness]) -> Option<String> {
    if likeness.is_empty() {
        return None;
    }
    let known =
        |target: &str, source: &str| likeness.iter().any(|alike| alike.target.0 == target && alike.source.0 == source);
    let tried = transfers.targets.iter().flat_map(|target| {
        transfers
            .prompts
            .iter()
            .filter(|prompt| !transfers.scores(target, prompt).is_empty())
            .map(move |p| (*target, p))
    });
    let unlike = tried.filter(|(target, prompt)| !known(target, &prompt.0)).count();
    (unlike > 0)
        .then(|| format!("{unlike} pairs have a score but no similarity; they are in no correlation and no ranking."))
}

/// Without validation scores the best of several sources is chosen on the score that is reported.
fn chosen_on_what_is_reported(transfers: &[Evaluation]) -> Option<String> {
    let unknown = transfers.iter().any(|e| e.validation.is_none());
    let note = "The best of several sources is chosen on the scores that are reported, as an oracle would, since no others are \
                known: such rows are optimistic, those of random sources too.";
    unknown.then(|| note.to_owned())
}

/// Targets whose sources differ no more than runs of one source do.
fn unrankable(prediction: &Prediction) -> Option<String> {
    let none = prediction.reliability.iter().filter(|(_, bound)| bound.reliability == 0.0);
    let names: Vec<String> = none.map(|(target, _)| format!("`{target}`")).collect();
    (!names.is_empty()).then(|| {
        format!(
            "The sources of {} cannot be ranked: they differ no more than runs of one source do (reliability 0).",
            names.join(", ")
        )
    })
}
