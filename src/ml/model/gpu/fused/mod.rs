//! Operations on candle tensors that pass over memory once: on the CPU by the functions of [`kernels`](super), on a GPU by
//! `cuda/kernels.cu`.
//!
//! An [`Operation`] checks its operands and says which kernel is launched and with which numbers. That is one piece of code
//! for all devices, so the launches can be tested where there is no GPU: `tests.rs` compiles the kernels as C++ and runs
//! them with what a GPU would get. Operands must be contiguous; a strided one is refused. Arithmetic is in f32,
//! whatever the type of the operands.

mod activation;
#[cfg(feature = "cuda")]
mod cuda;
mod dropout;
mod heads;
mod loss;
mod norm;
mod rows;
mod softmax;
#[cfg(test)]
mod tests;

pub(crate) use activation::{activate, activate_backward};
pub(crate) use dropout::Masks;
pub(crate) use heads::{merge_heads, split_heads};
pub(crate) use loss::{cross_entropy, cross_entropy_gradient};
pub(crate) use norm::{rms_norm, rms_norm_backward};
pub(crate) use rows::{highest, sum_rows};
pub(crate) use softmax::{Visible, softmax, softmax_backward};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Error, Layout, Result, Shape, Storage, Tensor};
use half::bf16;
use std::borrow::Cow;

/// Something that a kernel computes from some tensors.
trait Operation {
    /// Checks the operands; how the kernel is launched, and what comes out.
    ///
    /// The kernel that is called `norm` here is `norm_f32` or `norm_bf16` in `kernels.cu`, by the type of the first
    /// operand. Its arguments are the operands, the result and the numbers, in this order.
    fn launch(&self, operands: &[Operand<'_>]) -> Result<Launch>;

    /// What the kernel computes, of operands that passed the checks of `launch`.
    fn compute(&self, operands: &[Values<'_>], out: &Launch) -> Output;
}

/// An operand as the checks see it.
struct Operand<'a> {
    dtype: DType,
    dims: &'a [usize],
}

/// The launch of a kernel: blocks of [`THREADS`] threads.
#[derive(Debug)]
#[cfg_attr(
    not(any(test, feature = "cuda")),
    expect(dead_code, reason = "a CPU needs neither the grid nor all numbers")
)]
struct Launch {
    kernel: &'static str,
    blocks: u32,
    numbers: Vec<Number>,
    dtype: DType,
    dims: Vec<usize>,
}

/// An argument of a kernel that is not a tensor.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(any(test, feature = "cuda")), expect(dead_code, reason = "a CPU has the settings themselves"))]
enum Number {
    Int(u32),
    Float(f32),
}

/// What is in an operand.
enum Values<'a> {
    Floats(Cow<'a, [f32]>),
    Ids(&'a [u32]),
}

/// What comes out on the CPU; floats are rounded to the type of the result.
enum Output {
    Floats(Vec<f32>),
    Ids(Vec<u32>),
}

/// Threads of a block: 8 warps, each of which takes a row, or all together one.
const THREADS: u32 = 256;
const WARP: u32 = 32;
/// More blocks than these take several rows each.
const MOST_BLOCKS: u32 = 1 << 16;

impl Launch {
    /// A kernel whose warps take a row of `rows` each.
    fn by_warps(kernel: &'static str, rows: usize, dtype: DType, dims: &[usize]) -> Self {
        Self::new(kernel, rows.div_ceil((THREADS / WARP) as usize), dtype, dims)
    }

    /// A kernel whose blocks take a row of `rows` each.
    fn by_blocks(kernel: &'static str, rows: usize, dtype: DType, dims: &[usize]) -> Self {
        Self::new(kernel, rows, dtype, dims)
    }

    fn new(kernel: &'static str, blocks: usize, dtype: DType, dims: &[usize]) -> Self {
        let blocks = u32::try_from(blocks).unwrap_or(MOST_BLOCKS).min(MOST_BLOCKS);
        Self { kernel, blocks, numbers: Vec::new(), dtype, dims: dims.to_vec() }
    }

    /// Adds sizes to the arguments.
    fn sizes(mut self, sizes: &[usize]) -> Result<Self> {
        for size in sizes {
            let size = u32::try_from(*size).map_err(|_| wrong(self.kernel, format!("a size of {size}")))?;
            self.numbers.push(Number::Int(size));
        }
        Ok(self)
    }

    /// Adds a flag or an id to the arguments.
    fn int(mut self, number: u32) -> Self {
        self.numbers.push(Number::Int(number));
        self
    }

    fn float(mut self, number: f32) -> Self {
        self.numbers.push(Number::Float(number));
        self
    }

    fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// The size that is argument `at` of the numbers.
    fn size(&self, at: usize) -> usize {
        match self.numbers[at] {
            Number::Int(size) => size as usize,
            Number::Float(_) => panic!("a fraction is not a size"),
        }
    }
}

impl Operand<'_> {
    /// Its sizes, if there are `N`, none is 0 and the elements are f32 or bf16.
    fn floats<const N: usize>(&self, kernel: &'static str) -> Result<[usize; N]> {
        if !matches!(self.dtype, DType::F32 | DType::BF16) {
            return Err(wrong(kernel, format!("a tensor of {}", self.dtype.as_str())));
        }
        self.sizes(kernel)
    }

    /// The same of `u32`.
    fn ids<const N: usize>(&self, kernel: &'static str) -> Result<[usize; N]> {
        if self.dtype != DType::U32 {
            return Err(wrong(kernel, format!("ids of {}", self.dtype.as_str())));
        }
        self.sizes(kernel)
    }

    fn sizes<const N: usize>(&self, kernel: &'static str) -> Result<[usize; N]> {
        let sizes = <[usize; N]>::try_from(self.dims).ok().filter(|sizes| !sizes.contains(&0));
        sizes.ok_or_else(|| wrong(kernel, format!("a tensor of {:?} instead of {N} sizes", self.dims)))
    }

    /// Makes sure that type and sizes are those of `other`.
    fn is_like(&self, other: &Self, kernel: &'static str) -> Result<()> {
        require(kernel, self.dtype == other.dtype, "operands of different types")?;
        require(kernel, self.dims == other.dims, "operands of different sizes")
    }
}

impl Values<'_> {
    fn floats(&self) -> &[f32] {
        match self {
            Self::Floats(values) => values,
            Self::Ids(_) => panic!("`launch` makes sure of the types"),
        }
    }

