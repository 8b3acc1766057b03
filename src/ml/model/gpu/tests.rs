//! The GPU engine against the CPU engine and the reference: on CPU tensors, or on the GPU number `SPOT_GPU`.

use super::*;
use crate::ml::generate::tests::{self, Examples};
use crate::ml::generate::{Beam, Generation, Sample};
use crate::ml::model::cpu::kernels::Sharing;
use crate::ml::model::golden::{SCALED, TIED, V1_0, V1_1};
use crate::ml::model::reference::Reference;
use crate::ml::model::tests::{
    Family, PLAIN, SMOOTHED, Z_LOSS, batch, distance, dropout, prompts, slices, tiny, weights, wide, wide_copy, zeros,
};
use crate::ml::model::{Dims, Head, cpu};
use candle_core::DType;

fn engine(weights: &Weights) -> Engine<'_> {
    let device = match std::env::var("SPOT_GPU") {
        Ok(index) => gpu(index.parse().unwrap()).unwrap(),
        Err(_) => Device::Cpu,
    };
    Engine::new(weights, &device).unwrap()
}

/// Gradients of the prompts and of nothing else.
fn alone(d_prompts: &mut [Vec<f32>]) -> Gradients<'_> {
    Gradients { prompts: d_prompts, weights: None }
}

/// Losses and gradients of the prompts.
type Found = (Vec<Loss>, Vec<Vec<f32>>);

fn on_device(
    engine: &Engine<'_>,
    prompts: &[Vec<f32>],
    batch: &Batch,
    settings: CrossEntropy,
    dropout: Option<&Dropout>,
) -> Found {
    let mut d_prompts = zeros(prompts);
    let losses = engine.gradients(&slices(prompts), batch, settings, dropout, alone(&mut d_prompts)).unwrap();
    (losses, d_prompts)
}

fn by_fast(
    engine: &mut cpu::Engine<'_>,
    prompts: &[Vec<f32>],
    batch: &Batch,
    settings: CrossEntropy,
    dropout: Option<&Dropout>,
) -> Found {
    let mut d_prompts = zeros(prompts);
    let gradients = cpu::Gradients { prompts: &mut d_prompts, weights: None };
    let losses = engine.gradients(&slices(prompts), batch, settings, dropout, gradients);
    (losses, d_prompts)
}

#[track_caller]
fn close(found: &Found, expected: &Found, loss_bound: f64, gradient_bound: f64, what: &str) {
    for (found, expected) in found.0.iter().zip(&expected.0) {
        assert_eq!(found.tokens, expected.tokens, "{what}");
        let apart = (found.sum - expected.sum).abs();
        assert!(apart <= loss_bound * expected.sum.abs(), "{what}: {found:?}, expected {expected:?}");
    }
    for (found, expected) in found.1.iter().zip(&expected.1).filter(|(_, expected)| !expected.is_empty()) {
        let expected: Vec<f64> = wide_copy(expected).collect();
        assert!(expected.iter().any(|d| *d != 0.0), "{what}: the prompt has no gradient");
        let distance = distance(wide_copy(found), &expected);
        assert!(distance < gradient_bound, "{what}: gradient of a prompt: {distance}");
    }
}

