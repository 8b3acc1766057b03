//! Beam search, likelihoods of labels and sampling: against Hugging Face (`tests/golden/decode.py`), against each other,
//! and against search through all answers.

use super::{Beam, Generation, Hypothesis, LabelScore, Sample};
use crate::ml::error::Error;
use crate::ml::model::batch::{Batch, Ragged};
use crate::ml::model::cpu::kernels::{Activation, CrossEntropy};
use crate::ml::model::cpu::{Engine, Loss};
use crate::ml::model::golden::{Golden, V1_0, V1_1};
use crate::ml::model::{Dims, Head, Weights};
use crate::ml::random::Stream;
use serde::Deserialize;

const V1_1_DECODED: &[u8] = include_bytes!("../../../tests/golden/t5_v1_1/decode.json");
const V1_0_DECODED: &[u8] = include_bytes!("../../../tests/golden/t5_v1_0/decode.json");

/// `decode.json`.
#[derive(Deserialize)]
struct Expected {
    longest: usize,
    inputs: Vec<Vec<u32>>,
    labels: Vec<Vec<u32>>,
    /// `[P, E]`.
    prompt: Vec<f32>,
    plain: Decoded,
    prompted: Decoded,
}

#[derive(Deserialize)]
struct Decoded {
    /// Loss summed over the tokens of a label, `[B][L]`.
    losses: Vec<Vec<f64>>,
    beams: Vec<Beams>,
}

#[derive(Deserialize)]
struct Beams {
    eos: u32,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    #[serde(flatten)]
    settings: Beam,
    /// Without start id and eos.
    ids: Vec<Vec<u32>>,
    /// None for one beam, which Hugging Face decodes greedily.
    scores: Option<Vec<f64>>,
}

impl Expected {
    fn of(json: &[u8]) -> Self {
        serde_json::from_slice(json).unwrap()
    }

    fn inputs(&self) -> Ragged {
        self.inputs.iter().cloned().collect()
    }

    fn labels(&self) -> Ragged {
        self.labels.iter().cloned().collect()
    }

    /// Without and with the prompt.
    fn cases(&self) -> [(&[f32], &Decoded); 2] {
        [(&[], &self.plain), (&self.prompt, &self.prompted)]
    }
}

fn close(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() < 1e-5 * expected.abs().max(1.0), "{what}: {found}, expected {expected}");
}

/// A model so small that all answers can be tried.
pub(crate) fn tiny(vocab: usize, tied: bool) -> Weights {
    let head = if tied { Head::Embedding } else { Head::Own };
    let dims = Dims {
        vocab,
        head,
        scaled: tied,
        activation: if tied { Activation::Relu } else { Activation::GatedGelu },
        ..V1_1.weights().dims
    };
    let mut stream = Stream::new(9, "tiny");
    let mut weights = Weights::random(dims, &mut stream);
    // As drawn the model is sure of itself.
    let head = weights.layout.head.clone();
    weights.data_mut()[head].iter_mut().for_each(|x| *x *= 0.7);
    weights
}

/// A model to which every token is as likely as any other.
pub(crate) fn level() -> Weights {
    let mut weights = tiny(7, false);
    let head = weights.layout.head.clone();
    weights.data_mut()[head].fill(0.0);
    weights
}

/// Examples of two runs with prompts of 0 and 3 vectors.
pub(crate) struct Examples {
    pub(super) prompts: [Vec<f32>; 2],
    pub(crate) run: Vec<usize>,
    pub(crate) inputs: Ragged,
}

impl Examples {
    pub(crate) fn new(weights: &Weights) -> Self {
        let Dims { width, vocab, .. } = weights.dims;
        let mut stream = Stream::new(4, "examples");
        let prompts = [0, 3].map(|length| (0..length * width).map(|_| stream.normal() as f32).collect());
        let inputs = [7, 1, 0, 23, 4].map(|length| (0..length).map(|_| stream.below(vocab) as u32).collect::<Vec<_>>());
        Self { prompts, run: vec![1, 0, 1, 0, 1], inputs: inputs.into_iter().collect() }
    }

