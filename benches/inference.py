#!/usr/bin/env python3
"""Speed of smoltune's inference against llama.cpp and transformers, on the same GGUF files, in one run.

    inference.py --smoltune target/release/smoltune --llama LLAMA_BIN [--transformers HF_DIR] MODEL.gguf...

Three tests on each file: prefill of 512 tokens, decode of one row after 128 tokens, decode of 15 rows after
128 tokens each. The programs take turns, who is first too; a figure is the median of the rounds, a ratio the
median of the rounds' ratios, with the ratio of the best figures behind it: on a busy machine the two differ.
Either program may be left out. Needs: pip install gguf
"""
import argparse
import json
import os
import sys
from pathlib import Path
from statistics import median

import gguf

from measure import last_object, machine, ratio, read_bandwidth, run, table

HERE = Path(__file__).resolve().parent
PROMPT, TOKENS, PREFILL, ROWS = 128, 64, 512, 15
TESTS = {"prefill": f"prefill {PREFILL}", "decode": "decode, 1 row", "batch": f"decode, {ROWS} rows"}
# What must hold against llama.cpp, by test and type of the linear layers.
FLOORS = {
    ("prefill", "Q8_0"): 1.2, ("prefill", "Q4_1"): 1.2, ("prefill", "BF16"): 1.2, ("prefill", "F32"): 1.2,
    ("decode", "Q8_0"): 1.15, ("decode", "Q4_1"): 1.4, ("decode", "BF16"): 1.0,
    ("batch", "Q8_0"): 1.5, ("batch", "Q4_1"): 1.5, ("batch", "BF16"): 1.5,
}  # fmt: skip
TRANSFORMERS_FLOOR = 2.0
# One row decoded in BF16 may instead reach this share of the bandwidth measured in the same run.
BANDWIDTH_FLOOR = 0.9


def smoltune(binary, test, model, threads):
    """One run of `smoltune bench`: its JSON object."""
    if test == "prefill":
        what = ["prefill", "--tokens", PREFILL]
    else:
        what = ["decode", "--prompt", PROMPT, "--tokens", TOKENS, "--batch", ROWS if test == "batch" else 1]
    return last_object(run([binary, "bench", *what, "--model", model, "--threads", threads, "--json"]).stdout)


def llama(folder, test, model, threads, repeats):
    """One run of llama.cpp's benchmark for this test, as an object like smoltune's."""
    if test == "batch":
        # Room for all rows; everything else is the program's own choice.
        command = [
            folder / "llama-batched-bench", "-m", model, "-npp", PROMPT, "-ntg", TOKENS, "-npl", ROWS,
            "-c", ROWS * (PROMPT + TOKENS), "-t", threads, "-tb", threads, "--output-format", "jsonl",
        ]  # fmt: skip
        ran = run(command)
        line = next(line for line in ran.stdout.splitlines() if line.lstrip().startswith("{"))
        return {"tokens_per_s": json.loads(line)["speed_tg"], "peak_rss_mb": ran.peak_mb}
    what = ["-p", PREFILL, "-n", 0] if test == "prefill" else ["-p", 0, "-n", TOKENS, "-d", PROMPT]
    ran = run([folder / "llama-bench", "-m", model, *what, "-t", threads, "-r", repeats, "-o", "json"])
    samples = [speed for entry in json.loads(ran.stdout) for speed in entry["samples_ts"]]
    return {"tokens_per_s": median(samples), "samples": samples, "peak_rss_mb": ran.peak_mb}


def transformers(folder, python, threads):
    """15 rows decoded by transformers in bf16, as an object like smoltune's."""
    script = HERE / "transformers_decode.py"
    what = ["--batch", ROWS, "--prompt", PROMPT, "--tokens", TOKENS, "--threads", threads, "--json"]
    return last_object(run([python, script, folder, *what]).stdout)


def types(model):
    """The most common type of the linear layers, and the embedding's."""
    kinds, embedding = [], "?"
    for tensor in gguf.GGUFReader(model).tensors:
        if tensor.name == "token_embd.weight":
            embedding = tensor.tensor_type.name
        elif len(tensor.shape) > 1:
            kinds.append(tensor.tensor_type.name)
    return max(set(kinds), key=kinds.count), embedding


def measure(programs, rounds):
    """Runs the programs in turn, each round starting with another one; a list of objects for each."""
    out = {name: [] for name in programs}
    for turn in range(rounds):
        names = list(programs)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            out[name].append(programs[name]())
            print(f"  {name}: {out[name][-1]['tokens_per_s']:.1f}", file=sys.stderr)
    return out


def speeds(objects):
    return [o["tokens_per_s"] for o in objects]


def best(objects):
    """The best figure; of a run with several samples, the best of them."""
    return max(max(o.get("samples", [o["tokens_per_s"]])) for o in objects)