fn engines_agree(dims: Dims, lengths: &[usize], settings: CrossEntropy, sharing: Option<Sharing>) {
    let (activation, per_layer) = (dims.activation, dims.bias_per_layer);
    let what = format!("{activation:?}, {per_layer}, width {}, {settings:?}, {sharing:?}", dims.width);
    let weights = weights(dims, 1);
    let (prompts, batch) = (prompts(weights.dims.width, lengths), batch(weights.dims.vocab));
    let dropout = sharing.map(|sharing| dropout(&batch, sharing));
    let dropout = dropout.as_ref();
    let mut engine = engine(&weights);
    let found = on_device(&engine, &prompts, &batch, settings, dropout);
    close(&found, &by_fast(&mut cpu::Engine::new(&weights), &prompts, &batch, settings, dropout), 1e-5, 1e-4, &what);

    let reference = Reference::new(&weights, DType::F32, &Device::Cpu).unwrap();
    let mut d_prompts = zeros(&prompts);
    let losses = reference.gradients(&slices(&prompts), &batch, settings, dropout, &mut d_prompts).unwrap();
    close(&found, &(losses, d_prompts), 1e-5, 1e-4, &format!("{what}, reference"));

    engine.recompute(true);
    assert!(on_device(&engine, &prompts, &batch, settings, dropout) == found, "{what}: computed again");

    let mut fast = cpu::Engine::new(&weights);
    fast.expect(0);
    engine.expect(0);
    let expected = by_fast(&mut fast, &prompts, &batch, settings, dropout);
    let found = on_device(&engine, &prompts, &batch, settings, dropout);
    close(&found, &expected, 1e-5, 1e-4, &format!("{what}, absorbed"));
    engine.recompute(false);
    assert!(on_device(&engine, &prompts, &batch, settings, dropout) == found, "{what}, absorbed: not computed again");
}

#[test]
fn the_device_engine_agrees_with_the_others() {
    for family in Family::ALL {
        for settings in [PLAIN, Z_LOSS, SMOOTHED] {
            for sharing in [None, Some(Sharing::Sequence), Some(Sharing::Element)] {
                engines_agree(tiny(family), &[5, 0, 3], settings, sharing);
            }
        }
        engines_agree(wide(family), &[2, 4, 3], Z_LOSS, None);
        engines_agree(tiny(family), &[0, 0, 0], Z_LOSS, None);
    }
}

/// Losses, gradients of the prompts, and of all weights in their layout.
fn with_weights(
    engine: &Engine<'_>,
    prompts: &[Vec<f32>],
    batch: &Batch,
    settings: CrossEntropy,
    dropout: Option<&Dropout>,
) -> (Found, Vec<f32>) {
    let (mut d_prompts, gradient) = (zeros(prompts), Gradient::default());
    let gradients = Gradients { prompts: &mut d_prompts, weights: Some(&gradient) };
    let losses = engine.gradients(&slices(prompts), batch, settings, dropout, gradients).unwrap();
    assert!(gradient.is_finite().unwrap());
    let mut d_weights = vec![0.0; engine.layout.len()];
    for (start, tensor) in engine.parameters.tensors() {
        let found = gradient.take(start).expect("every tensor learns");
        assert_eq!(found.dims(), tensor.dims());
        let found = found.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        d_weights[start..start + found.len()].copy_from_slice(&found);
    }
    ((losses, d_prompts), d_weights)
}

fn weights_learn_alike(dims: Dims, lengths: &[usize], settings: CrossEntropy, sharing: Option<Sharing>) {
    let (activation, per_layer) = (dims.activation, dims.bias_per_layer);
    let what = format!("{activation:?}, {per_layer}, width {}, {settings:?}, {sharing:?}", dims.width);
    let weights = weights(dims, 1);
    let (prompts, batch) = (prompts(weights.dims.width, lengths), batch(weights.dims.vocab));
    let dropout = sharing.map(|sharing| dropout(&batch, sharing));
    let dropout = dropout.as_ref();

    let (mut d_prompts, mut expected) = (zeros(&prompts), vec![0.0; weights.layout.len()]);
    let gradients = cpu::Gradients { prompts: &mut d_prompts, weights: Some(&mut expected) };
    let mut fast = cpu::Engine::new(&weights);
    let losses = fast.gradients(&slices(&prompts), &batch, settings, dropout, gradients);

    let mut engine = engine(&weights);
    let found = with_weights(&engine, &prompts, &batch, settings, dropout);
    close(&found.0, &(losses, d_prompts), 1e-5, 1e-4, &what);
    for slot in weights.layout.slots() {
        let expected: Vec<f64> = wide_copy(&expected[slot.place.clone()]).collect();
        assert!(expected.iter().any(|d| *d != 0.0), "{what}: {} has no gradient", slot.name);
        let distance = distance(wide_copy(&found.1[slot.place.clone()]), &expected);
        assert!(distance < 1e-4, "{what}: gradient of {}: {distance}", slot.name);
    }

    engine.recompute(true);
    assert!(with_weights(&engine, &prompts, &batch, settings, dropout) == found, "{what}: computed again");
    // Where weights learn, cross-attention is never absorbed.
    engine.expect(0);
    assert!(with_weights(&engine, &prompts, &batch, settings, dropout) == found, "{what}: short targets");
}