    pub(crate) fn prompts(&self) -> [&[f32]; 2] {
        self.prompts.each_ref().map(Vec::as_slice)
    }

    /// One of them alone.
    fn alone(&self, example: usize) -> (Vec<usize>, Ragged) {
        (vec![self.run[example]], [self.inputs.row(example).to_vec()].into_iter().collect())
    }
}

fn beam_search_agrees(golden: &Golden, decoded: &[u8]) {
    let (mut weights, expected) = (golden.weights(), Expected::of(decoded));
    let (inputs, run) = (expected.inputs(), vec![0; expected.inputs.len()]);
    for (prompt, decoded) in expected.cases() {
        for Beams { eos, cases } in &decoded.beams {
            weights.dims.eos = *eos;
            for mut engine in Engine::both(&weights) {
                for case in cases {
                    let what = format!("eos {eos}, {:?}", case.settings);
                    let found = engine.beam(&[prompt], &run, &inputs, expected.longest, case.settings).unwrap();
                    let ids: Vec<Vec<u32>> = found.iter().map(|answer| answer.ids.clone()).collect();
                    assert_eq!(ids, case.ids, "{what}");
                    for (found, score) in found.iter().zip(case.scores.iter().flatten()) {
                        close(found.score, *score, &what);
                    }
                }
            }
        }
    }
}

#[test]
fn beam_search_gives_the_answers_of_hugging_face_for_v1_1() {
    beam_search_agrees(&V1_1, V1_1_DECODED);
}

#[test]
fn beam_search_gives_the_answers_of_hugging_face_for_v1_0() {
    beam_search_agrees(&V1_0, V1_0_DECODED);
}

#[test]
fn one_beam_is_greedy() {
    for weights in [V1_1.weights(), V1_0.weights(), tiny(7, true), level()] {
        let (examples, mut engine) = (Examples::new(&weights), Engine::new(&weights));
        let (prompts, run, inputs) = (examples.prompts(), &examples.run, &examples.inputs);
        let greedy = engine.greedy(&prompts, run, inputs, 9);
        for length_penalty in [-1.0, 0.0, 0.6, 2.0] {
            for early_stopping in [false, true] {
                let generation = Generation::Beam(Beam { width: 1, length_penalty, early_stopping });
                assert_eq!(engine.generate(&prompts, run, inputs, &[], 9, &generation).unwrap(), greedy);
            }
        }
    }
}

/// All answers of up to `longest` ids, with the closing eos where they are not cut.
fn all_answers(dims: &Dims, longest: usize) -> Vec<Vec<u32>> {
    let (mut answers, mut open) = (Vec::new(), vec![Vec::new()]);
    for _ in 0..longest {
        let longer = open.iter().flat_map(|ids| (0..dims.vocab as u32).map(move |id| [&ids[..], &[id]].concat()));
        let (ended, going): (Vec<_>, Vec<_>) = longer.partition(|ids: &Vec<u32>| ids.ends_with(&[dims.eos]));
        answers.extend(ended);
        open = going;
    }
    answers.extend(open);
    answers
}

