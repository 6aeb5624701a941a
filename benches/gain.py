#!/usr/bin/env python3
"""Does fine-tuning help? Baseline, training with several seeds, answers of each, and the comparison, from one command.

    gain.py --smoltune target/release/smoltune --rows dolly-train-1000.csv --out gain MODEL.gguf

The first `--train` rows of the file are trained on, in this program's settings (those of the preset `quality`); the
rest are answered by the base model and by each tuned one, greedily, and compared row by row. Nothing is chosen by the
rows that are compared. Prints one Markdown table; predictions, adapters and comparisons stay in `--out`.
`--validate N` leaves the last N of the training rows out and compares on them instead: that is how settings are chosen.
"""
import argparse
import csv
import json
import sys
from pathlib import Path

from measure import last_object, machine, run, table

SETTINGS = [
    "--dtype", "bf16", "--lora-r", 16, "--lora-alpha", 32, "--lora-dropout", 0.05, "--target-modules", "all-linear",
    "--lr", 5e-4, "--lr-schedule", "cosine", "--warmup-ratio", 0.03, "--epochs", 1, "--bs", 1, "--ga", 8,
    "--max-seq-len", 1024,
]  # fmt: skip
METRICS = {"f1": "token F1", "rouge_lsum": "ROUGE-Lsum", "rouge_l": "ROUGE-L", "em": "exact match", "acc_at_rouge": "Acc@ROUGE-L"}


def cut(args):
    """The rows of both sides, as files."""
    with open(args.rows, encoding="utf-8-sig", newline="") as file:
        head, *rows = csv.reader(file)
    train, test = rows[: args.train], rows[args.train :]
    if args.validate:
        train, test = train[: -args.validate], train[-args.validate :]
    files = []
    for name, part in (("train.csv", train), ("test.csv", test)):
        files.append(args.out / name)
        with open(files[-1], "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(head)
            writer.writerows(part)
    return files


def answer(args, model, test, name):
    """Answers of a model: their file, and the seconds that they took."""
    out = args.out / f"{name}.jsonl"
    command = [args.smoltune, "generate", "--model_name", model, "--test_csv", test, "--out_file", out]
    return out, run([*command, "--dtype", "bf16", "--overwrite"]).seconds


def seed_run(args, files, before, seed):
    """Trains with a seed, answers, compares: what came of it."""
    train, test = files
    adapter = args.out / f"seed-{seed}"
    command = [args.smoltune, "train", "--model-name", args.model, "--train-csv", train, "--output-dir", adapter]
    command += ["--seed", seed, "--overwrite-output-dir", *SETTINGS, *args.train_flags]
    trained = run(command)
    after, seconds = answer(args, adapter, test, f"seed-{seed}")
    page = ["--html", args.out / f"seed-{seed}.html", "--out-file", args.out / f"seed-{seed}.json"]
    compared = run([args.smoltune, "compare", before, after, "--json", *page])
    return {
        "comparison": last_object(compared.stdout),
        "answers": how_answers_end(after),
        "train_s": trained.seconds,
        "train_mb": trained.peak_mb,
        "rest_s": seconds + compared.seconds,
    }


def how_answers_end(path):
    """Mean tokens of the answers, and the share of them that ended by themselves."""
    with open(path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    stopped = sum(row["finish_reason"] == "stop" for row in rows)
    return sum(row["new_tokens"] for row in rows) / len(rows), stopped / len(rows)


def lines(before, seeds):
    """The table's lines."""
    for seed, found in seeds.items():
        for metric, name in METRICS.items():
            m = found["comparison"]["metrics"][metric]
            low, high = m["ci"]
            yield [
                seed, name, f"{m['before']:.4f}", f"{m['after']:.4f}", f"{m['delta']:+.4f}", f"{low:+.4f} to {high:+.4f}",
                f"{m['p_holm']:.4f}",
            ]  # fmt: skip
        (tokens_before, stop_before), (tokens, stop) = before, found["answers"]
        yield [seed, "tokens an answer", f"{tokens_before:.1f}", f"{tokens:.1f}", f"{tokens - tokens_before:+.1f}", "", ""]
        yield [seed, "ended by themselves", f"{stop_before:.3f}", f"{stop:.3f}", f"{stop - stop_before:+.3f}", "", ""]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a GGUF file or a folder")
    parser.add_argument("--smoltune", type=Path, required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("gain"))
    parser.add_argument("--train", type=int, default=850, help="rows to train on; the rest are answered")
    parser.add_argument("--validate", type=int, default=0, metavar="N")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("train_flags", nargs="*", help="further flags of `smoltune train`, after --")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    files = cut(args)
    before, baseline_s = answer(args, args.model, files[1], "before")
    seeds = {}
    for seed in args.seeds.split(","):
        seeds[seed] = found = seed_run(args, files, before, seed)
        total = baseline_s + found["train_s"] + found["rest_s"]
        print(
            f"seed {seed}: baseline {baseline_s:.0f} s, training {found['train_s']:.0f} s ({found['train_mb']:.0f} MB), "
            f"answers and comparison {found['rest_s']:.0f} s; {total / 60:.1f} minutes in all",
            file=sys.stderr,
        )
    print(f"{machine()}; {json.dumps([str(word) for word in SETTINGS + args.train_flags])}\n")
    head = ["seed", "", "before", "after", "change", "95 % interval", "p (Holm)"]
    print(table(head, lines(how_answers_end(before), seeds)))


if __name__ == "__main__":
    main()
