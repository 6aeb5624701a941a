#!/usr/bin/env python3
"""Speed and memory of LoRA training against PEFT, on the same rows and weights, in one run.

    training.py --smoltune target/release/smoltune --peft HF_DIR --rows train.csv MODEL.gguf

The first rows of a file as `prepare` writes it, in order, batch × accumulation: whole optimiser steps, the first
one left out. Tokens are those of the rows; with `--bs` above 1 PEFT pads, and padding does not count. The programs take turns; a ratio is the median of the
rounds' ratios. Either program may be left out. Needs: pip install torch transformers peft numpy
"""
import argparse
import csv
import json
import sys
import tempfile
from pathlib import Path
from statistics import median

from measure import last_object, machine, ratio, run, table

HERE = Path(__file__).resolve().parent
# Name, data type, options of smoltune, options of PEFT.
CASES = [
    ("f32", "f32", [], []),
    ("bf16", "bf16", [], []),
    ("bf16, checkpointing", "bf16", ["--checkpointing", "block"], ["--checkpointing"]),
]


def smoltune(args, rows, dtype, extra, folder):
    """(tokens/s, MB) of one run of `smoltune train`."""
    out = folder / "adapter"
    command = [args.smoltune, "train", "--model-name", args.model, "--train-csv", rows, "--output-dir", out]
    command += ["--dtype", dtype, "--lora-r", args.rank, "--lora-alpha", 4 * args.rank, "--lora-dropout", 0]
    command += ["--target-modules", args.targets, "--bs", args.bs, "--ga", args.ga, "--max-steps", args.steps]
    command += ["--max-seq-len", args.max_seq_len, "--no-shuffle", "--overwrite-output-dir", *extra]
    peak = run(command).peak_mb
    lines = [json.loads(line) for line in (out / "train_log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "grad_norm" in line][1:]
    tokens = sum(step["tokens"] for step in steps)
    return tokens / sum(step["tokens"] / step["tokens_per_s"] for step in steps), peak


def peft(args, encoded, dtype, extra):
    """(tokens/s, MB) of one run of `peft_training.py`."""
    command = [sys.executable, HERE / "peft_training.py", args.peft, encoded, "--dtype", dtype]
    command += ["--rank", args.rank, "--targets", args.targets, "--bs", args.bs, "--ga", args.ga, "--steps", args.steps, *extra]
    found = last_object(run(command).stdout)
    return found["tokens_per_s"], found["peak_rss_mb"]


def encode(args, rows, out):
    """Ids and labels of the rows, as `train` sees them: the chat template, the answer and its end supervised."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(args.peft)
    with open(out, "w", encoding="utf-8") as file:
        for row in rows:
            user = f"{row['instruction']}\n\nContext:\n{row['context']}" if row["context"].strip() else row["instruction"]
            turns = [{"role": "user", "content": user}]
            prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            asked = tokenizer(prompt)["input_ids"]
            answer = tokenizer(row["response"] + "<|im_end|>", add_special_tokens=False)["input_ids"]
            ids, labels = (asked + answer)[: args.max_seq_len], ([-100] * len(asked) + answer)[: args.max_seq_len]
            file.write(json.dumps({"ids": ids, "labels": labels}) + "\n")


def read_rows(args):
    """The first rows that fit and have an answer left, as many as the steps need."""
    with open(args.rows, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    fields = ("instruction", "context", "response")
    names = {f: f if f in rows[0] else f"original-{f}" for f in fields}
    rows = [{f: row[names[f]] for f in fields} for row in rows]
    # Characters, not tokens: far below the limit, so that neither program cuts or leaves out a row.
    rows = [row for row in rows if row["response"].strip() and sum(map(len, row.values())) < 2 * args.max_seq_len]
    return rows[: args.steps * args.bs * args.ga]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a GGUF file or a folder")
    parser.add_argument("--smoltune", type=Path)
    parser.add_argument("--peft", type=Path, help="the same weights as a Hugging Face folder")
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--targets", default="q_proj,k_proj,v_proj,o_proj")
    parser.add_argument("--bs", type=int, default=1)
    parser.add_argument("--ga", type=int, default=16)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--max_seq_len", type=int, default=768)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    rows, lines = read_rows(args), []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        plain = folder / "rows.csv"
        with open(plain, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        if args.peft:
            encode(args, rows, folder / "rows.jsonl")
        for name, dtype, ours, theirs in CASES:
            found = {"smoltune": [], "PEFT": []}
            for _ in range(args.rounds):
                if args.smoltune:
                    found["smoltune"].append(smoltune(args, plain, dtype, ours, folder))
                if args.peft:
                    found["PEFT"].append(peft(args, folder / "rows.jsonl", dtype, theirs))
                print(f"{name}: " + ", ".join(f"{k} {v[-1][0]:.0f} tokens/s" for k, v in found.items() if v), file=sys.stderr)
            lines.append(line(name, found))
    print(f"{machine()}; r {args.rank} on {args.targets}; {args.bs} × {args.ga} rows a step, {args.rounds} rounds.\n")
    print(table(["", "smoltune", "PEFT", "ratio", "MB", "PEFT MB", "ratio"], lines))


def line(name, found):
    """A line of the table."""
    (ours, our_mb), (theirs, their_mb) = (tuple(zip(*found[k])) or ((), ()) for k in ("smoltune", "PEFT"))
    cell = lambda values: f"{median(values):.0f}" if values else "–"
    both = ours and theirs
    speed = f"{ratio(ours, theirs):.2f}" if both else "–"
    memory = f"{ratio(our_mb, their_mb):.2f}" if both else "–"
    return [name, cell(ours), cell(theirs), speed, cell(our_mb), cell(their_mb), memory]


if __name__ == "__main__":
    main()