    fn ids(&self) -> &[u32] {
        match self {
            Self::Ids(values) => values,
            Self::Floats(_) => panic!("`launch` makes sure of the types"),
        }
    }
}

fn wrong(kernel: &str, found: impl std::fmt::Display) -> Error {
    Error::Msg(format!("kernel `{kernel}`: {found}"))
}

fn require(kernel: &str, holds: bool, found: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(wrong(kernel, found)) }
}

/// Runs `operation` on tensors of one device.
fn run(operation: &impl Operation, operands: &[&Tensor]) -> Result<Tensor> {
    let (first, rest) = operands.split_first().expect("every operation has an operand");
    first.apply_op1_no_bwd(&Applied { operation, rest })
}

/// candle's custom operations have up to three operands; here all but the first are a field.
struct Applied<'a, O> {
    operation: &'a O,
    rest: &'a [&'a Tensor],
}

impl<O: Operation> Applied<'_, O> {
    fn launch(&self, dtype: DType, layout: &Layout) -> Result<Launch> {
        let first = std::iter::once(Operand { dtype, dims: layout.dims() });
        let rest = self.rest.iter().map(|tensor| Operand { dtype: tensor.dtype(), dims: tensor.dims() });
        self.operation.launch(&first.chain(rest).collect::<Vec<_>>())
    }
}

impl<O: Operation> CustomOp1 for Applied<'_, O> {
    fn name(&self) -> &'static str {
        "fused"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let launch = self.launch(storage.dtype(), layout)?;
        let guards: Vec<_> = self.rest.iter().map(|tensor| tensor.storage_and_layout()).collect();
        let mut values = vec![values(launch.kernel, storage, layout)?];
        for (storage, layout) in &guards {
            let Storage::Cpu(storage) = &**storage else {
                return Err(wrong(launch.kernel, "operands on different devices"));
            };
            values.push(self::values(launch.kernel, storage, layout)?);
        }
        let out = match (self.operation.compute(&values, &launch), launch.dtype) {
            (Output::Floats(out), DType::F32) => CpuStorage::F32(out),
            (Output::Floats(out), _) => CpuStorage::BF16(out.into_iter().map(bf16::from_f32).collect()),
            (Output::Ids(out), _) => CpuStorage::U32(out),
        };
        Ok((out, launch.dims.into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        storage: &candle_core::CudaStorage,
        layout: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        let launch = self.launch(storage.dtype(), layout)?;
        let guards: Vec<_> = self.rest.iter().map(|tensor| tensor.storage_and_layout()).collect();
        let mut operands = vec![(storage, layout)];
        for (storage, layout) in &guards {
            let Storage::Cuda(storage) = &**storage else {
                return Err(wrong(launch.kernel, "operands on different devices"));
            };
            operands.push((storage, layout));
        }
        Ok((cuda::run(&launch, &operands)?, launch.dims.into()))
    }
}

fn values<'a>(kernel: &str, storage: &'a CpuStorage, layout: &Layout) -> Result<Values<'a>> {
    let (start, end) = extent(kernel, layout)?;
    match storage {
        CpuStorage::F32(values) => Ok(Values::Floats(Cow::Borrowed(&values[start..end]))),
        CpuStorage::BF16(values) => Ok(Values::Floats(values[start..end].iter().map(|x| x.to_f32()).collect())),
        CpuStorage::U32(values) => Ok(Values::Ids(&values[start..end])),
        other => Err(wrong(kernel, format!("a tensor of {}", other.dtype().as_str()))),
    }
}

/// Where the elements of a tensor lie in its storage, if they lie one after the other.
fn extent(kernel: &str, layout: &Layout) -> Result<(usize, usize)> {
    layout.contiguous_offsets().ok_or_else(|| wrong(kernel, format!("a tensor with strides {:?}", layout.stride())))
}
