#!/usr/bin/env python3
"""LoRA training on a GPU against PEFT with transformers: tokens/s and memory, in one run on one card.

    gpu_training.py SMOLTUNE [--sizes 135M 360M 1.7B] [--lengths 512 2048] [--tokens 8192] [--steps 5] [--device cuda]

Models of SmolLM2's sizes with random weights (`make_model.py`), rank 8 on q, k, v, o, bf16, no checkpointing, whole
optimiser steps of `--tokens` tokens in one batch, the first left out. Rows are of one length, without padding; PEFT's
have as many supervised tokens as ours. Memory is what weights and buffers take, without the driver's own.
Needs nothing; the peers need torch, transformers and peft, and are left out where they are not installed.
"""
import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from make_model import SIZES, make

HERE = Path(__file__).resolve().parent
NEEDED = ("torch", "transformers", "peft")
HEAD = ["model", "tokens a row", "program", "tokens/s", "ours / theirs", "MB", "ours / theirs"]


def run(command):
    """The JSON object at the end of what a program prints; `None`, and what it said, where it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        print(f"FAILED: {' '.join(map(str, command))}\n{done.stderr[-1500:]}", flush=True)
        return None
    start = done.stdout.rfind("\n{")
    return json.loads(done.stdout[start + 1 :])


def ours(args, model, length):
    command = [args.smoltune, "bench", "train", "--model", model, "--device", args.device, "--dtype", "bf16"]
    command += ["--bs", args.tokens // length, "--ga", 1, "--max-seq-len", length, "--steps", args.steps]
    return run([*command, "--lora-r", 8, "--no-peaks", "--json"])


def theirs(args, model, cases):
    """Every attention that is installed, by name; a case is a length and the supervised tokens of a row."""
    command = [sys.executable, HERE / "gpu_training_peers.py", model, "--steps", args.steps, "--tokens", args.tokens]
    found = run([*command, "--cases", *(f"{length}:{supervised}" for length, supervised in cases)])
    return found or {}


def lines(args, size, folder, peers):
    """The table's lines of one model."""
    make(size, folder)
    mine = {length: ours(args, folder, length) for length in args.lengths}
    mine = {length: found for length, found in mine.items() if found}
    rows = {length: args.steps * (args.tokens // length) for length in mine}
    cases = [(length, found["supervised_tokens"] // rows[length]) for length, found in mine.items()]
    others = theirs(args, folder, cases) if peers and cases else {}
    for length, found in mine.items():
        speed, memory = found["tokens_per_s"], found["peak_device_mb"] or found["peak_rss_mb"]
        yield [size, str(length), "smoltune", f"{speed:.0f}", "", f"{memory:.0f}", ""]
        for name, measured in others.get(str(length), {}).items():
            if "error" in measured:
                yield [size, str(length), name, measured["error"], "", "", ""]
                continue
            other, bytes_ = measured["tokens_per_s"], measured["peak_mb"]
            ratios = f"{speed / other:.2f}", f"{memory / bytes_:.2f}"
            yield [size, str(length), name, f"{other:.0f}", ratios[0], f"{bytes_:.0f}", ratios[1]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("smoltune", type=Path)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--lengths", nargs="+", type=int, default=[512, 2048])
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--no-peers", action="store_true")
    args = parser.parse_args()
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(f"SKIPPED: PEFT's figures (python3 has no {', '.join(missing)})")
    print(f"| {' | '.join(HEAD)} |\n|{'|'.join('---' for _ in HEAD)}|", flush=True)
    for size in args.sizes:
        with tempfile.TemporaryDirectory() as folder:
            for line in lines(args, size, Path(folder), not missing and not args.no_peers):
                print(f"| {' | '.join(line)} |", flush=True)


if __name__ == "__main__":
    main()
