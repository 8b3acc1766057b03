//! GPUs, as the engine wants them: one stream, no events, and memory that is kept.

use crate::ml::error::Result;
use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::result::{device, mem_get_info, mem_pool};
use candle_core::cuda_backend::cudarc::driver::sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
use candle_core::{Device, Error};

/// The GPU number `index`.
///
/// # Errors
/// If there is no such GPU, or its driver refuses.
pub(super) fn open(index: usize) -> Result<Device> {
    let cuda = CudaDevice::new_with_stream(index)?;
    // SAFETY: all work of this device goes through its one stream, in order, whichever thread asks for it; so nothing has
    // to be ordered by events, of which there would be two for every tensor.
    unsafe { cuda.disable_event_tracking() };
    let stream = cuda.cuda_stream();
    let context = stream.context();
    context.bind_to_thread().map_err(Error::wrap)?;
    if context.has_async_alloc() {
        // Otherwise all memory that is not in use would go back to the system whenever results are waited for, and every
        // step would ask for it again.
        let mut keep = u64::MAX;
        // SAFETY: the device exists, its pool lives as long, and the attribute is a 64-bit number.
        unsafe {
            let pool = device::get_mem_pool(context.cu_device()).map_err(Error::wrap)?;
            mem_pool::set_attribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, (&raw mut keep).cast())
                .map_err(Error::wrap)?;
        }
    }
    Ok(Device::Cuda(cuda))
}

/// Bytes that are free.
///
/// # Errors
/// If the driver does not say.
pub(super) fn free_memory(cuda: &CudaDevice) -> Result<usize> {
    cuda.cuda_stream().context().bind_to_thread().map_err(Error::wrap)?;
    Ok(mem_get_info().map_err(Error::wrap)?.0)
}
