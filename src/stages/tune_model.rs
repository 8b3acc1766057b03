//! `tune_model`: all weights of a model learn a task, or a mixture of tasks (model tuning, the paper's baseline).

use super::backbone::{self, Model, Parts};
use super::evaluate::{Decoding, answers};
use super::learning::{Course, Kept, Learner, Moments, Run, Tasks, check_mixing};
use super::tune::WhichCheckpoint;
use super::{BACKBONE, CURVE, DATASET, EVENTS, OPTIMIZER};
use crate::data::Dataset;
use crate::engine::context::{Artifact, Cx};
use crate::engine::digest::Digest;
use crate::engine::run::Unavailable;
use crate::engine::stage::{Input, Issue, Needs, Output, Ref, Refs, Stage};
use crate::ml;
use crate::ml::batcher::{self, Batcher};
use crate::ml::mixture::Mixing;
use crate::ml::model_tuning::{ModelTuner, Settings};
use crate::ml::optim;
use crate::ml::prompt::Prompt;
use crate::ml::prompt_file::{self, PromptFile};
use crate::ml::t5::{Precision, Weights};
use crate::ml::tasks::Split;
use crate::ml::train::Step;
use crate::ml::weight_gradients::Lanes;
use anyhow::{Context, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A model, tuned on one task or on a mixture; on the CPU only.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TuneModel {
    /// The model to begin with.
    pub backbone: Ref,
    /// What it learns: a task's data set, or several, which are mixed.
    pub data: Refs,
    /// How often each task of a mixture is drawn.
    #[serde(default, skip_serializing_if = "Mixing::is_default")]
    pub mixing: Mixing,
    /// The job that made `backbone`, if its optimiser is to go on as it was; otherwise it begins anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<Ref>,
    /// Seed of the order of examples, and of dropout.
    #[serde(default)]
    pub seed: u64,
    /// Steps, batches, optimiser, evaluation.
    #[serde(default)]
    pub training: Settings,
    /// Which checkpoint is the result.
    #[serde(default, skip_serializing_if = "WhichCheckpoint::is_best")]
    pub checkpoint: WhichCheckpoint,
}

impl Stage for TuneModel {
    const KIND: &'static str = "tune_model";
    const VERSION: u32 = 3;
    const OUTPUTS: &'static [Output] = &[
        Output { name: "backbone", of: BACKBONE },
        Output { name: "optimizer", of: OPTIMIZER },
        Output { name: "curve", of: CURVE },
        // TensorBoard finds it in the folder of views by this name.
        Output { name: "events.tfevents", of: EVENTS },
    ];

    fn inputs(&self) -> Vec<Input> {
        let mut inputs = vec![backbone::input(&self.backbone), Input::many("data", &self.data, DATASET)];
        inputs.extend(self.restore.as_ref().map(|restore| Input::one("restore", restore, OPTIMIZER)));
        inputs
    }

    fn check(&self) -> Result<(), Issue> {
        self.training.check().map_err(|error| Issue::new("training", error.to_string()))?;
        self.mixing.check().map_err(|error| Issue::new("mixing", error.to_string()))?;
        self.checkpoint.check(self.training.patience)
    }

    fn check_inputs(&self, inputs: &dyn Fn(&str) -> usize) -> Result<(), Issue> {
        check_mixing(self.mixing, inputs("data"))
    }

    fn needs(&self) -> Needs {
        Needs { own_model: true, ..Needs::default() }
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let device = cx.device();
        if device != "cpu" {
            return Err(Unavailable(format!(
                "device `{device}`: `tune_model` is on the CPU only; give `--device cpu`"
            ))
            .into());
        }
        let backbone = cx.one("backbone")?.clone();
        let model = Model::load(cx, &backbone)?;
        let tasks = Tasks::read(cx, &model)?;
        // The pool that jobs run in has this job's share of the threads; others may learn beside it.
        let threads = rayon::current_num_threads();
        let memory = cx.memory();
        let lanes = Lanes::new(threads, memory)?;
        let weights = Weights::clone(&model.weights);
        let mut tuner = ModelTuner::new(weights, lanes, tasks.train(), self.mixing, &self.training, self.seed)?;
        if self.restore.is_some() {
            self.take_up(cx.one("restore")?, &backbone.digest, &mut tuner).context("`restore`")?;
        }
        let settings = self.training.common();
        let mut run = Run::new(Tuning { tuner, threads, memory });
        run.go(cx, &Course { model: &model, tasks: &tasks, settings: &settings, keep_at: &[] })?;
        let Kept { parameters, seen, moments, step, score } = run.chosen(self.checkpoint);
        let learning = run.learner.tuner.learning();
        let names = learning.moment_names();
        let weights = with(learning.weights(), &parameters)?;
        drop(parameters);
        let parts = write_backbone(cx, &backbone, &weights)?;
        let metadata = BTreeMap::from([
            ("backbone".to_owned(), Digest::of(&parts).to_string()),
            ("optimizer".to_owned(), serde_json::to_string(&self.training.optimizer)?),
            ("seen".to_owned(), seen.to_string()),
            ("task".to_owned(), tasks.name()),
            ("seed".to_owned(), self.seed.to_string()),
            ("step".to_owned(), step.to_string()),
        ]);
        let tensors: BTreeMap<&str, (&[f32], usize)> =
            names.iter().zip(&moments).map(|(name, values)| (name.as_str(), (&values[..], values.len()))).collect();
        let mut optimizer = Vec::new();
        prompt_file::write(&tensors, &metadata, &mut optimizer)?;
        cx.write("optimizer", &optimizer)?;
        if let Some(score) = score {
            cx.note("validation score", score);
        }
        cx.write("curve", &run.curve.table(&settings).to_parquet()?)?;
        cx.write("events.tfevents", &run.curve.events(&settings))
    }
}

