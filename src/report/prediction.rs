//! Does similarity foretell transfer? Correlations and the quality of rankings, beside what chance gets and what noise allows.

use super::evaluation::{Evaluation, Prompt};
use super::grid::{Grid, NOTHING};
use super::transfers::Transfers;
use crate::ml::statistics::{
    Regret, expected_best_of, expected_ndcg, mean, ndcg, order_p, pearson, ranks, reliability_of_means,
    reliability_of_runs, sign_flip_p, spearman, standard_deviation,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The numbers of first sources whose regret is shown; the paper's k (Vu et al. 2022, table 3).
pub(super) const SHOWN: [usize; 6] = [1, 3, 6, 9, 12, 15];

/// Of these, how many tables have room for; the others are in JSON.
const IN_TEXT: usize = 2;

/// How alike the embeddings of a source and a target are.
#[derive(Clone, Debug)]
pub struct Likeness {
    /// Task and seed of the source prompt.
    pub source: Prompt,
    /// Task and seed of the target's run.
    pub target: (String, String),
    /// Similarity.
    pub value: f64,
}

/// Similarity with transfer, over the source prompts of a target.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Correlations {
    /// Pearson's correlation of similarity and score, which is also that with the relative error reduction; `null` where one of
    /// them is constant.
    pub pearson: Option<f64>,
    /// Its two-sided p-value if source tasks were exchangeable: the prompts of a task move together, since they are near-copies.
    pub pearson_p: Option<f64>,
    /// Spearman's.
    pub spearman: Option<f64>,
    /// Its p-value.
    pub spearman_p: Option<f64>,
    /// Source tasks, which are what a p-value counts.
    pub sources: usize,
    /// Source prompts.
    pub prompts: usize,
}

/// How good a ranking of sources was, known afterwards; means over the target's seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retrieval {
    /// Target task.
    pub target: String,
    /// By k, that of the best of the first k.
    pub regret: BTreeMap<usize, Regrets>,
    /// In percent of the best score, of the source prompt that is best on the other targets.
    pub regret_elsewhere: Option<f64>,
    /// Normalised discounted cumulative gain of the whole ranking, 0 to 1.
    pub ndcg: f64,
    /// That of a random order.
    pub ndcg_by_chance: f64,
}

/// How far a choice stays behind the best source prompt.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Regrets {
    /// In percent of the best score.
    pub of_best: Option<f64>,
    /// The same of the best of k random ones.
    pub of_best_by_chance: Option<f64>,
    /// In percent of the distance from the mean of all to the best.
    pub of_span: Option<f64>,
    /// The same of the best of k random ones.
    pub of_span_by_chance: Option<f64>,
}

/// How much of the differences between the source prompts of a target would come again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reliability {
    /// Of their mean scores, 0 to 1; at 0 the sources cannot be ranked.
    pub reliability: f64,
    /// What no correlation with them can be expected to pass: the root of it.
    pub ceiling: f64,
}

/// All targets together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Overall {
    /// Targets with a correlation.
    pub targets: usize,
    /// Mean over them of Spearman's correlation.
    pub mean_spearman: f64,
    /// How many of them are above 0.
    pub positive: usize,
    /// Two-sided p-value of the mean if tasks were exchangeable; `null` where sources and targets overlap in part only.
    pub p: Option<f64>,
    /// Mean regret of the first choice in percent of the best score, by similarity,
    pub regret: Option<f64>,
    /// of the source prompt that is best on the other targets,
    pub regret_elsewhere: Option<f64>,
    /// and of a random one.
    pub regret_by_chance: Option<f64>,
    /// p-value of the difference of the first two, by exchanging their signs target by target.
    pub regret_p: Option<f64>,
}

/// What is known of the targets' sources, and how well similarity told it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// How much of the differences between sources would come again, by target.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reliability: BTreeMap<String, Reliability>,
    /// Correlation of similarity and score, by target.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub correlation: BTreeMap<String, Correlations>,
    /// How good the ranking by similarity was, in the order of the targets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retrieval: Vec<Retrieval>,
    /// The same over all targets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overall: Option<Overall>,
}

/// A [`Prediction`] as tables and text.
pub(super) struct Shown {
    pub(super) correlations: Grid,
    pub(super) rankings: Option<Grid>,
    pub(super) summary: String,
}