#[test]
fn all_weights_learn_as_in_the_fast_engine() {
    for family in Family::ALL {
        for settings in [PLAIN, Z_LOSS, SMOOTHED] {
            for sharing in [None, Some(Sharing::Sequence), Some(Sharing::Element)] {
                weights_learn_alike(tiny(family), &[0, 0, 0], settings, sharing);
            }
        }
        weights_learn_alike(tiny(family), &[5, 0, 3], Z_LOSS, Some(Sharing::Sequence));
        weights_learn_alike(wide(family), &[0, 0, 0], Z_LOSS, None);
        for (head, scaled) in [(Head::Embedding, false), (Head::Embedding, true), (Head::Own, false), (Head::Own, true)]
        {
            weights_learn_alike(Dims { head, scaled, ..tiny(family) }, &[0, 0, 0], PLAIN, None);
        }
    }
}

/// Examples without a text or a target, whose rows may be none at all.
#[test]
fn weights_learn_nothing_from_rows_that_are_not_there() {
    let weights = weights(tiny(Family::V1_1), 2);
    let engine = engine(&weights);
    let learn = |examples: &[(&[u32], &[u32])]| {
        let mut batch = Batch::default();
        examples.iter().for_each(|(input, target)| batch.push(0, input, target));
        let gradient = Gradient::default();
        let gradients = Gradients { prompts: &mut [Vec::new()], weights: Some(&gradient) };
        engine.gradients(&[&[]], &batch, PLAIN, None, gradients).unwrap();
        let mut expected = vec![0.0; weights.layout.len()];
        let gradients = cpu::Gradients { prompts: &mut [Vec::new()], weights: Some(&mut expected) };
        cpu::Engine::new(&weights).gradients(&[&[]], &batch, PLAIN, None, gradients);
        for (start, tensor) in engine.parameters.tensors() {
            let expected: Vec<f64> = wide_copy(&expected[start..start + tensor.elem_count()]).collect();
            let found = gradient.take(start).map(|found| found.flatten_all().unwrap().to_vec1::<f32>().unwrap());
            let found = found.unwrap_or_else(|| vec![0.0; expected.len()]);
            match expected.iter().all(|d| *d == 0.0) {
                true => assert!(found.iter().all(|d| *d == 0.0), "{examples:?}, tensor at {start}"),
                false => assert!(distance(wide_copy(&found), &expected) < 1e-4, "{examples:?}, tensor at {start}"),
            }
        }
    };
    learn(&[(&[4, 1], &[])]);
    learn(&[(&[], &[])]);
    learn(&[(&[], &[3, 1])]);
    learn(&[(&[], &[3, 1]), (&[4, 5, 1], &[6, 1]), (&[7, 1], &[])]);
}

/// A copy of a prompt for each example gives gradients whose sum is that of the prompt.
#[test]
fn runs_that_share_a_prompt_have_gradients_of_their_own() {
    let weights = weights(tiny(Family::V1_1), 3);
    let (prompts, batch) = (prompts(weights.dims.width, &[5, 1, 3]), batch(weights.dims.vocab));
    let engine = engine(&weights);
    let (losses, d_prompts) = on_device(&engine, &prompts, &batch, PLAIN, None);
    let shared: Vec<&[f32]> = batch.run.iter().map(|run| &prompts[*run][..]).collect();
    let apart = Batch { run: (0..batch.len()).collect(), ..batch.clone() };
    let mut d_apart: Vec<Vec<f32>> = shared.iter().map(|prompt| vec![0.0; prompt.len()]).collect();
    let losses_apart = engine.gradients(&shared, &apart, PLAIN, None, alone(&mut d_apart)).unwrap();
    let mut summed = (vec![Loss::default(); 3], zeros(&prompts));
    for (example, run) in batch.run.iter().enumerate() {
        summed.0[*run].sum += losses_apart[example].sum;
        summed.0[*run].tokens += losses_apart[example].tokens;
        summed.1[*run].iter_mut().zip(&d_apart[example]).for_each(|(sum, d)| *sum += d);
    }
    close(&summed, &(losses, d_prompts), 1e-6, 1e-5, "summed");
}

