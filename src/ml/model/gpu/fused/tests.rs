//! The CUDA kernels, compiled as C++ and launched as a GPU would get them, against the same operations on the CPU; with
//! `SPOT_GPU=0` also on the GPU of that number.

use super::activation::{Activate, ActivateBackward};
use super::dropout::{DropProbabilities, DropRows, Law};
use super::heads::{Merge, Split};
use super::loss::{LossGradient, Losses};
use super::norm::{Norm, NormBackward};
use super::rows::{Highest, SumRows};
use super::softmax::{Softmax, SoftmaxBackward};
use super::*;
use crate::ml::model::cpu::kernels::Activation;
use crate::ml::model::{CrossEntropy, Sharing};
use crate::ml::random::Stream;
use candle_core::{Device, IndexOp};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const CPU: Device = Device::Cpu;

/// The kernels as a program.
struct Emulator {
    folder: tempfile::TempDir,
    /// Kernels that have run.
    seen: BTreeSet<String>,
    gpu: Option<Device>,
}

impl Emulator {
    /// None where no C++ compiler is.
    fn compile() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ml/model/gpu/cuda/emulator.cpp");
        let mut command = Command::new("c++");
        command.args(["-std=c++17", "-O1", "-o"]).arg(folder.path().join("emulator")).arg(source);
        let output = match command.output() {
            Ok(output) => output,
            Err(error) => {
                println!("skipped: no C++ compiler runs here (`c++`: {error})");
                return None;
            }
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let gpu = std::env::var("SPOT_GPU").ok().map(|index| Device::new_cuda(index.parse().unwrap()).unwrap());
        Some(Self { folder, seen: BTreeSet::new(), gpu })
    }

