#!/usr/bin/env bash
# Everything that is to be seen on an NVIDIA GPU, in one run: the kernels against their formulas, the
# memory and race checkers where they are installed, each kernel's speed and PyTorch's on the same
# card, the trace of a training on the real weights, and training's speed and memory beside PEFT's.
# Some minutes.
#
#   benches/gpu.sh [kernels|trace|training]…      these parts; without a word all
#   benches/gpu.sh build FOLDER                   the programs alone
#
# From the sources it needs cargo and nvcc. SMOLTUNE_GPU_BIN=FOLDER takes the programs of `build`, for a
# GPU machine without Rust. The trace needs SMOLTUNE_GGUF (SmolLM2-135M-Instruct.Q4_1.gguf) and
# SMOLTUNE_REFERENCE (a folder with golden/lora_trace and data; ../shared and shared are looked at, too).
set -euo pipefail
cd "$(dirname "$0")/.."

# built FILE CARGO_WORD…: the program that these words build, as FILE.
built() {
  local file=$1
  shift
  cp "$(cargo "$@" --message-format=json | grep -o '"executable":"[^"]*"' | tail -n 1 | cut -d'"' -f4)" "$file"
  strip "$file"
}

build() {
  mkdir -p "$1"
  built "$1/kernels-test" test -p smollm-model --features cuda --test kernels --no-run
  built "$1/kernels-bench" bench -p smollm-model --features cuda --bench kernels --no-run
  built "$1/trace-test" test -p lora --features cuda,reference --test reference --no-run
  built "$1/smoltune" build --release -p smoltune --features cuda --bin smoltune
  ls -l "$1"
}

kernels() {
  echo "== every kernel against its formula in f64"
  "$folder/kernels-test" --test-threads 1 --skip shim::

  if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck; do
      echo "== compute-sanitizer, $tool"
      # Looking a kernel up by name tries one module after the other: those errors are expected.
      timeout 100 compute-sanitizer --report-api-errors no --tool "$tool" "$folder/kernels-test" --test-threads 1 \
        --skip ops:: --skip shim:: 2>&1 | tail -n 4 || echo "not finished: $tool"
    done
  else
    echo "SKIPPED: compute-sanitizer is not installed"
  fi

  echo "== speed"
  "$folder/kernels-bench"
  if python3 -c 'import torch' 2>/dev/null; then
    python3 benches/gpu_peers.py
  else
    echo "SKIPPED: PyTorch's figures (python3 has no torch)"
  fi
}

trace() {
  local reference
  echo "== ten steps on the real weights against PEFT's trace, f32 and bf16"
  for reference in "${SMOLTUNE_REFERENCE:-}" ../shared shared; do
    [ ! -d "$reference/golden/lora_trace" ] || break
  done
  if [ -z "${SMOLTUNE_GGUF:-}" ] || [ ! -d "$reference/golden/lora_trace" ]; then
    echo "SKIPPED: the trace (SMOLTUNE_GGUF and SMOLTUNE_REFERENCE say where weights and trace are)"
    return
  fi
  SMOLTUNE_REFERENCE=$reference "$folder/trace-test" --test-threads 1 --nocapture device::
}

training() {
  echo "== training, whole optimiser steps"
  python3 benches/gpu_training.py "$folder/smoltune"
}

if [ "${1:-}" = build ]; then
  build "$2"
  exit
fi
folder=${SMOLTUNE_GPU_BIN:-}
if [ -z "$folder" ]; then
  folder=$(mktemp -d)
  trap 'rm -r "$folder"' EXIT
  build "$folder"
fi
nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv,noheader
[ $# -gt 0 ] || set -- kernels trace training
for part in "$@"; do "$part"; done