impl std::fmt::Display for Overall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { targets, mean_spearman, positive, .. } = self;
        let p = self.p.map_or_else(String::new, |_| format!(" (p {})", super::probability(self.p)));
        write!(
            f,
            "Over {targets} targets the mean of Spearman's correlation is {mean_spearman:+.2}{p}; {positive} of them are above 0."
        )?;
        let Some(regret) = self.regret else { return Ok(()) };
        write!(f, " The most similar source stays {regret:.1} % behind the best one")?;
        if let Some(elsewhere) = self.regret_elsewhere {
            let p = self.regret_p.map_or_else(String::new, |_| format!(" (p {})", super::probability(self.regret_p)));
            write!(f, ", the source that is best on the other targets {elsewhere:.1} %{p}")?;
        }
        if let Some(chance) = self.regret_by_chance {
            write!(f, ", a random one {chance:.1} %")?;
        }
        write!(f, ".")
    }
}

/// A source prompt that was ranked and tried.
struct Tried<'e> {
    prompt: &'e Prompt,
    similarity: f64,
    score: f64,
}

impl Prediction {
    /// Of transfers, the similarities of their prompts, and the reliability of their targets. Transfers of which no similarity is
    /// known are left out.
    pub fn of(transfers: &Transfers<'_>, likeness: &[Likeness], reliability: BTreeMap<String, Reliability>) -> Self {
        let alike = Alike::of(likeness);
        let mut found = Self { reliability, ..Self::default() };
        for target in &transfers.targets {
            let tried = alike.averaged(transfers, target);
            if tried.len() < 2 {
                continue;
            }
            found.correlation.insert((*target).to_owned(), correlations(transfers, &tried));
            found.retrieval.push(retrieval(transfers, target, &alike.rankings(transfers, target, tried)));
        }
        found.overall = found.overall(transfers, &alike);
        found
    }

    /// What there is to show: a table of correlations and of what bounds them, one of rankings, and a sentence.
    pub(super) fn show(&self, targets: &[String]) -> Option<Shown> {
        let correlations = self.correlations(targets);
        let summary = self.overall.as_ref().map_or_else(String::new, Overall::to_string);
        let rankings = (!self.retrieval.is_empty()).then(|| self.rankings());
        correlations.map(|correlations| Shown { correlations, rankings, summary })
    }

    fn correlations(&self, targets: &[String]) -> Option<Grid> {
        let header = ["target", "Spearman", "p", "Pearson", "p", "reliability", "ceiling"];
        let mut grid = Grid::new(header.map(str::to_owned).into());
        for target in targets {
            let (found, bound) = (self.correlation.get(target), self.reliability.get(target));
            if found.is_none() && bound.is_none() {
                continue;
            }
            let r = |of: fn(&Correlations) -> Option<f64>| {
                found.map_or_else(String::new, |found| {
                    of(found).map_or_else(|| NOTHING.to_owned(), |r| format!("{r:+.3}"))
                })
            };
            let p = |of: fn(&Correlations) -> Option<f64>| super::probability(found.and_then(of));
            let reliability = bound.map_or_else(String::new, |bound| match bound.reliability {
                0.0 => "0, unrankable".to_owned(),
                reliability => format!("{reliability:.2}"),
            });
            let ceiling = bound.map_or_else(String::new, |bound| format!("{:.2}", bound.ceiling));
            grid.push(vec![
                target.clone(),
                r(|found| found.spearman),
                p(|found| found.spearman_p),
                r(|found| found.pearson),
                p(|found| found.pearson_p),
                reliability,
                ceiling,
            ]);
        }
        grid.has_rows().then(|| grid.without_empty_columns())
    }