#[test]
fn a_beam_search_wide_enough_finds_the_best_of_all_answers() {
    const LONGEST: usize = 3;
    for tied in [false, true] {
        let weights = tiny(5, tied);
        let (examples, mut engine) = (Examples::new(&weights), Engine::new(&weights));
        let (prompts, run, inputs) = (examples.prompts(), &examples.run, &examples.inputs);
        let answers = all_answers(&weights.dims, LONGEST);
        let labels: Ragged = answers.iter().cloned().collect();
        let scores = engine.label_scores(&prompts, run, inputs, &labels);
        for length_penalty in [-1.0, 0.0, 0.6, 1.0, 2.0] {
            for early_stopping in [false, true] {
                let settings = Beam { width: answers.len(), length_penalty, early_stopping };
                let found = engine.beam(&prompts, run, inputs, LONGEST, settings).unwrap();
                for (found, scores) in found.iter().zip(&scores) {
                    let score = |s: &LabelScore| s.log_likelihood / (s.tokens as f64).powf(length_penalty);
                    let (best, label) =
                        scores.iter().map(score).zip(&answers).max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
                    let ids: Vec<u32> = label.iter().copied().filter(|id| *id != weights.dims.eos).collect();
                    assert_eq!(found.ids, ids, "penalty {length_penalty}");
                    close(found.score, best, "score");
                }
            }
        }
    }
}

#[test]
fn ties_of_a_beam_search_go_to_the_better_beam_and_the_lower_id() {
    let weights = level();
    let (mut engine, inputs) = (Engine::new(&weights), [[4, 1]].into_iter().collect());
    let mut ids = |width, length_penalty| {
        let settings = Beam { width, length_penalty, early_stopping: false };
        engine.beam(&[&[]], &[0], &inputs, 4, settings).unwrap().swap_remove(0).ids
    };
    // The first step ends an answer with eos, which has id 1. All means are equal, and it is the earliest.
    assert_eq!(ids(3, 1.0), [0; 0]);
    // Here longer answers are better; those that follow the first beam and the lowest id come first.
    assert_eq!(ids(3, 2.0), [0; 4]);
    assert_eq!(ids(1, 1.0), [0; 4], "the second best of one beam is not kept");
}

#[test]
fn a_beam_search_depends_on_neither_batch_nor_threads() {
    for weights in [V1_1.weights(), V1_0.weights()] {
        let examples = Examples::new(&weights);
        let prompts = examples.prompts();
        let settings = Beam { width: 3, length_penalty: 0.6, early_stopping: false };
        let together = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Engine::new(&weights).beam(&prompts, &examples.run, &examples.inputs, 9, settings).unwrap())
        };
        let expected: Vec<Hypothesis> = (0..examples.run.len())
            .map(|example| {
                let (run, inputs) = examples.alone(example);
                Engine::new(&weights).beam(&prompts, &run, &inputs, 9, settings).unwrap().swap_remove(0)
            })
            .collect();
        for threads in [1, 3] {
            assert!(together(threads) == expected, "on {threads} threads");
        }
    }
}

#[test]
fn decoding_has_answers_to_extreme_questions() {
    for weights in [V1_1.weights(), tiny(2, true), tiny(5, false)] {
        let (examples, mut engine) = (Examples::new(&weights), Engine::new(&weights));
        let prompts = examples.prompts();
        let wide = Beam { width: 200, ..Beam::default() };
        for generation in [Generation::Greedy, Generation::Beam(wide), Generation::Sample(Sample::default())] {
            let none: Vec<Vec<u32>> = Vec::new();
            let streams: Vec<u64> = (0..5).collect();
            let empty = Ragged::default();
            assert_eq!(engine.generate(&prompts, &[], &empty, &[], 5, &generation).unwrap(), none);
            let mut run = |longest| {
                engine.generate(&prompts, &examples.run, &examples.inputs, &streams, longest, &generation).unwrap()
            };
            assert_eq!(run(0), vec![Vec::<u32>::new(); 5]);
            assert!(run(3).iter().all(|ids| ids.len() <= 3));
            // Nothing to read at all.
            let nothing = [Vec::new()].into_iter().collect();
            assert_eq!(engine.generate(&prompts, &[0], &nothing, &[0], 2, &generation).unwrap().len(), 1);
        }
        let scores = engine.label_scores(&prompts, &examples.run, &examples.inputs, &Ragged::default());
        assert_eq!(scores, vec![Vec::new(); 5]);
        assert!(engine.label_scores(&prompts, &[], &Ragged::default(), &Ragged::default()).is_empty());
        let nothing = [Vec::new()].into_iter().collect();
        let scores = engine.label_scores(&prompts, &examples.run, &examples.inputs, &nothing);
        assert_eq!(scores, vec![vec![LabelScore::default()]; 5]);
    }
}

