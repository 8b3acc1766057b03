//! Compiles the CUDA kernels to PTX, under the feature `cuda` alone; else it does nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

const KERNELS: &str = "src/ml/model/gpu/cuda/kernels.cu";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    println!("cargo::rerun-if-changed={KERNELS}");
    for name in ["CUDA_HOME", "CUDA_COMPUTE_CAP"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it")).join("kernels.ptx");
    let nvcc = std::env::var_os("CUDA_HOME").map_or("nvcc".into(), |home| Path::new(&home).join("bin/nvcc"));
    let mut command = Command::new(&nvcc);
    command.args(["-ptx", "-O3", "--std=c++17"]).arg(format!("-arch=sm_{}", compute_capability()));
    let status = command.arg("-o").arg(out).arg(KERNELS).status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("`{}` failed on {KERNELS}: {status}", nvcc.display()),
        Err(error) => panic!("`{}` does not run ({error}); see docs/cuda.md", nvcc.display()),
    }
}

/// That of `CUDA_COMPUTE_CAP`, as for candle's kernels, else that of the first card.
fn compute_capability() -> String {
    if let Ok(capability) = std::env::var("CUDA_COMPUTE_CAP") {
        return capability.replace('.', "");
    }
    let query = ["--query-gpu=compute_cap", "--format=csv,noheader"];
    let output = Command::new("nvidia-smi").args(query).output().expect("nvidia-smi runs, or CUDA_COMPUTE_CAP is set");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().expect("nvidia-smi finds a card, or CUDA_COMPUTE_CAP is set").trim().replace('.', "")
}