    /// Regrets in percent: of the best score at 1, and of the distance from the mean to the best at every k.
    fn rankings(&self) -> Grid {
        let mut header = ["target", "nDCG", "chance", "regret@1", "elsewhere", "chance"].map(str::to_owned).to_vec();
        let first = self.retrieval.first();
        let ks: Vec<usize> = first.map_or_else(Vec::new, |first| first.regret.keys().copied().take(IN_TEXT).collect());
        header.extend(ks.iter().flat_map(|k| [format!("of span@{k}"), "chance".to_owned()]));
        let mut grid = Grid::new(header);
        for found in &self.retrieval {
            let percent = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.1}"));
            let at = |k: &usize, of: fn(&Regrets) -> Option<f64>| percent(found.regret.get(k).and_then(of));
            let mut row = vec![
                found.target.clone(),
                format!("{:.2}", found.ndcg),
                format!("{:.2}", found.ndcg_by_chance),
                at(&1, |regrets| regrets.of_best),
                percent(found.regret_elsewhere),
                at(&1, |regrets| regrets.of_best_by_chance),
            ];
            row.extend(ks.iter().flat_map(|k| [at(k, |regrets| regrets.of_span), at(k, |r| r.of_span_by_chance)]));
            grid.push(row);
        }
        grid.without_empty_columns()
    }

    fn overall(&self, transfers: &Transfers<'_>, alike: &Alike<'_>) -> Option<Overall> {
        let rhos: Vec<f64> = self.correlation.values().filter_map(|found| found.spearman).collect();
        if rhos.is_empty() {
            return None;
        }
        let average = |of: &dyn Fn(&Retrieval) -> Option<f64>| {
            let all: Option<Vec<f64>> = self.retrieval.iter().map(of).collect();
            all.filter(|all| !all.is_empty()).map(|all| mean(&all))
        };
        let first = |found: &Retrieval| found.regret.get(&1)?.of_best;
        let differences: Option<Vec<f64>> =
            self.retrieval.iter().map(|found| Some(first(found)? - found.regret_elsewhere?)).collect();
        Some(Overall {
            targets: rhos.len(),
            mean_spearman: mean(&rhos),
            positive: rhos.iter().filter(|rho| **rho > 0.0).count(),
            p: alike.joint_p(transfers),
            regret: average(&first),
            regret_elsewhere: average(&|found| found.regret_elsewhere),
            regret_by_chance: average(&|found| found.regret.get(&1)?.of_best_by_chance),
            regret_p: differences.and_then(|differences| sign_flip_p(&differences)),
        })
    }
}

impl Reliability {
    /// Of the transfers to each target: from its runs, where every prompt has the same two or more of them.
    pub fn of_runs(transfers: &Transfers<'_>) -> BTreeMap<String, Self> {
        let of = |target: &&str| {
            let runs: Vec<_> = transfers.runs(target).map(|(_, run)| run).collect();
            let prompts = transfers.prompts.iter().filter(|prompt| runs.iter().any(|run| run.contains_key(*prompt)));
            let row = |prompt: &&Prompt| runs.iter().map(|run| Some(run.get(*prompt)?.score)).collect();
            let rows = prompts.map(row).collect::<Option<Vec<Vec<f64>>>>()?;
            Some(((*target).to_owned(), Self::from(reliability_of_runs(&rows)?)))
        };
        transfers.targets.iter().filter_map(of).collect()
    }

    /// From means over this many runs, and the standard deviations of these.
    pub fn of_means(means: &[f64], deviations: &[f64], runs: usize) -> Option<Self> {
        reliability_of_means(means, deviations, runs).map(Self::from)
    }

    fn from(reliability: f64) -> Self {
        Self { reliability, ceiling: reliability.sqrt() }
    }
}

/// Similarities by target and its seed, and by source prompt.
pub(super) struct Alike<'l>(BTreeMap<&'l str, BTreeMap<&'l str, BTreeMap<&'l Prompt, f64>>>);

impl<'l> Alike<'l> {
    pub(super) fn of(likeness: &'l [Likeness]) -> Self {
        let mut alike: BTreeMap<&str, BTreeMap<&str, BTreeMap<&Prompt, f64>>> = BTreeMap::new();
        for Likeness { source, target: (task, seed), value } in likeness {
            alike.entry(task).or_default().entry(seed).or_default().insert(source, *value);
        }
        Self(alike)
    }

    /// Averaged over the target's runs.
    pub(super) fn mean(&self, target: &str, prompt: &Prompt) -> Option<f64> {
        let values: Vec<f64> = self.0.get(target)?.values().filter_map(|run| run.get(prompt).copied()).collect();
        (!values.is_empty()).then(|| mean(&values))
    }

