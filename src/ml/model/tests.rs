//! The two engines against each other, and against finite differences of the loss in f64.

use super::batch::Batch;
use super::cpu::kernels::{Activation, CrossEntropy, Dropout, Key, Sharing};
use super::cpu::{Engine, Gradients, Loss};
use super::reference::Reference;
use super::{Dims, Head, Weights};
use crate::ml::random::Stream;
use candle_core::{DType, Device, Tensor, Var};

pub(super) const PLAIN: CrossEntropy = CrossEntropy { z_loss: 0.0, label_smoothing: 0.0 };
pub(super) const Z_LOSS: CrossEntropy = CrossEntropy { z_loss: 1e-2, label_smoothing: 0.0 };
pub(super) const SMOOTHED: CrossEntropy = CrossEntropy { z_loss: 1e-3, label_smoothing: 0.1 };

/// What models differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V1_1,
    V1_0,
    Ul2,
    Umt5,
}

impl Family {
    pub(super) const ALL: [Self; 4] = [Self::V1_1, Self::V1_0, Self::Ul2, Self::Umt5];
}

/// Sizes that no vector width divides, and heads that do not add up to the width.
pub(super) fn tiny(family: Family) -> Dims {
    let is_v1_0 = family == Family::V1_0;
    Dims {
        vocab: 37,
        width: 16,
        heads: 3,
        head_width: 5,
        ff: 23,
        encoder_layers: 2,
        decoder_layers: 3,
        buckets: 8,
        max_distance: 20,
        epsilon: 1e-6,
        activation: match family {
            Family::V1_0 => Activation::Relu,
            Family::V1_1 | Family::Umt5 => Activation::GatedGelu,
            Family::Ul2 => Activation::GatedSilu,
        },
        bias_per_layer: family == Family::Umt5,
        head: if is_v1_0 { Head::Embedding } else { Head::Own },
        scaled: is_v1_0,
        pad: 0,
        eos: 1,
        start: 0,
    }
}

/// Large enough for every path of the matrix products: more than 512 terms in a sum, more than 64 columns.
pub(super) fn wide(family: Family) -> Dims {
    Dims { vocab: 1100, width: 80, heads: 2, head_width: 40, ff: 600, ..tiny(family) }
}

/// Random weights, those of the norms too.
pub(super) fn weights(dims: Dims, seed: u64) -> Weights {
    let mut stream = Stream::new(seed, "weights");
    let mut weights = Weights::random(dims, &mut stream);
    for slot in weights.layout.slots().to_vec().iter().filter(|slot| slot.shape.len() == 1) {
        weights.data_mut()[slot.place.clone()].fill_with(|| (1.0 + 0.3 * stream.normal()) as f32);
    }
    weights
}

pub(super) fn prompts(width: usize, lengths: &[usize]) -> Vec<Vec<f32>> {
    let mut stream = Stream::new(5, "prompts");
    lengths.iter().map(|length| (0..length * width).map(|_| stream.normal() as f32).collect()).collect()
}

/// Examples of three runs in mixed order, with texts of 1 to 23 and targets of 1 to 20 tokens.
pub(super) fn batch(vocab: usize) -> Batch {
    let mut stream = Stream::new(6, "batch");
    let mut batch = Batch::default();
    for (run, input, target) in [(1, 7, 3), (0, 23, 20), (2, 1, 1), (1, 12, 9), (0, 4, 1), (2, 17, 12), (2, 9, 2)] {
        let mut ids = |length| (0..length).map(|_| stream.below(vocab) as u32).collect::<Vec<u32>>();
        let (input, target) = (ids(input), ids(target));
        batch.push(run, &input, &target);
    }
    batch
}

pub(super) fn dropout(batch: &Batch, sharing: Sharing) -> Dropout {
    Dropout { rate: 0.2, sharing, keys: (0..batch.len() as u64).map(|slot| Key::new(3, 11, slot)).collect() }
}

pub(super) fn slices(prompts: &[Vec<f32>]) -> Vec<&[f32]> {
    prompts.iter().map(Vec::as_slice).collect()
}

pub(super) fn zeros(prompts: &[Vec<f32>]) -> Vec<Vec<f32>> {
    prompts.iter().map(|prompt| vec![0.0; prompt.len()]).collect()
}

