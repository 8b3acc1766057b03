//! `rank`: sources by the similarity of their embeddings to a target's (SPoT, section 3).

use super::embed::Embedding;
use super::names::check_apart;
use super::reading::read_all;
use super::{EMBEDDING, RANKING};
use crate::data::{Ranked, Ranking};
use crate::engine::context::Cx;
use crate::engine::stage::{Input, Issue, Known, Output, Refs, Stage};
use crate::ml::prompt::similarity::Similarity;
use crate::ml::statistics::mean;
use anyhow::Context;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Source prompts in order of similarity to a target.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rank {
    /// Embeddings of the target: one, or several seeds, over which the similarity is averaged.
    target: Refs,
    /// Embeddings of the sources.
    sources: Refs,
    /// How similar two prompts are.
    #[serde(default)]
    metric: Similarity,
}

impl Stage for Rank {
    const KIND: &'static str = "rank";
    const VERSION: u32 = 3;
    const OUTPUTS: &'static [Output] = &[Output { name: "ranking", of: RANKING }];

    fn inputs(&self) -> Vec<Input> {
        vec![Input::many("target", &self.target, EMBEDDING), Input::many("sources", &self.sources, EMBEDDING)]
    }

    fn check_subjects(&self, inputs: &dyn Fn(&str) -> Vec<Known>) -> Result<(), Issue> {
        check_apart(&["target", "sources"], inputs)
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let read = |role: &str| read_all(cx, role, Embedding::read);
        let (targets, sources) = (read("target")?, read("sources")?);
        let first = targets.first().context("`target` names no embedding")?;
        for other in targets.iter().chain(&sources) {
            first.comparable(other)?;
        }
        let similarities = Embedding::similarities(self.metric, &sources, &targets)?;
        let mut rows: Vec<(&Embedding, f64)> = sources.iter().zip(similarities.iter().map(|row| mean(row))).collect();
        // Of equally similar ones the first by name, which has the seed as text.
        let name = |source: &Embedding| (source.task.clone(), source.seed.to_string());
        rows.sort_by(|(a, x), (b, y)| y.total_cmp(x).then_with(|| name(a).cmp(&name(b))));
        let ranked = |(source, similarity): (&Embedding, f64)| Ranked {
            task: source.task.clone(),
            seed: source.seed,
            similarity,
        };
        let ranking = Ranking {
            target: first.task.clone(),
            seed: if let [one] = &targets[..] { Some(one.seed) } else { None },
            embedding_steps: targets.iter().map(|target| target.steps).sum(),
            sources: rows.into_iter().map(ranked).collect(),
        };
        cx.write("ranking", &ranking.to_parquet()?)
    }
}