    /// Similarities and scores, both averaged over the target's runs.
    fn averaged<'e>(&self, transfers: &Transfers<'e>, target: &str) -> Vec<Tried<'e>> {
        let tried = |prompt: &&'e Prompt| {
            let scores: Vec<f64> = transfers.scores(target, prompt).iter().map(|e| e.score).collect();
            let similarity = self.mean(target, prompt)?;
            (!scores.is_empty()).then(|| Tried { prompt, similarity, score: mean(&scores) })
        };
        transfers.prompts.iter().filter_map(tried).collect()
    }

    /// Every run of a target ranks by its own embedding where it has one for all; else there is one ranking, of the means.
    fn rankings<'e>(&self, transfers: &Transfers<'e>, target: &str, averaged: Vec<Tried<'e>>) -> Vec<Vec<Tried<'e>>> {
        let own = transfers.runs(target).map(|(seed, run)| {
            let alike = self.0.get(target)?.get(seed)?;
            let tried = |(prompt, e): (&&'e Prompt, &&'e Evaluation)| {
                Some(Tried { prompt, similarity: *alike.get(*prompt)?, score: e.score })
            };
            let tried: Option<Vec<_>> = run.iter().map(tried).collect();
            tried.filter(|tried| tried.len() == averaged.len())
        });
        let mut rankings = own.collect::<Option<Vec<_>>>().unwrap_or_else(|| vec![averaged]);
        for ranking in &mut rankings {
            ranking.sort_by(|a, b| b.similarity.total_cmp(&a.similarity).then_with(|| a.prompt.cmp(b.prompt)));
        }
        rankings
    }

    /// The p-value of the mean of Spearman's correlations over targets: similarities are handed to other source tasks, the same
    /// for all targets. Where sources and targets are the same tasks, their similarities are handed on with both (Mantel 1967),
    /// so that no task meets itself.
    fn joint_p(&self, transfers: &Transfers<'_>) -> Option<f64> {
        let Transfers { sources, targets, .. } = transfers;
        let shared = targets.iter().filter(|target| sources.contains(target)).count();
        let square = shared == targets.len() && shared == sources.len();
        if shared > 0 && !square {
            return None;
        }
        let groups = Groups::of(transfers.prompts.iter().copied())?;
        let columns: Vec<Vec<Option<f64>>> = targets
            .iter()
            .map(|target| transfers.prompts.iter().map(|prompt| self.mean(target, prompt)).collect())
            .collect();
        let scores: Vec<Vec<Option<f64>>> = targets
            .iter()
            .map(|target| {
                let score = |prompt: &&Prompt| {
                    let scores: Vec<f64> = transfers.scores(target, prompt).iter().map(|e| e.score).collect();
                    (!scores.is_empty()).then(|| mean(&scores))
                };
                transfers.prompts.iter().map(score).collect()
            })
            .collect();
        let target_of_source: Vec<usize> =
            sources.iter().filter_map(|source| targets.iter().position(|target| target == source)).collect();
        Some(order_p(sources.len(), |order| {
            let moved = groups.moved(order);
            let mut rhos = Vec::new();
            for (target, scores) in scores.iter().enumerate() {
                let column = if square {
                    let own = target_of_source.iter().position(|own| *own == target).expect("they are the same tasks");
                    &columns[target_of_source[order[own]]]
                } else {
                    &columns[target]
                };
                let pairs = moved.iter().zip(scores).filter_map(|(from, score)| Some((column[*from]?, (*score)?)));
                let (x, y): (Vec<f64>, Vec<f64>) = pairs.unzip();
                rhos.push(spearman(&x, &y));
            }
            mean(&rhos)
        }))
    }
}

/// Source prompts by task, each task with as many of them.
struct Groups {
    size: usize,
}

impl Groups {
    /// Of prompts that stand side by side by task; `None` if tasks have different numbers of them.
    fn of<'p>(prompts: impl Iterator<Item = &'p Prompt>) -> Option<Self> {
        let prompts: Vec<&Prompt> = prompts.collect();
        let mut sizes = prompts.chunk_by(|a, b| a.0 == b.0).map(<[&Prompt]>::len);
        let size = sizes.next()?;
        sizes.all(|other| other == size).then_some(Self { size })
    }

    /// For each prompt the one whose place it takes when the tasks stand in `order`.
    fn moved(&self, order: &[usize]) -> Vec<usize> {
        order.iter().flat_map(|group| (0..self.size).map(move |at| group * self.size + at)).collect()
    }
}

