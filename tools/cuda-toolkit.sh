#!/usr/bin/env bash
# tools/cuda-toolkit.sh [FOLDER]: a CUDA 13.0 compiler for `cargo build --features cuda`, without root and without a GPU.
#
# Puts the compiler and the libraries together from Python wheels in FOLDER (target/cuda if none is named) and writes
# FOLDER/env.sh, which is to be sourced before cargo. An nvcc of CUDA 13 on the PATH is used instead. A second call
# does nothing.
set -euo pipefail

say() { echo "cuda-toolkit: $*" >&2; }
fail() { say "$@"; exit 1; }

[[ $# -le 1 && ${1-} != -* ]] || fail "usage: tools/cuda-toolkit.sh [FOLDER]"
folder=$(realpath -m -- "${1:-$(dirname "$0")/../target/cuda}")
[[ $folder != *[\'\$:]* ]] || fail "the folder's name must not contain ', \$ or a colon: $folder"
env=$folder/env.sh

# 13.0 and nothing newer: candle's kernels travel as PTX, and a driver refuses PTX from a compiler newer than itself.
# 10.4.0 is the cuRAND of CUDA 13.0.
wheels=(nvidia-{cuda-nvcc,cuda-crt,nvvm,cuda-cccl,cuda-runtime,cuda-nvrtc,cublas}"==13.0.*" "nvidia-curand==10.4.0.*")
made="# Made from ${wheels[*]}"

# Prints the release of the nvcc that is called `$1`, as in 13.0.
release() { { "$1" --version 2>/dev/null || :; } | sed -n 's/.*release \([0-9.]*\),.*/\1/p'; }

# Writes env.sh for the toolkit at $1 with the comment $2; last of all, so that it tells of a whole toolkit.
write_env() {
  mkdir -p "$folder"
  cat >"$env.part" <<END
# Written by tools/cuda-toolkit.sh; source it, then \`cargo build --features cuda\`.
$2
export CUDA_HOME='$1'
export CUDA_PATH="\$CUDA_HOME" CUDA_ROOT="\$CUDA_HOME"
export PATH="\$CUDA_HOME/bin:\$PATH"
# The stub of the driver is for linking only: at run time it has no name that anything looks for.
export LIBRARY_PATH="\$CUDA_HOME/lib64:\$CUDA_HOME/lib64/stubs\${LIBRARY_PATH:+:\$LIBRARY_PATH}"
export LD_LIBRARY_PATH="\$CUDA_HOME/lib64\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
# The kernels run on cards of this compute capability only; where there is no card to ask, an H100's.
command -v nvidia-smi >/dev/null || export CUDA_COMPUTE_CAP="\${CUDA_COMPUTE_CAP:-90}"
# candle's build uses half of the cores for kernels otherwise.
export CUDAFORGE_THREADS="\${CUDAFORGE_THREADS:-\$(nproc)}"
END
  mv "$env.part" "$env"
  say "ready: source $env"
}

# Done before?
if [[ -f $env ]] && { grep -qxF "$made" "$env" || grep -q '^# Found' "$env"; }; then
  home=$(sed -n "s/^export CUDA_HOME='\(.*\)'$/\1/p" "$env")
  if [[ $(release "$home/bin/nvcc") == 13.* ]]; then
    say "in place: source $env"
    exit 0
  fi
fi

# Installed?
if nvcc=$(command -v nvcc); then
  found=$(release "$nvcc")
  if [[ $found == 13.* ]]; then
    say "nvcc $found is installed: $nvcc"
    [[ $found == 13.0 ]] || say "programs built with it need a driver for CUDA $found or later"
    write_env "$(dirname "$(dirname "$(realpath "$nvcc")")")" "# Found: nvcc $found"
    exit 0
  fi
  say "nvcc ${found:-of unknown release} at $nvcc is not of CUDA 13 and is not used"
fi

# What making one takes.
command -v python3 >/dev/null || fail "python3 is missing; it fetches and unpacks the compiler"
python3 -m pip --version >/dev/null 2>&1 || fail "pip is missing for $(command -v python3); it fetches the compiler"
command -v gcc >/dev/null || fail "gcc is missing; nvcc needs it, and so does the stub of the driver"

mkdir -p "$folder"
rm -rf "$folder/wheels" "$folder/nvidia"
say "fetching some 600 MB of wheels"
python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$folder/wheels" "${wheels[@]}" ||
  fail "pip could not fetch the wheels"
for wheel in "$folder"/wheels/*.whl; do
  python3 -m zipfile -e "$wheel" "$folder"
done
rm -rf "$folder/wheels" "$folder"/*.dist-info

home=$folder/nvidia/cu13
[[ -f $home/bin/nvcc ]] || fail "the wheels did not bring nvidia/cu13/bin/nvcc"
# Wheels carry neither permissions nor links.
chmod +x "$home"/bin/* "$home"/nvvm/bin/*
ln -sfn lib "$home/lib64"
for library in "$home"/lib/lib*.so.*; do
  name=$(basename "$library")
  ln -sf "$name" "$home/lib/${name%%.so.*}.so"
done

# The driver's library, libcuda, comes with the driver and cannot be had otherwise. This stands in for it when linking: every
# function of cuda.h, each returning CUDA_ERROR_STUB_LIBRARY. Programs linked with it ask for libcuda.so.1 when they start.
mkdir -p "$home/lib/stubs"
echo '#include <cuda.h>' | gcc -E -P -I "$home/include" - |
  grep -oE '\bcu[A-Z][A-Za-z0-9_]* ?\(' | tr -d ' (' | sort -u |
  sed 's/.*/int &(void) { return 34; }/' |
  gcc -x c -w -fno-builtin -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$home/lib/stubs/libcuda.so" -

[[ $(release "$home/bin/nvcc") == 13.0 ]] || fail "the compiler in $home does not run, or is not of CUDA 13.0"
write_env "$home" "$made"
if ! PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null | grep 'libcuda\.so\.1 ' >/dev/null; then
  say "no NVIDIA driver here: what is built with it links, and does not start on this machine"
fi