fn label_scores_agree(golden: &Golden, decoded: &[u8]) {
    let (weights, expected) = (golden.weights(), Expected::of(decoded));
    let (inputs, run, labels) = (expected.inputs(), vec![0; expected.inputs.len()], expected.labels());
    let [mut projects, mut absorbs] = Engine::both(&weights);
    for (engine, (prompt, decoded)) in expected.cases().into_iter().flat_map(|case| [(0, case), (1, case)]) {
        let engine = if engine == 0 { &mut projects } else { &mut absorbs };
        let found = engine.label_scores(&[prompt], &run, &inputs, &labels);
        assert_eq!(found.len(), decoded.losses.len());
        for (found, losses) in found.iter().zip(&decoded.losses) {
            assert_eq!(found.len(), losses.len());
            for ((found, loss), label) in found.iter().zip(losses).zip(labels.rows()) {
                assert_eq!(found.tokens, label.len());
                close(-found.log_likelihood, *loss, "loss");
            }
        }
    }
}

#[test]
fn label_scores_are_the_losses_of_hugging_face() {
    label_scores_agree(&V1_1, V1_1_DECODED);
    label_scores_agree(&V1_0, V1_0_DECODED);
}

/// The loss of every example with every label, each a run of its own.
fn losses(engine: &mut Engine<'_>, examples: &Examples, labels: &Ragged) -> Vec<Loss> {
    let (mut prompts, mut batch) = (Vec::new(), Batch::default());
    for (run, input) in examples.run.iter().zip(examples.inputs.rows()) {
        for label in labels.rows() {
            batch.push(prompts.len(), input, label);
            prompts.push(examples.prompts()[*run]);
        }
    }
    engine.losses(&prompts, &batch, CrossEntropy { z_loss: 0.0, label_smoothing: 0.0 })
}

#[test]
fn label_scores_are_the_losses_of_the_engine_bit_for_bit() {
    for (weights, decoded) in [(V1_1.weights(), V1_1_DECODED), (V1_0.weights(), V1_0_DECODED)] {
        let (examples, labels) = (Examples::new(&weights), Expected::of(decoded).labels());
        for mut engine in Engine::both(&weights) {
            let expected = losses(&mut engine, &examples, &labels);
            let found = engine.label_scores(&examples.prompts(), &examples.run, &examples.inputs, &labels);
            for (found, expected) in found.iter().flatten().zip(&expected) {
                assert_eq!(found.tokens, expected.tokens);
                assert_eq!(found.log_likelihood.to_bits(), (-expected.sum).to_bits());
            }
            // One example and one label at a time.
            for (example, found) in found.iter().enumerate() {
                let (run, inputs) = examples.alone(example);
                for (label, found) in labels.rows().zip(found) {
                    let label = [label.to_vec()].into_iter().collect();
                    assert_eq!(engine.label_scores(&examples.prompts(), &run, &inputs, &label), [[*found]]);
                }
            }
        }
    }
}