/// In bf16 a number has 8 significant bits. On random models of these sizes losses are within 1 % of f32's, and gradients
/// of prompts within 10 %, and not farther from f32's than autograd's in bf16.
#[test]
fn bf16_is_close_to_f32() {
    for family in Family::ALL {
        for sharing in [None, Some(Sharing::Sequence), Some(Sharing::Element)] {
            let weights = weights(wide(family), 3);
            let narrow = weights.to_bf16();
            let (prompts, batch) = (prompts(weights.dims.width, &[5, 0, 3]), batch(weights.dims.vocab));
            let dropout = sharing.map(|sharing| dropout(&batch, sharing));
            let found = on_device(&engine(&narrow), &prompts, &batch, Z_LOSS, dropout.as_ref());
            let expected = by_fast(&mut cpu::Engine::new(&weights), &prompts, &batch, Z_LOSS, dropout.as_ref());
            let what = format!("{family:?}, {sharing:?}");
            close(&found, &expected, 1e-2, 1e-1, &what);

            let reference = Reference::new(&narrow, DType::BF16, &Device::Cpu).unwrap();
            let mut d_prompts = zeros(&prompts);
            reference.gradients(&slices(&prompts), &batch, Z_LOSS, dropout.as_ref(), &mut d_prompts).unwrap();
            for ((found, reference), expected) in found.1.iter().zip(&d_prompts).zip(&expected.1) {
                let expected: Vec<f64> = wide_copy(expected).collect();
                let [found, reference] = [found, reference].map(|d| distance(wide_copy(d), &expected));
                assert!(expected.is_empty() || found < 1.2 * reference, "{what}: {found}, autograd {reference}");
            }
        }
    }
}

#[test]
fn answers_are_those_of_the_fast_engine() {
    let beam = |width, length_penalty, early_stopping| Generation::Beam(Beam { width, length_penalty, early_stopping });
    let generations = [
        Generation::Greedy,
        beam(1, 1.0, false),
        beam(3, 0.6, false),
        beam(4, 1.0, true),
        Generation::Sample(Sample { seed: 3, ..Sample::default() }),
        Generation::Sample(Sample { temperature: 1.3, top_k: Some(40), top_p: 0.9, seed: 7 }),
    ];
    let streams = [40, 3, 77, 5, 1 << 40];
    for weights in [V1_1.weights(), V1_0.weights(), tests::tiny(7, true), tests::level()] {
        let examples = Examples::new(&weights);
        let (prompts, run, inputs) = (examples.prompts(), &examples.run, &examples.inputs);
        let (mut device, mut fast) = (engine(&weights), cpu::Engine::new(&weights));
        for generation in &generations {
            for longest in [0, 1, 9] {
                let found = device.generate(&prompts, run, inputs, &streams, longest, generation).unwrap();
                let expected = fast.generate(&prompts, run, inputs, &streams, longest, generation).unwrap();
                assert_eq!(found, expected, "{generation:?}, at most {longest}");
            }
        }
    }
}

#[test]
fn label_scores_are_those_of_the_fast_engine() {
    let labels: Ragged = [vec![5, 1], vec![4, 3, 2, 6, 1], vec![1]].into_iter().collect();
    for weights in [V1_1.weights(), TIED.weights(), SCALED.weights(), tests::tiny(7, true)] {
        let examples = Examples::new(&weights);
        let (prompts, run, inputs) = (examples.prompts(), &examples.run, &examples.inputs);
        let found = engine(&weights).label_scores(&prompts, run, inputs, &labels).unwrap();
        let expected = cpu::Engine::new(&weights).label_scores(&prompts, run, inputs, &labels);
        for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
            assert_eq!(found.tokens, expected.tokens);
            let apart = (found.log_likelihood - expected.log_likelihood).abs();
            assert!(apart <= 1e-4 * expected.log_likelihood.abs(), "{found:?}, expected {expected:?}");
        }
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [3; 5]);
    }
}

