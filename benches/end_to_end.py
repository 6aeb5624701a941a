#!/usr/bin/env python3
"""Rows of a file answered, from process start to finished file: the original's script against `smoltune generate`.

    end_to_end.py --smoltune target/release/smoltune --original HF_DIR --rows TEST.csv MODEL.gguf...

The original (`original.py`: transformers f32, one row after another, 256 new tokens) runs `--rounds` times, in
turns with smoltune on each GGUF file. Peak memory is the kernel's figure for the process. The time to the first
token is that of a whole process which answers the first row with one token, so it is an upper bound.
"""
import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import median

from measure import machine, run, table

HERE = Path(__file__).resolve().parent
TIMES_FLOOR, MEMORY_LIMIT_MB, FIRST_TOKEN_LIMIT_S = 10, 400, 0.5


def answers(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def smoltune(args, model, out, extra):
    """`smoltune generate` into a new file."""
    command = [
        args.smoltune, "generate", "--model_name", model, "--test_csv", args.rows, "--out_file", out,
        "--overwrite", *extra,
    ]  # fmt: skip
    return run(command)


def original(args, out):
    what = [args.original, args.rows, out, "--max_new_tokens", args.max_new_tokens, "--threads", args.threads]
    return run([args.python, HERE / "original.py", *what])


def line(name, runs, rows, asked=()):
    """A line of the table: seconds as median (best), peak memory, rows and new tokens, and what was asked for."""
    seconds = [ran.seconds for ran in runs]
    tokens = [row.get("new_tokens") for row in rows]
    total = sum(tokens) if all(n is not None for n in tokens) else "–"
    peak = max(ran.peak_mb for ran in runs)
    return [name, f"{median(seconds):.2f} ({min(seconds):.2f})", f"{peak:.0f}", len(rows), total, *asked]


def rounds(args, folder):
    """All runs of each program, in turns, and the last answers of each."""
    runs, rows = {}, {}
    for turn in range(args.rounds):
        for program in ([None] if args.original else []) + (args.models if args.smoltune else []):
            out = folder / f"{program.name if program else 'original'}.jsonl"
            full = ["--max_new_tokens", args.max_new_tokens, *args.generate]
            ran = smoltune(args, program, out, full) if program else original(args, out)
            runs.setdefault(program, []).append(ran)
            rows[program] = answers(out)
            print(f"round {turn + 1}, {program or 'original'}: {ran.seconds:.2f} s", file=sys.stderr)
    return runs, rows


def first_token(args, model, folder):
    """Seconds of a process that answers one row with one token, the file in the page cache."""
    one = ["--max_new_tokens", 1, "--limit", 1, *args.generate]
    smoltune(args, model, folder / "first.jsonl", one)
    return median(smoltune(args, model, folder / "first.jsonl", one).seconds for _ in range(5))


def yes(condition):
    return "yes" if condition else "no"


def report(args, folder):
    """Measures everything and returns the lines of the table."""
    runs, rows = rounds(args, folder)
    lines = []
    if args.original:
        lines.append(line("original, f32", runs[None], rows[None], ["", "", "", ""]))
    for model in args.models if args.smoltune else []:
        peak, first = max(ran.peak_mb for ran in runs[model]), first_token(args, model, folder)
        times, same = "–", "–"
        if args.original:
            pairs = zip(runs[None], runs[model])
            factor = median(a.seconds / b.seconds for a, b in pairs)
            times = f"{factor:.1f}× ({TIMES_FLOOR}×: {yes(factor >= TIMES_FLOOR)})"
            same = sum(a["prediction"].strip() == b["prediction"].strip() for a, b in zip(rows[None], rows[model]))
        asked = [
            times, f"{yes(peak < MEMORY_LIMIT_MB)}", f"{first:.3f} ({yes(first < FIRST_TOKEN_LIMIT_S)})", same,
        ]  # fmt: skip
        lines.append(line(f"smoltune, {model.name}", runs[model], rows[model], asked))
    return lines


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL.gguf")
    parser.add_argument("--rows", type=Path, required=True, metavar="TEST.csv", help="rows with original-* columns")
    parser.add_argument("--smoltune", type=Path, help="our binary")
    parser.add_argument("--original", type=Path, metavar="HF_DIR", help="the same weights as a Hugging Face folder")
    parser.add_argument("--python", default=sys.executable, help="the Python that has transformers")
    parser.add_argument("--max_new_tokens", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2, help="threads of the original")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the answers in this folder")
    parser.add_argument("--generate", nargs=argparse.REMAINDER, default=[], help="last: further options of generate")
    return parser.parse_args()


def main():
    args = arguments()
    if not (args.original or (args.smoltune and args.models)):
        sys.exit("nothing to measure: give --original, or --smoltune and a model, or all")
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        lines = report(args, folder)
    print(f"{machine()}; {args.rounds} rounds; seconds as median (best).\n")
    head = [
        "program", "s", "peak MB", "rows", "new tokens", "faster", f"under {MEMORY_LIMIT_MB} MB",
        f"first token, s (under {FIRST_TOKEN_LIMIT_S})", "same answers",
    ]  # fmt: skip
    print(table(head, lines))


if __name__ == "__main__":
    main()