def cell(objects):
    """Median (best) of the tokens a second."""
    return f"{median(speeds(objects)):.0f} ({best(objects):.0f})" if objects else "–"


def peak(objects):
    return f"{max(o['peak_rss_mb'] for o in objects):.0f}" if objects else "–"


def verdict(test, linear, times, ours, bandwidth):
    """The factor that is asked for, and whether it is reached."""
    floor = FLOORS.get((test, linear))
    if floor is None:
        return "–"
    share = median(o.get("gbps") or 0.0 for o in ours) / bandwidth
    enough = times >= floor or (test == "decode" and linear == "BF16" and share >= BANDWIDTH_FLOOR)
    return f"{floor}× {'yes' if enough else 'no'}"


def model_rows(model, args, record):
    """Measures one file; its lines of the table."""
    linear, embedding = types(model)
    size = max(1, model.stat().st_size // 1_000_000)
    lines = []
    for test in args.tests:
        print(f"{model.name}, {TESTS[test]}", file=sys.stderr)
        programs = {}
        if args.smoltune:
            programs["smoltune"] = lambda: smoltune(args.smoltune, test, model, args.threads)
        if args.llama:
            programs["llama.cpp"] = lambda: llama(args.llama, test, model, args.threads, args.repeats)
        if args.transformers and test == "batch" and linear == "BF16":
            programs["transformers"] = lambda: transformers(args.transformers, args.python, args.threads)
        bandwidth = read_bandwidth(size, args.threads)
        got = measure(programs, args.rounds)
        ours, theirs = got.get("smoltune", []), got.get("llama.cpp", [])
        times = ratio(speeds(ours), speeds(theirs)) if ours and theirs else None
        gbps = [o["gbps"] for o in ours if o.get("gbps")]
        lines.append([
            TESTS[test], linear, embedding, cell(ours), cell(theirs),
            f"{times:.2f}× ({best(ours) / best(theirs):.2f}×)" if times else "–",
            verdict(test, linear, times, ours, bandwidth) if times else "–",
            f"{median(gbps):.1f}" if gbps else "–", f"{bandwidth:.1f}", peak(ours), peak(theirs),
        ])  # fmt: skip
        record.append({"model": model.name, "linear": linear, "embedding": embedding, "test": test,
                       "read_gbps": bandwidth, "runs": got})  # fmt: skip
    return lines


def transformers_line(record):
    """A sentence on transformers, from the batch that it was measured with."""
    for entry in record:
        other, ours = entry["runs"].get("transformers"), entry["runs"].get("smoltune")
        if other:
            text = f"transformers bf16, {ROWS} rows: {cell(other)} tokens/s"
            if ours:
                times = ratio(speeds(ours), speeds(other))
                text += f"; smoltune {times:.2f}× ({TRANSFORMERS_FLOOR}× {'yes' if times >= TRANSFORMERS_FLOOR else 'no'})"
            return text
    return None


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL.gguf")
    parser.add_argument("--smoltune", type=Path, help="our binary")
    parser.add_argument("--llama", type=Path, help="folder with llama-bench and llama-batched-bench")
    parser.add_argument("--transformers", type=Path, metavar="HF_DIR", help="the same weights as a Hugging Face folder")
    parser.add_argument("--python", default=sys.executable, help="the Python that has transformers")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each program")
    parser.add_argument("--repeats", type=int, default=3, help="repetitions inside a run of llama-bench")
    parser.add_argument("--tests", nargs="+", choices=TESTS, default=list(TESTS))
    parser.add_argument("--record", type=Path, help="file for every single figure, as JSON")
    return parser.parse_args()


def main():
    args, record, lines = arguments(), [], []
    if not (args.smoltune or args.llama):
        sys.exit("nothing to measure: give --smoltune, --llama, or both")
    memory = read_bandwidth(1000, args.threads)
    for model in args.models:
        lines += model_rows(model, args, record)
        if args.record:
            args.record.write_text(json.dumps(record, indent=1) + "\n")
    print(f"{machine()}; {args.threads} threads; {args.rounds} rounds; tokens/s as median (best).")
    load = "–" if not hasattr(os, "getloadavg") else f"{os.getloadavg()[1]:.1f}"
    print(f"Load of the last five minutes {load}: above the number of threads, others were running too.")
    print(f"Read bandwidth of memory: {memory:.1f} GB/s; in the table, over arrays of the file's size.\n")
    head = ["test", "linear", "embedding", "smoltune", "llama.cpp", "ratio", "asked", "GB/s", "readable", "MB", "llama MB"]
    print(table(head, lines))
    line = transformers_line(record)
    if line:
        print(f"\n{line}")


if __name__ == "__main__":
    main()