fn tensors(prompts: &[Vec<f32>], width: usize, dtype: DType) -> Vec<Tensor> {
    let tensor = |p: &Vec<f32>| Tensor::from_slice(p, (p.len() / width, width), &Device::Cpu)?.to_dtype(dtype);
    prompts.iter().map(|p| tensor(p).unwrap()).collect()
}

fn doubles(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Euclidean distance of two vectors, relative to the length of the second.
pub(super) fn distance(found: impl IntoIterator<Item = f64>, expected: &[f64]) -> f64 {
    let length = expected.iter().map(|x| x * x).sum::<f64>().sqrt();
    let apart = found.into_iter().zip(expected).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    apart / length
}

pub(super) fn wide_copy(values: &[f32]) -> impl Iterator<Item = f64> {
    values.iter().map(|x| f64::from(*x))
}

fn gradients(
    weights: &Weights,
    prompts: &[Vec<f32>],
    batch: &Batch,
    settings: CrossEntropy,
    dropout: Option<&Dropout>,
) -> (Vec<Loss>, Vec<Vec<f32>>, Vec<f32>) {
    let mut engine = Engine::new(weights);
    let (mut d_prompts, mut d_weights) = (zeros(prompts), vec![0.0; weights.layout.len()]);
    let gradients = Gradients { prompts: &mut d_prompts, weights: Some(&mut d_weights) };
    let losses = engine.gradients(&slices(prompts), batch, settings, dropout, gradients);
    (losses, d_prompts, d_weights)
}

/// Losses and all gradients of the CPU engine against candle's in f32.
fn engines_agree(dims: Dims, lengths: &[usize], settings: CrossEntropy, sharing: Option<Sharing>) {
    let weights = weights(dims, 1);
    let width = weights.dims.width;
    let (prompts, batch) = (prompts(width, lengths), batch(weights.dims.vocab));
    let dropout = sharing.map(|sharing| dropout(&batch, sharing));
    let (losses, d_prompts, d_weights) = gradients(&weights, &prompts, &batch, settings, dropout.as_ref());

    let mut reference = Reference::new(&weights, DType::F32, &Device::Cpu).unwrap();
    let mut expected = zeros(&prompts);
    let expected_losses =
        reference.gradients(&slices(&prompts), &batch, settings, dropout.as_ref(), &mut expected).unwrap();
    for (found, expected) in losses.iter().zip(&expected_losses) {
        assert_eq!(found.tokens, expected.tokens);
        assert!((found.sum - expected.sum).abs() < 1e-5 * expected.sum.abs(), "{found:?}, expected {expected:?}");
    }
    for ((found, expected), length) in d_prompts.iter().zip(&expected).zip(lengths) {
        assert_eq!(found.len(), length * width);
        if *length > 0 {
            let expected: Vec<f64> = wide_copy(expected).collect();
            assert!(expected.iter().any(|d| *d != 0.0), "the prompt has no gradient");
            let distance = distance(wide_copy(found), &expected);
            assert!(distance < 1e-4, "gradient of a prompt of {length}: {distance}");
        }
    }

    let [_, mut absorbs] = Engine::both(&weights);
    let mut found = zeros(&prompts);
    let asked = Gradients { prompts: &mut found, weights: None };
    let losses = absorbs.gradients(&slices(&prompts), &batch, settings, dropout.as_ref(), asked);
    for (found, expected) in losses.iter().zip(&expected_losses) {
        assert!((found.sum - expected.sum).abs() < 1e-5 * expected.sum.abs(), "absorbed: {found:?}, {expected:?}");
    }
    for (found, expected) in found.iter().zip(&expected).filter(|(_, expected)| !expected.is_empty()) {
        let distance = distance(wide_copy(found), &wide_copy(expected).collect::<Vec<_>>());
        assert!(distance < 1e-4, "absorbed, gradient of a prompt: {distance}");
    }

    let vars = reference.unfreeze().unwrap();
    let (sums, _) = reference.loss(&tensors(&prompts, width, DType::F32), &batch, settings, dropout.as_ref()).unwrap();
    let store = sums.sum_all().unwrap().backward().unwrap();
    for slot in weights.layout.slots() {
        let expected = doubles(store.get(&vars[&slot.name]).unwrap());
        let distance = distance(wide_copy(&d_weights[slot.place.clone()]), &expected);
        assert!(distance < 1e-4, "gradient of {}: {distance}", slot.name);
    }
}

#[test]
fn engines_agree_on_v1_1() {
    engines_agree(tiny(Family::V1_1), &[5, 0, 3], PLAIN, None);
    engines_agree(wide(Family::V1_1), &[5, 0, 3], Z_LOSS, None);
}

#[test]
fn engines_agree_on_v1_0() {
    engines_agree(tiny(Family::V1_0), &[5, 0, 3], PLAIN, None);
    engines_agree(wide(Family::V1_0), &[5, 0, 3], Z_LOSS, None);
}

#[test]
fn engines_agree_without_prompts() {
    engines_agree(tiny(Family::V1_1), &[0, 0, 0], PLAIN, None);
    engines_agree(tiny(Family::V1_0), &[0, 0, 0], Z_LOSS, None);
}

#[test]
fn engines_agree_with_label_smoothing() {
    engines_agree(tiny(Family::V1_1), &[2, 4, 3], SMOOTHED, None);
    engines_agree(tiny(Family::V1_0), &[2, 4, 3], SMOOTHED, None);
}

#[test]
fn engines_agree_under_dropout() {
    for sharing in [Sharing::Sequence, Sharing::Element] {
        engines_agree(tiny(Family::V1_1), &[5, 0, 3], Z_LOSS, Some(sharing));
        engines_agree(tiny(Family::V1_0), &[5, 0, 3], Z_LOSS, Some(sharing));
    }
    engines_agree(wide(Family::V1_1), &[5, 0, 3], PLAIN, Some(Sharing::Sequence));
}

/// Losses and gradients of the prompts alone.
fn prompt_gradients(
    engine: &mut Engine<'_>,
    prompts: &[&[f32]],
    batch: &Batch,
    dropout: Option<&Dropout>,
) -> (Vec<Loss>, Vec<Vec<f32>>) {
    let mut d_prompts: Vec<Vec<f32>> = prompts.iter().map(|prompt| vec![0.0; prompt.len()]).collect();
    let gradients = Gradients { prompts: &mut d_prompts, weights: None };
    (engine.gradients(prompts, batch, Z_LOSS, dropout, gradients), d_prompts)
}

/// Short cuts that must not change a bit: no gradients of weights, activations computed twice, and the first projection of
/// a prompt shared by the examples that it leads.
#[test]
fn short_cuts_do_not_change_a_bit() {
    for dims in [tiny(Family::V1_1), tiny(Family::V1_0), wide(Family::V1_1), wide(Family::V1_0)] {
        let weights = weights(dims, 3);
        let (prompts, batch) = (prompts(weights.dims.width, &[5, 0, 3]), batch(weights.dims.vocab));
        for sharing in [None, Some(Sharing::Sequence), Some(Sharing::Element)] {
            let dropout = sharing.map(|sharing| dropout(&batch, sharing));
            let dropout = dropout.as_ref();
            let (losses, d_prompts, d_weights) = gradients(&weights, &prompts, &batch, Z_LOSS, dropout);
            let expected = (losses, d_prompts);

            let mut engine = Engine::new(&weights);
            assert!(prompt_gradients(&mut engine, &slices(&prompts), &batch, dropout) == expected, "prompts alone");
            let all = engine.bytes();
            engine.recompute(true);
            assert!(prompt_gradients(&mut engine, &slices(&prompts), &batch, dropout) == expected, "recomputed");
            assert!(engine.bytes() < all, "recomputing needs {} bytes, keeping {all}", engine.bytes());
            let mut learned = vec![0.0; weights.layout.len()];
            let mut d_prompts = zeros(&prompts);
            let asked = Gradients { prompts: &mut d_prompts, weights: Some(&mut learned) };
            let losses = engine.gradients(&slices(&prompts), &batch, Z_LOSS, dropout, asked);
            assert!((losses, d_prompts) == expected && learned == d_weights, "recomputed, with weights");

            let [_, mut absorbs] = Engine::both(&weights);
            let kept = prompt_gradients(&mut absorbs, &slices(&prompts), &batch, dropout);
            absorbs.recompute(true);
            let again = prompt_gradients(&mut absorbs, &slices(&prompts), &batch, dropout);
            assert!(again == kept, "absorbed and recomputed");

            // Every example leads with a copy of its own.
            let copies: Vec<Vec<f32>> = batch.run.iter().map(|run| prompts[*run].clone()).collect();
            let apart = Batch { run: (0..batch.len()).collect(), ..batch.clone() };
            let (losses, d_copies) = prompt_gradients(&mut Engine::new(&weights), &slices(&copies), &apart, dropout);
            for (run, (expected_loss, expected)) in expected.0.iter().zip(&expected.1).enumerate() {
                let mut sum = vec![0.0f32; expected.len()];
                let mut loss = 0.0;
                for example in (0..batch.len()).filter(|example| batch.run[*example] == run) {
                    sum.iter_mut().zip(&d_copies[example]).for_each(|(sum, d)| *sum += d);
                    loss += losses[example].sum;
                }
                assert!(sum == *expected && loss == expected_loss.sum, "copies of the prompt of run {run}");
            }
        }
    }
}

/// bf16 has 8 binary digits, of weights and of what they are multiplied with; the loss moves as little as that.
#[test]
fn bf16_gives_nearly_the_same_loss_and_gradient() {
    for family in Family::ALL {
        let weights = weights(wide(family), 3);
        let narrow = weights.to_bf16();
        assert_eq!(narrow.precision(), super::Precision::Bf16);
        let (prompts, batch) = (prompts(weights.dims.width, &[5, 0, 3]), batch(weights.dims.vocab));
        let (wide_losses, wide_d) = prompt_gradients(&mut Engine::new(&weights), &slices(&prompts), &batch, None);
        let (losses, d) = prompt_gradients(&mut Engine::new(&narrow), &slices(&prompts), &batch, None);
        for (found, expected) in losses.iter().zip(&wide_losses) {
            assert!((found.sum / expected.sum - 1.0).abs() < 1e-2, "{found:?}, in f32 {expected:?}");
        }
        for (found, expected) in d.iter().zip(&wide_d).filter(|(_, d)| !d.is_empty()) {
            let distance = distance(wide_copy(found), &wide_copy(expected).collect::<Vec<_>>());
            assert!(distance < 5e-2, "gradient of a prompt: {distance}");
        }
    }
}

/// In bf16, whether activations are kept or computed again, each kept only until it is read.
#[test]
fn recomputing_does_not_change_a_bit_in_bf16() {
    for dims in [tiny(Family::V1_1), tiny(Family::V1_0), wide(Family::V1_1)] {
        let weights = weights(dims, 3).to_bf16();
        let (prompts, batch) = (prompts(weights.dims.width, &[5, 0, 3]), batch(weights.dims.vocab));
        for sharing in [None, Some(Sharing::Sequence), Some(Sharing::Element)] {
            let dropout = sharing.map(|sharing| dropout(&batch, sharing));
            for mut engine in Engine::both(&weights) {
                let kept = prompt_gradients(&mut engine, &slices(&prompts), &batch, dropout.as_ref());
                engine.recompute(true);
                let again = prompt_gradients(&mut engine, &slices(&prompts), &batch, dropout.as_ref());
                assert!(again == kept, "{sharing:?}");
                let losses = dropout.is_none().then(|| engine.losses(&slices(&prompts), &batch, Z_LOSS));
                assert!(losses.is_none_or(|losses| losses == kept.0), "without gradients");
            }
        }
    }
}

/// The examples of one run, its dropout keys, and the run's own numbering.
fn alone(batch: &Batch, dropout: &Dropout, run: usize) -> (Batch, Dropout) {
    let mut own = Batch::default();
    let mut keys = Vec::new();
    for example in (0..batch.len()).filter(|example| batch.run[*example] == run) {
        own.push(0, batch.inputs.row(example), batch.targets.row(example));
        keys.push(dropout.keys[example]);
    }
    (own, Dropout { keys, ..dropout.clone() })
}

fn joint_runs_equal_separate_runs(dims: Dims, lengths: &[usize]) {
    let weights = weights(dims, 2);
    let (prompts, batch) = (prompts(weights.dims.width, lengths), batch(weights.dims.vocab));
    for sharing in [Sharing::Sequence, Sharing::Element] {
        let dropout = dropout(&batch, sharing);
        for mut engine in Engine::both(&weights) {
            let (losses, d_prompts) = prompt_gradients(&mut engine, &slices(&prompts), &batch, Some(&dropout));
            for run in 0..prompts.len() {
                let (batch, dropout) = alone(&batch, &dropout, run);
                let (loss, d_prompt) = prompt_gradients(&mut engine, &[&prompts[run]], &batch, Some(&dropout));
                assert_eq!(losses[run].sum.to_bits(), loss[0].sum.to_bits(), "loss of run {run}");
                assert!(d_prompts[run] == d_prompt[0], "gradient of run {run}");
            }
        }
    }
}

#[test]
fn joint_runs_equal_separate_runs_bit_for_bit() {
    for family in Family::ALL {
        joint_runs_equal_separate_runs(tiny(family), &[5, 0, 3]);
        joint_runs_equal_separate_runs(wide(family), &[5, 0, 3]);
        joint_runs_equal_separate_runs(Dims { width: 32, head_width: 8, vocab: 1500, ..wide(family) }, &[1, 1, 70]);
    }
}

#[test]
fn an_example_without_target_has_no_part_in_loss_and_gradients() {
    let weights = weights(tiny(Family::V1_1), 2);
    let prompts = prompts(weights.dims.width, &[2]);
    let (mut batch, mut engine) = (Batch::default(), Engine::new(&weights));
    batch.push(0, &[4, 5, 1], &[6, 1]);
    let run = |engine: &mut Engine<'_>, batch: &Batch| {
        let mut d_prompts = zeros(&prompts);
        let gradients = Gradients { prompts: &mut d_prompts, weights: None };
        (engine.gradients(&slices(&prompts), batch, PLAIN, None, gradients), d_prompts)
    };
    let expected = run(&mut engine, &batch);
    let mut larger = batch.clone();
    larger.push(0, &[9, 8, 7, 1], &[3, 2, 1]);
    run(&mut engine, &larger);
    batch.push(0, &[9, 8, 7, 1], &[]);
    assert!(run(&mut engine, &batch) == expected, "what an earlier batch left behind was used");
}

