//! `tune_model`: all weights of a model learn a task, or a mixture of tasks (model tuning, the paper's baseline).

use super::backbone::{self, Model, Parts};
use super::evaluate::{Decoding, answers};
use super::learning::{Course, Kept, Loop};
use super::mixture::{Tasks, check_mixing};
use super::names::check_mixture;
use super::training::{ModelTraining, WhichCheckpoint};
use super::work::{Tuning, note_model};
use super::{BACKBONE, CURVE, DATASET, EVENTS, OPTIMIZER};
use crate::engine::context::{Artifact, Cx};
use crate::engine::run::Unavailable;
use crate::engine::stage::{Curves, Input, Issue, Known, Needs, Notes, Output, Ref, Refs, Stage};
use crate::engine::store::digest::Digest;
use crate::ml::batcher::{self, Batcher};
use crate::ml::model::arithmetic::Pass;
use crate::ml::model::{Dims, Precision, Slot, Weights, devices, open};
use crate::ml::prompt::Prompt;
use crate::ml::prompt::about::About;
use crate::ml::prompt::file::{self, Matrices};
use crate::ml::tasks::Split;
use crate::ml::train::Learner;
use crate::ml::train::examples::Examples;
use crate::ml::train::mixture::Mixing;
use crate::ml::train::model_tuning::{Compute, ModelLearner};
use crate::ml::train::optim;
use crate::ml::train::weight_gradients::Workers;
use anyhow::{Context, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A model, tuned on one task or on a mixture; of several GPUs on the first.
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
    pub training: ModelTraining,
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
    const CURVES: Option<Curves> =
        Some(Curves { caption: "Validation score while all weights of models are tuned", told_by: "optimizer" });

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

    fn check_subjects(&self, inputs: &dyn Fn(&str) -> Vec<Known>) -> Result<(), Issue> {
        check_mixture("data", inputs)
    }

    fn needs(&self) -> Needs {
        Needs { own_model: true, ..Needs::default() }
    }

    fn operations(&self, inputs: &dyn Fn(&str) -> Vec<Notes>) -> Option<f64> {
        let (settings, batch) = (&self.training.settings(), self.training.batching().size);
        Tuning { settings, pass: Pass::Weights, prompt: 0, batch }.operations(inputs)
    }

    fn run(&self, cx: &mut Cx<'_>) -> anyhow::Result<()> {
        let backbone = cx.one("backbone")?.clone();
        let model = Model::load(cx, &backbone)?;
        let tasks = Tasks::read(cx, &model)?;
        // The pool that jobs run in has this job's share of the threads; others may learn beside it.
        let threads = rayon::current_num_threads();
        let memory = cx.memory();
        let compute = compute(cx.device(), threads, memory)?;
        let (weights, dims) = (Weights::clone(&model.weights), &model.weights.dims);
        let examples = Examples::new(tasks.train(), self.mixing, self.training.batching(), self.seed)?;
        let mut learner = ModelLearner::new(weights, compute, examples, self.training.settings())?;
        if self.restore.is_some() {
            self.take_up(cx.one("restore")?, &backbone.digest, &mut learner).context("`restore`")?;
        }
        let none = Prompt { values: Vec::new(), width: dims.width };
        let served = batcher::Settings { device: cx.device().to_owned(), threads, memory };
        let mut run = Loop::new(learner).keep_moments();
        let course = Course {
            keep_at: &[],
            losses: &["loss"],
            // Through a batcher on the weights as they are now, which ends before they move on; a device has them twice meanwhile.
            scores: &|learner: &ModelLearner<'_>| {
                let batcher = Batcher::start(learner.weights(), &served)?;
                let client = batcher.client(cx.job());
                tasks.scores(|data| answers(&client, &model, &none, data, Split::Validation, Decoding::Greedy))
            },
            file: &|parameters, _, _| Ok(with(dims, parameters)?.to_safetensors(false)?),
        };
        run.go(cx, &course)?;
        let Kept { parameters, seen, moments, step, score } = run.chosen(self.checkpoint);
        let names = run.learner.moment_names();
        let weights = with(dims, &parameters)?;
        drop(parameters);
        let parts = write_backbone(cx, &backbone, &weights)?;
        note_model(cx, dims);
        let about = About {
            task: Some(tasks.name()),
            seed: Some(self.seed),
            step: Some(step),
            backbone: Some(Digest::of(&parts).to_string()),
            ..About::default()
        };
        let settings_of_optimizer = serde_json::to_string(&self.training.optimizer)?;
        let metadata = about.metadata().with("optimizer", &settings_of_optimizer).with("seen", &seen);
        let tensors: BTreeMap<&str, (&[f32], usize)> =
            names.iter().zip(&moments).map(|(name, values)| (name.as_str(), (&values[..], values.len()))).collect();
        let mut optimizer = Vec::new();
        file::write(&tensors, metadata.entries(), &mut optimizer)?;
        cx.write("optimizer", &optimizer)?;
        if let Some(score) = score {
            cx.note("validation score", score);
        }
        let settings = run.learner.settings();
        cx.ended_after(run.share());
        cx.write("curve", &run.curve.table(settings).to_parquet()?)?;
        cx.write("events.tfevents", &run.curve.events(settings))
    }
}

