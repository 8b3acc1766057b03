#!/usr/bin/env bash
# Tests, parity, single-run and co-training throughput of the first GPU, beside PEFT where Python has it: builds, measures, and
# writes benches/results/gpu-DATE-DEVICE.txt. Ends with 2 where there is no GPU to use, with 1 if a test or parity fails.
# PYTHON=… names the Python that has torch, transformers and peft.
set -euo pipefail
cd "$(dirname "$0")/.."

none() { echo "gpu.sh: $*; nothing was measured" >&2; exit 2; }

command -v nvidia-smi >/dev/null || none "no GPU here (nvidia-smi is missing)"
ask() { nvidia-smi --id=0 --query-gpu="$1" --format=csv,noheader 2>/dev/null; }
device=$(ask name) && [[ -n $device ]] || none "no GPU here (nvidia-smi finds none)"
driver=$(ask driver_version)
((${driver%%.*} >= 580)) || none "the driver is $driver, and CUDA 13 needs 580 or later"

tools/cuda-toolkit.sh
# shellcheck source=/dev/null
source target/cuda/env.sh
export CUDA_VISIBLE_DEVICES=0 CUDA_DEVICE_ORDER=PCI_BUS_ID # nvidia-smi's order
CUDA_COMPUTE_CAP=$(ask compute_cap)
export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP/./}
echo "gpu.sh: building for $device; the kernels take some 10 minutes of CPU time" >&2
cargo bench --profile dev --locked --features cuda --bench gpu --no-run

# The tests of the engine and of every kernel, on the GPU.
status=0
SPOT_GPU=0 cargo test --locked --features cuda --lib -- t5::device fused model_tuning || status=1

mkdir -p benches/results
name=$(tr -cs 'A-Za-z0-9\n' - <<<"$device" | tr '[:upper:]' '[:lower:]')
table=benches/results/gpu-$(date -u +%F)-$name.txt
{
  echo "$device, $(ask memory.total), driver $driver, nvcc $(nvcc --version | sed -n 's/.*release \([0-9.]*\),.*/\1/p')"
  echo "$(sed -n '/^model name/{s/.*: //p;q}' /proc/cpuinfo), $(nproc) cores"
  echo "commit $(git describe --always --dirty), $(date -u +%FT%TZ)"
  echo
} >"$table"
export RUST_BACKTRACE=0 # an error is a line of the table
cargo bench --quiet --profile dev --locked --features cuda --bench gpu -- cuda:0 2>&1 | tee -a "$table" || status=1
python=${PYTHON:-python3}
if "$python" -c 'import torch, transformers, peft; assert torch.cuda.is_available()' 2>/dev/null; then
  { echo; "$python" benches/peft.py --gpu 2>&1 || echo "PEFT: failed"; } | tee -a "$table"
else
  echo "gpu.sh: $python has no torch, transformers and peft that use a GPU; PEFT was not measured" >&2
fi
echo "gpu.sh: wrote $table" >&2
exit $status