impl TuneModel {
    /// Goes on with the moments of the job that made the backbone.
    fn take_up(&self, artifact: &Artifact, backbone: &Digest, tuner: &mut ModelTuner<'_>) -> anyhow::Result<()> {
        let mut file = PromptFile::matrices(&artifact.bytes()?)?;
        let own = file.get("backbone").context("an optimiser without its backbone")?;
        ensure!(
            own == backbone.to_string(),
            "is the optimiser of the backbone {own:.12}, but `backbone` is {:.12}; name the same job in both",
            backbone.to_string()
        );
        let settings: optim::Settings =
            serde_json::from_str(file.get("optimizer").context("an optimiser without its settings")?)?;
        ensure!(
            settings == self.training.optimizer,
            "its optimiser has other settings than `training.optimizer`: {}",
            serde_json::to_string(&settings)?
        );
        let seen = file.get("seen").and_then(|seen| seen.parse().ok()).context("an optimiser without its steps")?;
        let names = tuner.learning().moment_names();
        let mut take = |name: &String| {
            let moment = file.prompts.remove(name);
            moment.map(|moment| moment.values).with_context(|| format!("no tensor `{name}`"))
        };
        let moments = names.iter().map(&mut take).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(tuner.take_up(seen, moments)?)
    }
}

/// The same model with other parameters.
fn with(weights: &Weights, parameters: &[f32]) -> anyhow::Result<Weights> {
    let fill = |slot: &ml::t5::Slot, out: &mut [f32]| {
        out.copy_from_slice(&parameters[slot.place.clone()]);
        Ok(())
    };
    Ok(Weights::fill(weights.dims.clone(), Precision::F32, fill)?)
}

/// Writes weights as a backbone with the tokenizer and the configuration of another, so that its data sets fit; the bytes
/// of the artifact.
fn write_backbone(cx: &mut Cx<'_>, from: &Artifact, weights: &Weights) -> anyhow::Result<Vec<u8>> {
    let parts: Parts = serde_json::from_slice(&from.bytes()?).context("a backbone artifact")?;
    let parts = Parts {
        config: cx.attach("backbone", "config.json", &from.part(&parts.config)?)?,
        tokenizer: cx.attach("backbone", "tokenizer.json", &from.part(&parts.tokenizer)?)?,
        weights: vec![cx.attach("backbone", "model.safetensors", &weights.to_safetensors(false)?)?],
        precision: Precision::F32,
    };
    let bytes = parts.to_bytes();
    cx.write("backbone", &bytes)?;
    Ok(bytes)
}

/// A model that learns.
struct Tuning<'a> {
    tuner: ModelTuner<'a>,
    threads: usize,
    memory: usize,
}

impl Learner for Tuning<'_> {
    fn steps_done(&self) -> u64 {
        self.tuner.steps_done()
    }

    fn parameters(&self) -> &[f32] {
        self.tuner.learning().weights().data()
    }

    fn optimizer(&self) -> Moments<'_> {
        let learning = self.tuner.learning();
        Moments { seen: learning.step_count(), values: learning.moments() }
    }

    fn keeps_moments(&self) -> bool {
        true
    }

    fn restore(&mut self, step: u64, parameters: Vec<f32>, seen: u64, moments: Vec<Vec<f32>>) -> ml::error::Result<()> {
        self.tuner.restore(step, &parameters, seen, moments)
    }

    fn step(&mut self) -> ml::error::Result<Step> {
        self.tuner.step()
    }

    /// Through a batcher on the weights as they are now, which ends before they move on.
    fn answers(&self, cx: &Cx<'_>, model: &Model, datasets: &[&Dataset]) -> anyhow::Result<Vec<Vec<String>>> {
        let settings = batcher::Settings { device: "cpu".to_owned(), threads: self.threads, memory: self.memory };
        let weights = self.tuner.learning().weights();
        let batcher = Batcher::start(weights, &settings)?;
        let client = batcher.client(cx.job());
        let none = Prompt { values: Vec::new(), width: weights.dims.width };
        let of = |dataset: &&Dataset| answers(&client, model, &none, dataset, Split::Validation, Decoding::Greedy);
        datasets.iter().map(of).collect()
    }

    fn file(&self, parameters: &[f32], _step: u64, _score: Option<f64>) -> anyhow::Result<Vec<u8>> {
        Ok(with(self.tuner.learning().weights(), parameters)?.to_safetensors(false)?)
    }
}