impl TuneModel {
    /// Goes on with the moments of the job that made the backbone.
    fn take_up(&self, artifact: &Artifact, backbone: &Digest, learner: &mut ModelLearner<'_>) -> anyhow::Result<()> {
        let Matrices { mut by_name, metadata: mut said } = Matrices::from_bytes(&artifact.bytes()?)?;
        let own: String = said.need("backbone")?;
        ensure!(
            own == backbone.to_string(),
            "is the optimiser of the backbone {own:.12}, but `backbone` is {:.12}; name the same job in both",
            backbone.to_string()
        );
        let settings: optim::Settings =
            serde_json::from_str(&said.need::<String>("optimizer")?).context("file metadata `optimizer`")?;
        ensure!(
            settings == self.training.optimizer,
            "its optimiser has other settings than `training.optimizer`: {}",
            serde_json::to_string(&settings)?
        );
        let seen = said.need("seen")?;
        let names = learner.moment_names();
        let mut take = |name: &String| {
            let moment = by_name.remove(name);
            moment.map(|moment| moment.values).with_context(|| format!("no tensor `{name}`"))
        };
        let moments = names.iter().map(&mut take).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(learner.take_up(seen, moments)?)
    }
}

/// Where the weights learn on a device that the user chose.
fn compute(device: &str, threads: usize, memory: usize) -> anyhow::Result<Compute> {
    if device == "cpu" {
        return Ok(Compute::Cpu(Workers::new(threads, memory)?));
    }
    let devices = devices(device);
    let first = devices.first().map_or(device, String::as_str);
    let device = open(first).map_err(|error| Unavailable(format!("device `{device}`: {error}")))?;
    Ok(Compute::Device { device, memory })
}