#[test]
fn an_engine_keeps_nothing_from_an_earlier_batch() {
    let weights = weights(tiny(Family::V1_1), 2);
    let prompts = prompts(weights.dims.width, &[5, 0, 3]);
    let batch = batch(weights.dims.vocab);
    let (small, dropout) = alone(&batch, &dropout(&batch, Sharing::Element), 1);
    let run = |engine: &mut Engine<'_>, prompts: &[Vec<f32>], batch: &Batch, dropout: Option<&Dropout>| {
        let (mut d_prompts, mut d_weights) = (zeros(prompts), vec![0.0; weights.layout.len()]);
        let gradients = Gradients { prompts: &mut d_prompts, weights: Some(&mut d_weights) };
        (engine.gradients(&slices(prompts), batch, PLAIN, dropout, gradients), d_prompts, d_weights)
    };
    let mut used = Engine::new(&weights);
    run(&mut used, &prompts, &batch, None);
    let fresh = run(&mut Engine::new(&weights), &prompts[1..2], &small, Some(&dropout));
    assert!(run(&mut used, &prompts[1..2], &small, Some(&dropout)) == fresh);
    assert!(
        used.losses(&slices(&prompts), &batch, PLAIN) == Engine::new(&weights).losses(&slices(&prompts), &batch, PLAIN)
    );
}

