//! `rank`: sources by the similarity of their embeddings to a target's (SPoT, section 3).

use super::embed::Embedding;
use super::names::check_apart;
use super::{EMBEDDING, RANKING};
use crate::data::{Column, Table};
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
    const VERSION: u32 = 2;
    const OUTPUTS: &'static [Output] = &[Output { name: "ranking", of: RANKING }];

    fn inputs(&self) -> Vec<Input> {
        vec![Input::many("target", &self.target, EMBEDDING), Input::many("sources", &self.sources, EMBEDDING)]
    }

    fn check_subjects(&self, inputs: &dyn Fn(&str) -> Vec<Known>) -> Result<(), Issue> {
        check_apart(&["target", "sources"], inputs)
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let read = |role: &str| -> anyhow::Result<Vec<Embedding>> {
            cx.many(role)
                .into_iter()
                .map(|a| Embedding::read(&a.bytes()?))
                .collect::<Result<_, _>>()
                .with_context(|| format!("`{role}`"))
        };
        let (targets, sources) = (read("target")?, read("sources")?);
        let first = targets.first().context("`target` names no embedding")?;
        for other in targets.iter().chain(&sources) {
            first.comparable(other)?;
        }
        let similarities = Embedding::similarities(self.metric, &sources, &targets)?;
        let mut rows: Vec<(&Embedding, f64)> = sources.iter().zip(similarities.iter().map(|row| mean(row))).collect();
        rows.sort_by(|(a, x), (b, y)| y.total_cmp(x).then_with(|| (&a.task, &a.seed).cmp(&(&b.task, &b.seed))));
        let mut table = Table::new(vec![
            ("rank", Column::Int((1..=rows.len() as i64).collect())),
            ("task", Column::Text(rows.iter().map(|(source, _)| source.task.clone()).collect())),
            ("seed", Column::Text(rows.iter().map(|(source, _)| source.seed.clone()).collect())),
            ("similarity", Column::Float(rows.iter().map(|(_, similarity)| *similarity).collect())),
        ])
        .with("target", &first.task);
        if let Some(steps) = targets.iter().map(|target| target.steps).sum::<Option<u64>>() {
            table = table.with("embedding_steps", steps.to_string());
        }
        cx.write("ranking", &table.to_parquet()?)
    }
}