#[test]
fn bf16_decodes() {
    let weights = V1_1.weights().to_bf16();
    let examples = Examples::new(&weights);
    let (prompts, run, inputs) = (examples.prompts(), &examples.run, &examples.inputs);
    let mut engine = engine(&weights);
    for generation in [Generation::Greedy, Generation::Beam(Beam::default())] {
        let answers = engine.generate(&prompts, run, inputs, &[], 9, &generation).unwrap();
        assert!(answers.iter().all(|answer| answer.len() <= 9) && answers.iter().any(|answer| !answer.is_empty()));
    }
    let labels: Ragged = [vec![5, 1], vec![4, 3, 1]].into_iter().collect();
    let wide = V1_1.weights();
    let found = engine.label_scores(&prompts, run, inputs, &labels).unwrap();
    let expected = cpu::Engine::new(&wide).label_scores(&prompts, run, inputs, &labels);
    for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
        let apart = (found.log_likelihood - expected.log_likelihood).abs();
        assert!(apart <= 5e-2 * expected.log_likelihood.abs(), "{found:?}, expected {expected:?}");
    }
}

#[test]
fn nothing_is_no_error() {
    let weights = weights(tiny(Family::V1_1), 2);
    let (none, mut engine) = (Ragged::default(), engine(&weights));
    let found = engine.gradients(&[], &Batch::default(), PLAIN, None, alone(&mut [])).unwrap();
    assert_eq!(found, []);
    let unused = vec![1.0; 2 * weights.dims.width];
    let mut d_prompts = [vec![0.0; unused.len()]];
    let found = engine.gradients(&[&unused], &Batch::default(), PLAIN, None, alone(&mut d_prompts)).unwrap();
    assert_eq!(found, [Loss::default()]);
    assert!(engine.generate(&[], &[], &none, &[], 5, &Generation::Greedy).unwrap().is_empty());
    assert!(engine.label_scores(&[], &[], &none, &none).unwrap().is_empty());

    // An example without a token, one without a target, and both in one; alone and beside another.
    for (input, target) in [(&[][..], &[3, 1][..]), (&[4, 1], &[]), (&[], &[])] {
        let mut batch = Batch::default();
        batch.push(0, input, target);
        let losses = engine.gradients(&[&[]], &batch, PLAIN, None, alone(&mut [Vec::new()])).unwrap();
        assert!(losses[0].tokens == target.len() && losses[0].sum.is_finite(), "{losses:?}");
        batch.push(0, &[5, 6, 1], &[7, 1]);
        let prompts = [Vec::new()];
        let found = on_device(&engine, &prompts, &batch, PLAIN, None);
        close(&found, &by_fast(&mut cpu::Engine::new(&weights), &prompts, &batch, PLAIN, None), 1e-5, 1e-4, "little");
    }
    let inputs: Ragged = [Vec::new()].into_iter().collect();
    let found = engine.generate(&[&[]], &[0], &inputs, &[], 5, &Generation::Greedy).unwrap();
    assert_eq!(found, cpu::Engine::new(&weights).greedy(&[&[]], &[0], &inputs, 5));
}

#[test]
fn ids_without_an_embedding_are_refused() {
    let weights = weights(tiny(Family::V1_1), 2);
    let vocab = weights.dims.vocab as u32;
    let mut engine = engine(&weights);
    for (input, target) in [(vocab, 1), (1, vocab)] {
        let mut batch = Batch::default();
        batch.push(0, &[input], &[target, 1]);
        let error = engine.gradients(&[&[]], &batch, PLAIN, None, alone(&mut [Vec::new()])).unwrap_err().to_string();
        assert!(error.contains("`token id` is 37, expected below 37"), "{error}");
    }
    let inputs: Ragged = [[vocab]].into_iter().collect();
    assert!(engine.generate(&[&[]], &[0], &inputs, &[], 5, &Generation::Greedy).is_err());
}