#[test]
fn sampling_without_chance_is_greedy() {
    let cold = [
        Sample { temperature: 0.0, ..Sample::default() },
        Sample { temperature: 1e-6, ..Sample::default() },
        Sample { top_k: Some(1), temperature: 5.0, ..Sample::default() },
        Sample { top_p: 1e-6, ..Sample::default() },
        Sample { top_k: Some(3), top_p: 1e-6, ..Sample::default() },
    ];
    for weights in [V1_1.weights(), V1_0.weights()] {
        let (examples, mut engine) = (Examples::new(&weights), Engine::new(&weights));
        let (prompts, run, inputs) = (examples.prompts(), &examples.run, &examples.inputs);
        let greedy = engine.greedy(&prompts, run, inputs, 9);
        for settings in cold {
            let streams: Vec<u64> = (0..5).collect();
            assert_eq!(engine.sample(&prompts, run, inputs, &streams, 9, settings).unwrap(), greedy, "{settings:?}");
        }
    }
    let weights = level();
    let (examples, mut engine) = (Examples::new(&weights), Engine::new(&weights));
    let (prompts, run, inputs) = (examples.prompts(), &examples.run, &examples.inputs);
    let found = engine.sample(&prompts, run, inputs, &[0; 5], 4, cold[0]).unwrap();
    assert_eq!(found, vec![[0; 4]; 5], "of equal logits the lowest id wins");
}

#[test]
fn samples_depend_on_seed_and_stream_alone() {
    let weights = V1_1.weights();
    let (examples, mut engine) = (Examples::new(&weights), Engine::new(&weights));
    let prompts = examples.prompts();
    let streams = [40, 3, 77, 5, 1 << 40];
    let mut sample = |run: &[usize], inputs: &Ragged, streams: &[u64], seed| {
        let settings = Sample { temperature: 1.3, top_k: Some(40), top_p: 0.9, seed };
        engine.sample(&prompts, run, inputs, streams, 9, settings).unwrap()
    };
    let expected = sample(&examples.run, &examples.inputs, &streams, 7);
    assert_eq!(sample(&examples.run, &examples.inputs, &streams, 7), expected);
    assert_ne!(sample(&examples.run, &examples.inputs, &streams, 8), expected);
    let others: Vec<u64> = streams.iter().map(|stream| stream + 1).collect();
    assert_ne!(sample(&examples.run, &examples.inputs, &others, 7), expected);
    for example in 0..5 {
        let (run, inputs) = examples.alone(example);
        assert_eq!(sample(&run, &inputs, &streams[example..=example], 7), [expected[example].clone()]);
    }
}

/// Probabilities of the first token, by temperature, top k and top p.
fn probabilities(log_likelihoods: &[f64], settings: &Sample) -> Vec<f64> {
    let mut p: Vec<f64> = log_likelihoods.iter().map(|l| (l / settings.temperature).exp()).collect();
    let total: f64 = p.iter().sum();
    p.iter_mut().for_each(|p| *p /= total);
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*b].total_cmp(&p[*a]));
    let mut mass = 0.0;
    for (rank, id) in order.into_iter().enumerate() {
        let kept = mass < settings.top_p && rank < settings.top_k.unwrap_or(usize::MAX);
        mass += p[id];
        if !kept {
            p[id] = 0.0;
        }
    }
    let total: f64 = p.iter().sum();
    p.iter().map(|p| p / total).collect()
}

