#!/usr/bin/env bash
# Everything that is to be seen on an NVIDIA GPU, in one run: the kernels against their formulas, the
# memory and race checkers where they are installed, each kernel's speed, and PyTorch's on the same
# card. Prints one table; some minutes.
#
# From the sources it needs cargo and nvcc. SMOLTUNE_GPU_BIN=FOLDER takes `kernels-test` and
# `kernels-bench` built elsewhere (`benches/gpu.sh build FOLDER`), for a GPU machine without Rust.
set -euo pipefail
cd "$(dirname "$0")/.."

build() {
  local folder=$1 built
  mkdir -p "$folder"
  built=$(cargo test -p smollm-model --features cuda --test kernels --no-run --message-format=json |
    grep -o '"executable":"[^"]*"' | tail -n 1 | cut -d'"' -f4)
  cp "$built" "$folder/kernels-test"
  built=$(cargo bench -p smollm-model --features cuda --bench kernels --no-run --message-format=json |
    grep -o '"executable":"[^"]*"' | tail -n 1 | cut -d'"' -f4)
  cp "$built" "$folder/kernels-bench"
  strip "$folder"/kernels-*
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

echo "== every kernel against its formula in f64"
"$folder/kernels-test" --test-threads 1 --skip shim::

if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    echo "== compute-sanitizer, $tool"
    # Looking a kernel up by name tries one module after the other: those errors are expected.
    timeout 100 compute-sanitizer --report-api-errors no --tool "$tool" "$folder/kernels-test" --test-threads 1 --skip ops:: --skip shim:: 2>&1 |
      tail -n 4 || echo "not finished: $tool"
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