#[test]
fn threads_do_not_change_a_bit() {
    for dims in [tiny(Family::V1_1), wide(Family::V1_1), wide(Family::V1_0)] {
        let weights = weights(dims, 2);
        let (prompts, batch) = (prompts(weights.dims.width, &[5, 0, 3]), batch(weights.dims.vocab));
        let dropout = dropout(&batch, Sharing::Sequence);
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let [_, mut absorbs] = Engine::both(&weights);
                let absorbed = prompt_gradients(&mut absorbs, &slices(&prompts), &batch, Some(&dropout));
                (gradients(&weights, &prompts, &batch, Z_LOSS, Some(&dropout)), absorbed)
            })
        };
        let (one, one_absorbed) = on(1);
        for threads in [2, 3] {
            let (several, absorbed) = on(threads);
            assert!(absorbed == one_absorbed, "absorbed, on {threads} threads");
            assert!(several.0 == one.0, "losses on {threads} threads");
            assert!(several.1 == one.1, "gradients of the prompts on {threads} threads");
            assert!(several.2 == one.2, "gradients of the weights on {threads} threads");
        }
    }
}

/// Sum of the losses of all runs, in f64.
fn exact_loss(reference: &Reference, prompts: &[Tensor], batch: &Batch, dropout: Option<&Dropout>) -> f64 {
    let (sums, _) = reference.loss(prompts, batch, Z_LOSS, dropout).unwrap();
    doubles(&sums).iter().sum()
}