fn correlations(transfers: &Transfers<'_>, tried: &[Tried<'_>]) -> Correlations {
    let (x, y): (Vec<f64>, Vec<f64>) = tried.iter().map(|tried| (tried.similarity, tried.score)).unzip();
    let sources =
        transfers.sources.iter().filter(|source| tried.iter().any(|tried| tried.prompt.0 == **source)).count();
    let varies = |values: &[f64]| standard_deviation(values).is_some_and(|deviation| deviation > 0.0);
    if !(varies(&x) && varies(&y)) {
        let none = None;
        return Correlations {
            pearson: none,
            pearson_p: none,
            spearman: none,
            spearman_p: none,
            sources,
            prompts: tried.len(),
        };
    }
    // Where tasks differ in their numbers of prompts, their means are what can be exchanged.
    let (groups, xs, ys) = match Groups::of(tried.iter().map(|tried| tried.prompt)) {
        Some(groups) => (groups, x.clone(), y.clone()),
        None => {
            let tasks: Vec<&[Tried<'_>]> = tried.chunk_by(|a, b| a.prompt.0 == b.prompt.0).collect();
            let means = |of: fn(&Tried<'_>) -> f64| {
                tasks.iter().map(|task| mean(&task.iter().map(of).collect::<Vec<f64>>())).collect::<Vec<f64>>()
            };
            (Groups { size: 1 }, means(|tried| tried.similarity), means(|tried| tried.score))
        }
    };
    let p = |xs: &[f64], ys: &[f64]| {
        order_p(sources, |order| pearson(&groups.moved(order).iter().map(|from| xs[*from]).collect::<Vec<_>>(), ys))
    };
    Correlations {
        pearson: Some(pearson(&x, &y)),
        pearson_p: Some(p(&xs, &ys)),
        spearman: Some(spearman(&x, &y)),
        spearman_p: Some(p(&ranks(&xs), &ranks(&ys))),
        sources,
        prompts: tried.len(),
    }
}

fn retrieval(transfers: &Transfers<'_>, target: &str, rankings: &[Vec<Tried<'_>>]) -> Retrieval {
    let count = rankings.iter().map(Vec::len).min().unwrap_or(0);
    let scores: Vec<Vec<f64>> =
        rankings.iter().map(|ranking| ranking.iter().map(|tried| tried.score).collect()).collect();
    let over = |of: &dyn Fn(&Vec<f64>) -> f64| mean(&scores.iter().map(of).collect::<Vec<f64>>());
    let known = |of: &dyn Fn(&Vec<f64>) -> Option<f64>| {
        let values: Option<Vec<f64>> = scores.iter().map(of).collect();
        values.map(|values| mean(&values))
    };
    let regrets = |k: usize| {
        let by_chance = |scores: &Vec<f64>| Regret::of(expected_best_of(k, scores, scores), scores);
        Regrets {
            of_best: known(&|scores| Regret::at(scores, k).of_best),
            of_best_by_chance: known(&|scores| by_chance(scores).of_best),
            of_span: known(&|scores| Regret::at(scores, k).of_span),
            of_span_by_chance: known(&|scores| by_chance(scores).of_span),
        }
    };
    let elsewhere = transfers.best_elsewhere(target).and_then(|chosen| {
        let regret = |ranking: &Vec<Tried<'_>>| {
            let scores: Vec<f64> = ranking.iter().map(|tried| tried.score).collect();
            let chosen = ranking.iter().find(|tried| tried.prompt == chosen)?;
            Regret::of(chosen.score, &scores).of_best
        };
        let regrets: Option<Vec<f64>> = rankings.iter().map(regret).collect();
        regrets.map(|regrets| mean(&regrets))
    });
    Retrieval {
        target: target.to_owned(),
        regret: SHOWN.into_iter().filter(|k| *k < count).map(|k| (k, regrets(k))).collect(),
        regret_elsewhere: elsewhere,
        ndcg: over(&|scores| ndcg(scores)),
        ndcg_by_chance: over(&|scores| expected_ndcg(scores)),
    }
}