#[test]
fn samples_have_the_frequencies_of_the_softmax() {
    const SEEDS: u64 = 60;
    const EXAMPLES: usize = 100;
    let weights = V1_0.weights();
    let (mut engine, prompt) = (Engine::new(&weights), Expected::of(V1_0_DECODED).prompt);
    let inputs: Ragged = vec![[9, 30, 14, 1]; EXAMPLES].into_iter().collect();
    let (run, streams) = (vec![0; EXAMPLES], (0..EXAMPLES as u64).collect::<Vec<_>>());
    let words: Ragged = (0..weights.dims.vocab as u32).map(|id| [id]).collect();
    let scores = engine.label_scores(&[&prompt], &[0], &[[9, 30, 14, 1]].into_iter().collect(), &words);
    let scores: Vec<f64> = scores[0].iter().map(|score| score.log_likelihood).collect();
    for settings in [
        Sample { temperature: 1.0, ..Sample::default() },
        Sample { temperature: 2.5, ..Sample::default() },
        Sample { temperature: 2.0, top_k: Some(9), ..Sample::default() },
        Sample { temperature: 2.0, top_p: 0.8, ..Sample::default() },
        Sample { temperature: 2.0, top_k: Some(20), top_p: 0.3, ..Sample::default() },
    ] {
        let mut counts = vec![0.0; weights.dims.vocab];
        for seed in 0..SEEDS {
            let settings = Sample { seed, ..settings };
            for ids in engine.sample(&[&prompt], &run, &inputs, &streams, 1, settings).unwrap() {
                counts[*ids.first().unwrap_or(&weights.dims.eos) as usize] += 1.0;
            }
        }
        let draws = SEEDS as f64 * EXAMPLES as f64;
        let expected: Vec<f64> = probabilities(&scores, &settings).iter().map(|p| p * draws).collect();
        // Tokens that are expected less than 5 times go into one cell.
        let (mut cells, mut rest) = (Vec::new(), (0.0, 0.0));
        for (count, expected) in counts.iter().zip(&expected) {
            if *expected == 0.0 {
                assert_eq!(*count, 0.0, "{settings:?}");
            } else if *expected < 5.0 {
                rest = (rest.0 + count, rest.1 + expected);
            } else {
                cells.push((*count, *expected));
            }
        }
        cells.extend((rest.1 >= 5.0).then_some(rest));
        let statistic: f64 = cells.iter().map(|(count, expected)| (count - expected).powi(2) / expected).sum();
        let freedom = cells.len() as f64 - 1.0;
        assert!(freedom >= 3.0, "{settings:?}: {} cells", cells.len());
        // The 99.9% quantile (Wilson and Hilferty 1931).
        let a = 2.0 / (9.0 * freedom);
        let limit = freedom * (1.0 - a + 3.09 * a.sqrt()).powi(3);
        println!("{settings:?}: chi-square {statistic:.1} of {freedom}, limit {limit:.1}");
        assert!(statistic < limit, "{settings:?}: chi-square {statistic} of {freedom}, limit {limit}");
    }
}

#[test]
fn generation_is_read_from_settings_and_checked() {
    let read = |json: &str| serde_json::from_str::<Generation>(json);
    assert_eq!(Generation::default(), Generation::Greedy);
    assert_eq!(read(r#""greedy""#).unwrap(), Generation::Greedy);
    let beam = Beam { width: 2, ..Beam::default() };
    assert_eq!(read(r#"{"beam": {"width": 2}}"#).unwrap(), Generation::Beam(beam));
    let sample = Sample { top_k: Some(5), seed: 3, ..Sample::default() };
    assert_eq!(read(r#"{"sample": {"top_k": 5, "seed": 3}}"#).unwrap(), Generation::Sample(sample));
    for wrong in [r#""best""#, r#"{"beam": {"beams": 2}}"#, r#"{"sample": {"p": 0.5}}"#] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
    assert!(Generation::Beam(beam).check().is_ok() && Generation::Sample(sample).check().is_ok());
    let weights = tiny(5, false);
    let mut engine = Engine::new(&weights);
    for (generation, name) in [
        (Generation::Beam(Beam { width: 0, ..beam }), "width"),
        (Generation::Beam(Beam { width: 257, ..beam }), "width"),
        (Generation::Beam(Beam { length_penalty: f64::NAN, ..beam }), "length_penalty"),
        (Generation::Sample(Sample { temperature: -0.1, ..sample }), "temperature"),
        (Generation::Sample(Sample { temperature: f64::INFINITY, ..sample }), "temperature"),
        (Generation::Sample(Sample { top_k: Some(0), ..sample }), "top_k"),
        (Generation::Sample(Sample { top_p: 0.0, ..sample }), "top_p"),
        (Generation::Sample(Sample { top_p: 1.1, ..sample }), "top_p"),
    ] {
        let Error::Setting { field, .. } = generation.check().unwrap_err() else { panic!("{generation:?}") };
        assert_eq!(field, name);
        assert!(engine.generate(&[], &[], &Ragged::default(), &[], 3, &generation).is_err());
    }
}