/// The prompts' gradients against central differences of the f64 loss through the whole model: candle's in f64, and
/// those of the CPU engine in f32.
fn gradient_matches_finite_differences(dims: Dims, sharing: Option<Sharing>) {
    const STEP: f64 = 1e-4;
    let weights = weights(dims, 4);
    let width = weights.dims.width;
    let (prompts, batch) = (prompts(width, &[3, 0, 2]), batch(weights.dims.vocab));
    let dropout = sharing.map(|sharing| dropout(&batch, sharing));
    let reference = Reference::new(&weights, DType::F64, &Device::Cpu).unwrap();
    let fast = Engine::both(&weights)
        .map(|mut engine| prompt_gradients(&mut engine, &slices(&prompts), &batch, dropout.as_ref()).1);

    let given = tensors(&prompts, width, DType::F64);
    let vars: Vec<Var> = given.iter().map(|p| Var::from_tensor(p).unwrap()).collect();
    let variables: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let (sums, _) = reference.loss(&variables, &batch, Z_LOSS, dropout.as_ref()).unwrap();
    let store = sums.sum_all().unwrap().backward().unwrap();

    for run in [0, 2] {
        let values = doubles(&given[run]);
        let shape = given[run].shape();
        let differences: Vec<f64> = (0..values.len())
            .map(|i| {
                let at = |shift: f64| {
                    let mut moved = values.clone();
                    moved[i] += shift;
                    let mut prompts = given.clone();
                    prompts[run] = Tensor::from_vec(moved, shape, &Device::Cpu).unwrap();
                    exact_loss(&reference, &prompts, &batch, dropout.as_ref())
                };
                (at(STEP) - at(-STEP)) / (2.0 * STEP)
            })
            .collect();
        let exact = distance(doubles(store.get(&vars[run]).unwrap()), &differences);
        assert!(exact < 1e-5, "reference, run {run}: {exact}");
        for (fast, how) in fast.iter().zip(["projected", "absorbed"]) {
            let fast = distance(wide_copy(&fast[run]), &differences);
            println!("run {run}: reference in f64 {exact:.2e}, CPU engine, {how}, {fast:.2e}");
            assert!(fast < 1e-4, "CPU engine, {how}, run {run}: {fast}");
        }
    }
}

#[test]
fn prompt_gradients_match_finite_differences_on_v1_1() {
    gradient_matches_finite_differences(tiny(Family::V1_1), None);
}

#[test]
fn prompt_gradients_match_finite_differences_on_v1_0() {
    gradient_matches_finite_differences(tiny(Family::V1_0), None);
}

#[test]
fn prompt_gradients_match_finite_differences_on_other_families() {
    gradient_matches_finite_differences(tiny(Family::Ul2), None);
    gradient_matches_finite_differences(tiny(Family::Umt5), None);
}

#[test]
fn prompt_gradients_match_finite_differences_under_dropout() {
    gradient_matches_finite_differences(tiny(Family::V1_1), Some(Sharing::Sequence));
    gradient_matches_finite_differences(tiny(Family::V1_1), Some(Sharing::Element));
}