/// A model of these sizes with these parameters, all in the order of their layout.
///
/// # Errors
/// Never, as every tensor has its place.
pub(super) fn with(dims: &Dims, parameters: &[f32]) -> anyhow::Result<Weights> {
    let fill = |slot: &Slot, out: &mut [f32]| {
        out.copy_from_slice(&parameters[slot.place.clone()]);
        Ok(())
    };
    Ok(Weights::fill(dims.clone(), Precision::F32, fill)?)
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

#[cfg(test)]
mod tests {
    use crate::engine::manifest::{self, Options};
    use crate::engine::run::{self, Outcome, Watch};
    use crate::engine::store::Store;
    use crate::ml::model::{Dims, Precision, Weights};
    use crate::ml::prompt::file::PromptFile;
    use crate::stages::ALL;
    use crate::stages::backbone::{Nano, Parts};
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};

    const PIPELINE: &str = r#"
version: 1
name: models
stages:
  backbone: {kind: backbone, from: {builtin: nano}}
  data:
    kind: ingest
    backbone: backbone
    from: {builtin: w_mood}
    rows: {train: 60, validation: 20}
    input_length: 48
  tuned:
    kind: tune_model
    backbone: backbone
    data: data
    training: {steps: 4, batch_size: 12, learning_rate: 0.01, dropout: 0.1, evaluate_every: 2}
    checkpoint: final
"#;

    /// A place where the pipeline runs.
    struct Place {
        folder: tempfile::TempDir,
        store: Arc<Store>,
        stop: AtomicBool,
        /// The next run is stopped after this step.
        stop_at: Mutex<Option<u64>>,
        errors: Mutex<Vec<String>>,
    }

    impl Place {
        fn new(stop_at: Option<u64>) -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs_err::write(folder.path().join("models.yaml"), PIPELINE).unwrap();
            let store = Store::new(&folder.path().join("cache"));
            Self { folder, store, stop: AtomicBool::new(false), stop_at: Mutex::new(stop_at), errors: Mutex::default() }
        }

        fn run(&self, device: &str) -> run::Summary {
            self.stop.store(false, Ordering::Relaxed);
            let options = Options { profile: None, set: &[], environment: &|_| None };
            let plan = manifest::load(&self.folder.path().join("models.yaml"), ALL, &options).unwrap();
            let settings = run::Settings { device: device.to_owned(), ..run::Settings::default() };
            run::run(&plan, &self.store, &settings, self, &self.stop).unwrap()
        }

        fn output(&self, name: &str) -> Vec<u8> {
            let path: PathBuf = self.store.view_path("models", "tuned").join(name);
            fs_err::read(path).unwrap()
        }

        fn weights(&self) -> Vec<f32> {
            let parts: Parts = serde_json::from_slice(&self.output("backbone.json")).unwrap();
            let bytes = fs_err::read(self.store.blob_path(&parts.weights[0])).unwrap();
            let dims = Dims::from_json(Nano::CONFIG).unwrap();
            Weights::from_safetensors(dims, &[&bytes], Precision::F32).unwrap().data().to_vec()
        }
    }

    impl Watch for Place {
        fn known(&self, _jobs: usize) {}

        fn started(&self, _job: &str) {}

        fn say(&self, _job: &str, _message: &str) {}

        fn step(&self, job: &str, done: u64, _total: u64, _note: &str) {
            if job == "tuned" && self.stop_at.lock().unwrap().take_if(|step| done >= *step).is_some() {
                self.stop.store(true, Ordering::Relaxed);
            }
        }

        fn warn(&self, _job: &str, _message: &str) {}

        fn ended(&self, outcome: &Outcome) {
            self.errors.lock().unwrap().extend(outcome.error.clone());
        }
    }

    /// Learning and evaluation by the operations that a GPU uses, on CPU tensors.
    #[test]
    fn a_model_is_tuned_on_a_device_as_on_the_cpu() {
        let (cpu, device) = (Place::new(None), Place::new(None));
        let [on_cpu, on_device] = [(&cpu, "cpu"), (&device, "candle")].map(|(place, name)| place.run(name));
        assert!(device.errors.lock().unwrap().is_empty(), "{:?}", device.errors);
        let (_, _, key) = on_device.results.last().unwrap();
        assert_eq!(on_cpu.results.last().unwrap().2, *key, "a key names no device");
        let entry = device.store.entry(key).unwrap().unwrap().unwrap();
        assert_eq!(entry.provenance.device, "candle");

        let start = Dims::from_json(Nano::CONFIG).unwrap();
        let start = Weights::from_safetensors(start, &[Nano::WEIGHTS], Precision::F32).unwrap();
        let (found, expected) = (device.weights(), cpu.weights());
        let length = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
        let astray = length(&found, &expected) / length(&expected, start.data());
        assert!(astray < 1e-2, "{astray}");
        let seen = |place: &Place| {
            let file = PromptFile::from_bytes(&place.output("optimizer.safetensors")).unwrap();
            (file.about.other["seen"].clone(), file.prompts.len())
        };
        assert_eq!(seen(&device), seen(&cpu));
    }

    #[test]
    fn a_tuning_on_a_device_that_was_stopped_goes_on_bit_for_bit() {
        let whole = Place::new(None);
        whole.run("candle");
        let place = Place::new(Some(2));
        assert!(place.run("candle").interrupted);
        assert!(!place.run("candle").interrupted);
        for name in ["backbone.json", "optimizer.safetensors", "curve.parquet"] {
            assert!(place.output(name) == whole.output(name), "{name}");
        }
    }

    #[test]
    #[cfg(not(feature = "cuda"))]
    fn a_device_that_is_not_there_is_named() {
        let place = Place::new(None);
        let summary = place.run("cuda:0");
        assert_eq!(summary.fault, Some(run::Fault::Environment));
        let errors = place.errors.lock().unwrap();
        assert!(errors[0].starts_with("device `cuda:0`: "), "{errors:?}");
    }
}
