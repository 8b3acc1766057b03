//! Launches of the kernels in `cuda/kernels.cu`, which `build.rs` compiles.

use super::{Launch, Number, THREADS, extent, wrong};
use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::cuda_backend::cudarc::driver::{
    CudaStream, DevicePtr, DevicePtrMut, DeviceRepr, LaunchConfig, PushKernelArg, SyncOnDrop,
};
use candle_core::cuda_backend::{CudaDType, CudaDevice};
use candle_core::{CudaStorage, DType, Error, Layout, Result};
use half::bf16;

const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));

/// Launches a kernel on its operands; the result is a new tensor of the sizes that the launch names.
///
/// # Errors
/// If the operands are on different devices, the result has a type of no kernel, or the device fails.
pub(super) fn run(launch: &Launch, operands: &[(&CudaStorage, &Layout)]) -> Result<CudaStorage> {
    let device = operands[0].0.device();
    if operands.iter().any(|(storage, _)| !storage.device().same_device(device)) {
        return Err(wrong(launch.kernel, "operands on different devices"));
    }
    match launch.dtype {
        DType::F32 => run_into::<f32>(launch, operands, device),
        DType::BF16 => run_into::<bf16>(launch, operands, device),
        DType::U32 => run_into::<u32>(launch, operands, device),
        other => Err(wrong(launch.kernel, format!("a result of {}", other.as_str()))),
    }
}

fn run_into<T: CudaDType + DeviceRepr>(
    launch: &Launch,
    operands: &[(&CudaStorage, &Layout)],
    device: &CudaDevice,
) -> Result<CudaStorage> {
    let kind = match operands[0].0.dtype() {
        DType::BF16 => "bf16",
        _ => "f32",
    };
    let function = device.get_or_load_custom_func(&format!("{}_{kind}", launch.kernel), "spot", PTX)?;
    let stream = device.cuda_stream();
    // The guards order this launch behind what writes the operands; they live until it is queued.
    let pointers = operands
        .iter()
        .map(|(storage, layout)| pointer(launch.kernel, storage, layout, &stream))
        .collect::<Result<Vec<_>>>()?;
    // SAFETY: every kernel writes every element of its result.
    let mut out = unsafe { device.alloc::<T>(launch.len())? };
    {
        let (out, _guard) = out.device_ptr_mut(&stream);
        let mut arguments = function.builder();
        for (pointer, _guard) in &pointers {
            arguments.arg(pointer);
        }
        arguments.arg(&out);
        for number in &launch.numbers {
            match number {
                Number::Int(number) => arguments.arg(number),
                Number::Float(number) => arguments.arg(number),
            };
        }
        let config = LaunchConfig { grid_dim: (launch.blocks, 1, 1), block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: the arguments are those of the kernel, in its order, and `Operation::launch` has checked that the
        // operands are as long as the numbers say; the tests run the same launches on a CPU.
        unsafe { arguments.launch(config) }.map_err(Error::wrap)?;
    }
    drop(pointers);
    Ok(CudaStorage::wrap_cuda_slice(out, device.clone()))
}

/// The address of the first element of a contiguous tensor.
fn pointer<'a>(
    kernel: &str,
    storage: &'a CudaStorage,
    layout: &Layout,
    stream: &'a CudaStream,
) -> Result<(u64, SyncOnDrop<'a>)> {
    let (start, end) = extent(kernel, layout)?;
    match storage.dtype() {
        DType::F32 => typed_pointer::<f32>(storage, start, end, stream),
        DType::BF16 => typed_pointer::<bf16>(storage, start, end, stream),
        DType::U32 => typed_pointer::<u32>(storage, start, end, stream),
        other => Err(wrong(kernel, format!("a tensor of {}", other.as_str()))),
    }
}

fn typed_pointer<'a, T: CudaDType + 'a>(
    storage: &'a CudaStorage,
    start: usize,
    end: usize,
    stream: &'a CudaStream,
) -> Result<(u64, SyncOnDrop<'a>)> {
    let slice = storage.as_cuda_slice::<T>()?;
    if end > slice.len() {
        return Err(Error::Msg(format!("elements {start} to {end} of a tensor with {}", slice.len())));
    }
    let (pointer, guard) = slice.device_ptr(stream);
    Ok((pointer + (start * size_of::<T>()) as u64, guard))
}