    /// The result of a launch, as bytes.
    fn run(&mut self, launch: &Launch, operands: &[Tensor]) -> Vec<u8> {
        let kind = if operands[0].dtype() == DType::BF16 { "bf16" } else { "f32" };
        let name = format!("{}_{kind}", launch.kernel);
        let mut input = Vec::new();
        word(&mut input, name.len());
        padded(&mut input, name.as_bytes());
        word(&mut input, launch.blocks as usize);
        word(&mut input, THREADS as usize);
        word(&mut input, operands.len());
        for operand in operands {
            let bytes = bytes(operand);
            word(&mut input, bytes.len());
            padded(&mut input, &bytes);
        }
        word(&mut input, launch.len() * launch.dtype.size_in_bytes());
        word(&mut input, launch.numbers.len());
        for number in &launch.numbers {
            match number {
                Number::Int(number) => input.extend(number.to_le_bytes()),
                Number::Float(number) => input.extend(number.to_le_bytes()),
            }
        }
        let mut command = Command::new(self.folder.path().join("emulator"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut program = command.spawn().unwrap();
        // It reads everything before it writes. If it gives up early, its message says more than the broken pipe.
        drop(program.stdin.take().unwrap().write_all(&input));
        let output = program.wait_with_output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        self.seen.insert(name);
        output.stdout
    }

    /// Compares a kernel with the CPU, in f32 and with the operands `narrow` in bf16.
    fn check(&mut self, operation: &impl Operation, operands: &[Tensor], narrow: &[usize]) {
        self.compare(operation, operands);
        let narrowed: Vec<Tensor> = operands
            .iter()
            .enumerate()
            .map(
                |(i, operand)| {
                    if narrow.contains(&i) { operand.to_dtype(DType::BF16).unwrap() } else { operand.clone() }
                },
            )
            .collect();
        self.compare(operation, &narrowed);
    }

    fn compare(&mut self, operation: &impl Operation, operands: &[Tensor]) {
        let expected = run(operation, &operands.iter().collect::<Vec<_>>()).unwrap();
        let seen: Vec<Operand<'_>> =
            operands.iter().map(|operand| Operand { dtype: operand.dtype(), dims: operand.dims() }).collect();
        let launch = operation.launch(&seen).unwrap();
        assert_eq!((launch.dtype, &launch.dims[..]), (expected.dtype(), expected.dims()));
        agree(&launch, &self.run(&launch, operands), &bytes(&expected));
        if let Some(gpu) = &self.gpu {
            let operands: Vec<Tensor> = operands.iter().map(|operand| operand.to_device(gpu).unwrap()).collect();
            let found = run(operation, &operands.iter().collect::<Vec<_>>()).unwrap().to_device(&CPU).unwrap();
            agree(&launch, &bytes(&found), &bytes(&expected));
        }
    }
}

/// Compares results: ids to the bit, bf16 to the last place, f32 to 1e-5.
fn agree(launch: &Launch, found: &[u8], expected: &[u8]) {
    if launch.dtype == DType::U32 {
        assert_eq!(found, expected, "{launch:?}");
        return;
    }
    let (found, expected) = (floats(found, launch.dtype), floats(expected, launch.dtype));
    // The last place of bf16, where f32 lies near the middle of two.
    let relative = if launch.dtype == DType::BF16 { 1.0 / 128.0 } else { 1e-5 };
    let largest = expected.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let bound = relative * expected.abs() + 1e-6 * largest.max(0.1);
        assert!((found - expected).abs() <= bound, "{launch:?}: {found} at {i}, expected {expected}");
    }
}

fn word(input: &mut Vec<u8>, word: usize) {
    input.extend(u32::try_from(word).unwrap().to_le_bytes());
}

fn padded(input: &mut Vec<u8>, bytes: &[u8]) {
    input.extend(bytes);
    input.resize(input.len().next_multiple_of(4), 0);
}

fn bytes(tensor: &Tensor) -> Vec<u8> {
    let tensor = tensor.flatten_all().unwrap();
    match tensor.dtype() {
        DType::BF16 => tensor.to_vec1::<bf16>().unwrap().iter().flat_map(|x| x.to_le_bytes()).collect(),
        DType::U32 => tensor.to_vec1::<u32>().unwrap().iter().flat_map(|x| x.to_le_bytes()).collect(),
        _ => tensor.to_vec1::<f32>().unwrap().iter().flat_map(|x| x.to_le_bytes()).collect(),
    }
}

fn floats(bytes: &[u8], dtype: DType) -> Vec<f32> {
    match dtype {
        DType::BF16 => bytes.as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        _ => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
    }
}

fn random(dims: &[usize], stream: &mut Stream) -> Tensor {
    let values: Vec<f32> = (0..dims.iter().product()).map(|_| 2.0 * stream.normal() as f32).collect();
    Tensor::from_vec(values, dims, &CPU).unwrap()
}

fn ids(ids: &[u32], dims: &[usize]) -> Tensor {
    Tensor::from_slice(ids, dims, &CPU).unwrap()
}

fn probabilities(dims: &[usize], stream: &mut Stream) -> Tensor {
    let keys = dims[3] as u32;
    let softmax = Softmax { position: 0, causal: false, biased: false };
    let lengths: Vec<u32> = (0..dims[0] as u32).map(|i| keys.saturating_sub(3 * i)).collect();
    let scores = random(dims, stream);
    run(&softmax, &[&scores, &ids(&lengths, &[dims[0]]), &scores]).unwrap()
}

#[test]
fn the_kernels_compute_what_the_cpu_computes() {
    let Some(mut emulator) = Emulator::compile() else { return };
    let emulator = &mut emulator;
    let stream = &mut Stream::new(1, "fused");

    for (rows, width) in [(1, 1), (3, 31), (17, 33), (5, 300)] {
        let [x, d_x, d_y] = std::array::from_fn(|_| random(&[rows, width], stream));
        let scale = random(&[width], stream);
        emulator.check(&Norm { epsilon: 1e-6 }, &[x.clone(), scale.clone()], &[0]);
        emulator.check(&NormBackward { epsilon: 1e-6 }, &[d_x, d_y, x, scale], &[0, 1, 2]);
        let own = &mut Stream::new(rows as u64, "silu");
        for activation in [Activation::GatedGelu, Activation::Relu, Activation::GatedSilu] {
            // The kernels that came first keep the numbers that they were checked with.
            let stream = if activation == Activation::GatedSilu { &mut *own } else { &mut *stream };
            let inner = random(&[rows, activation.inner(width)], stream);
            let d_y = random(&[rows, width], stream);
            emulator.check(&Activate(activation), std::slice::from_ref(&inner), &[0]);
            emulator.check(&ActivateBackward(activation), &[inner, d_y], &[0, 1]);
        }
    }

    for (queries, keys, position, causal) in
        [(1, 1, 0, false), (7, 40, 0, false), (12, 12, 0, true), (1, 9, 8, true), (2, 70, 4, true)]
    {
        let dims = [3, 2, queries, keys];
        let scores = random(&dims, stream);
        let lengths = ids(&[keys as u32, 0, (keys as u32).div_ceil(2)], &[3]);
        let bias = random(&[2, 2 * (keys + position + queries) - 1], stream);
        let softmax = Softmax { position, causal, biased: true };
        emulator.check(&softmax, &[scores.clone(), lengths.clone(), bias], &[0]);
        let softmax = Softmax { biased: false, ..softmax };
        emulator.check(&softmax, &[scores.clone(), lengths.clone(), scores], &[0, 2]);
        let (p, d_p) = (probabilities(&dims, stream), random(&dims, stream));
        emulator.check(&SoftmaxBackward, &[p.clone(), d_p], &[0, 1]);
        for sharing in [Sharing::Sequence, Sharing::Element] {
            let law = Law { rate: 0.3, sharing, site: 37 };
            let halves: Vec<u32> = (0..6).map(|_| stream.bits() as u32).collect();
            let queries = ids(&[queries as u32, 0, (queries as u32).div_ceil(2)], &[3]);
            emulator.check(&DropProbabilities(law), &[p.clone(), ids(&halves, &[3, 2]), queries], &[0]);
            let places = ids(&[0, 0, 0, 1, 1, 0, 2, 0, 2, 1, 2, 2, 2, 3], &[7, 2]);
            let x = random(&[7, 3 * keys], stream);
            emulator.check(&DropRows(law), &[x, ids(&halves, &[3, 2]), places], &[0]);
        }
    }

    for (heads, width) in [(1, 1), (3, 5), (2, 32), (2, 40)] {
        let (starts, places) = (ids(&[0, 4, 4, 11], &[4]), ids(&[2, 6, 0, 3, 9, 0, 1, 99, 2, 0], &[5, 2]));
        let x = random(&[11, 3 * heads * width + 1], stream);
        let split = Split { column: heads * width, heads, width, longest: 7 };
        emulator.check(&split, &[x, starts], &[0]);
        for parts in 1..=3 {
            let [a, b, c] = std::array::from_fn(|_| random(&[3, heads, 7, width], stream));
            emulator.check(&Merge { parts }, &[a, b, c, places.clone()], &[0, 1, 2]);
        }
    }

    for (rows, vocab) in [(1, 1), (3, 37), (5, 256), (2, 1000)] {
        let logits = (random(&[rows, vocab], stream) * 3.0).unwrap();
        let targets: Vec<u32> = (0..rows).map(|_| stream.below(vocab) as u32).collect();
        let targets = ids(&targets, &[rows]);
        for (z_loss, label_smoothing) in [(0.0, 0.0), (1e-2, 0.0), (1e-2, 0.1)] {
            let settings = CrossEntropy { z_loss, label_smoothing: if vocab > 1 { label_smoothing } else { 0.0 } };
            for logits in [logits.clone(), logits.to_dtype(DType::BF16).unwrap()] {
                let operands = [logits, targets.clone()];
                emulator.compare(&Losses(settings), &operands);
                let losses = run(&Losses(settings), &[&operands[0], &operands[1]]).unwrap();
                let [logits, targets] = operands;
                emulator.compare(&LossGradient(settings), &[logits, targets, losses]);
            }
        }
        emulator.check(&Highest, std::slice::from_ref(&logits), &[0]);
        // Ties go to the first place, and nothing is higher than infinity downwards.
        let coarse = logits.round().unwrap();
        emulator.check(&Highest, &[coarse], &[0]);
        emulator.check(&Highest, &[(logits * f64::NEG_INFINITY).unwrap().abs().unwrap().neg().unwrap()], &[0]);
    }

    let named = ids(&[0, 2, 1, 0, 3, 4], &[6]);
    for width in [1, 50] {
        emulator.check(&SumRows, &[random(&[5, width], stream), ids(&[0, 3, 3, 6], &[4]), named.clone()], &[0]);
    }

    small_grids_go_on_to_further_rows(emulator, stream);

    let source = include_str!("../cuda/kernels.cu");
    let kernels = source.lines().filter_map(|line| line.strip_prefix("KERNEL(")?.split(',').next());
    let all: BTreeSet<String> = kernels.flat_map(|name| ["f32", "bf16"].map(|kind| format!("{name}_{kind}"))).collect();
    assert_eq!(emulator.seen, all, "kernels without a test");
}

/// A grid with fewer warps or blocks than there are rows.
fn small_grids_go_on_to_further_rows(emulator: &mut Emulator, stream: &mut Stream) {
    let x = random(&[70, 5], stream);
    let named: Vec<u32> = (0..70).collect();
    let starts: Vec<u32> = (0..=70).collect();
    let operands = [x.clone(), ids(&starts, &[71]), ids(&named, &[70])];
    let seen = operands.each_ref().map(|tensor| Operand { dtype: tensor.dtype(), dims: tensor.dims() });
    let launch = Launch { blocks: 2, ..SumRows.launch(&seen).unwrap() };
    assert_eq!(floats(&emulator.run(&launch, &operands), DType::F32), floats(&bytes(&x), DType::F32));
    let launch = Launch { blocks: 3, ..Highest.launch(&seen[..1]).unwrap() };
    assert_eq!(emulator.run(&launch, &operands[..1]), bytes(&run(&Highest, &[&x]).unwrap()));
}

#[test]
fn what_does_not_fit_is_refused() {
    let stream = &mut Stream::new(3, "fused");
    let x = random(&[4, 6], stream);
    let refused = |operation: &dyn Fn() -> Result<Tensor>, what: &str| {
        let error = operation().unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    let scale = random(&[6], stream);
    refused(&|| rms_norm(&x.t()?, &random(&[4], &mut Stream::new(3, "")), 1e-6), "strides [1, 6]");
    refused(&|| rms_norm(&x, &scale.i(..5)?, 1e-6), "`norm`: a scale that does not fit the rows");
    refused(&|| rms_norm(&x, &scale.to_dtype(DType::BF16)?, 1e-6), "a scale that does not fit");
    refused(&|| rms_norm(&x.to_dtype(DType::F64)?, &scale, 1e-6), "a tensor of f64");
    refused(&|| rms_norm_backward(&x, &x.i(..3)?, &x, &scale, 1e-6), "different sizes");
    refused(&|| activate(Activation::GatedGelu, &random(&[2, 5], &mut Stream::new(3, ""))), "odd number of columns");
    refused(&|| split_heads(&x, &ids(&[0, 4], &[2]), 3, (2, 2), 4), "not among the columns");
    let settings = CrossEntropy { z_loss: 0.0, label_smoothing: 0.0 };
    refused(&|| cross_entropy(settings, &x, &ids(&[0; 3], &[3])), "a target for each row");
    let scores = random(&[1, 1, 4, 6], stream);
    let (keys, bias) = (ids(&[6], &[1]), random(&[1, 9], stream));
    let visible = Visible { keys: &keys, bias: Some(&bias), position: 0, causal: true };
    refused(&|| softmax(&scores, visible), "a bias that does not fit");
    let visible = Visible { bias: None, ..visible };
    assert!(softmax(&scores, visible).is_ok());
}

#[test]
fn a_part_of_a_tensor_is_read_where_it_is() {
    let stream = &mut Stream::new(4, "fused");
    let (x, scale) = (random(&[6, 5], stream), random(&[10], stream));
    let found = rms_norm(&x.narrow(0, 2, 3).unwrap(), &scale.narrow(0, 5, 5).unwrap(), 1e-6).unwrap();
    let copy = |tensor: Tensor| {
        Tensor::from_vec(tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap(), tensor.dims(), &CPU).unwrap()
    };
    let expected = rms_norm(&copy(x.narrow(0, 2, 3).unwrap()), &copy(scale.narrow(0, 5, 5).unwrap()), 1e-6).unwrap();
    assert_eq!(bytes(&found), bytes(&expected));
}
