#!/usr/bin/env python3
"""Speed of PEFT's LoRA training on the CPU: whole optimiser steps, the first one left out; batches are padded on the right.

    peft_training.py HF_DIR ROWS.jsonl [--steps 4] [--bs 1] [--ga 16] [--rank 8] [--targets q_proj,k_proj,v_proj,o_proj]
                     [--dtype bf16] [--checkpointing] [--threads 2]

ROWS.jsonl: one object a row with `ids` and `labels` (-100 where nothing is predicted), as `training.py` writes
them. Prints one JSON object: tokens a second, none of them padding, and peak memory.
Needs: pip install torch transformers peft
"""
import argparse
import json
import os
import resource
import time

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def micro_batch(model, rows, supervised):
    """Forward and backward of some rows; their share of the window's loss."""
    longest = max(len(row["ids"]) for row in rows)
    padded = lambda values, what: values + [what] * (longest - len(values))
    ids = torch.tensor([padded(row["ids"], 0) for row in rows])
    labels = torch.tensor([padded(row["labels"], -100)[1:] for row in rows])
    # One row needs no mask, and is faster without.
    mask = torch.tensor([padded([1] * len(row["ids"]), 0) for row in rows]) if len(rows) > 1 else None
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
    loss = torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), ignore_index=-100, reduction="sum"
    ) / supervised
    loss.backward()
    return loss.item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("rows")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--bs", type=int, default=1)
    parser.add_argument("--ga", type=int, default=16)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--targets", default="q_proj,k_proj,v_proj,o_proj")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=DTYPES[args.dtype])
    if args.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    config = LoraConfig(r=args.rank, lora_alpha=4 * args.rank, target_modules=args.targets.split(","), task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    model.train()
    variables = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(variables, lr=5e-5, weight_decay=0.0)
    with open(args.rows, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    tokens, seconds, losses = 0, 0.0, []
    for step in range(args.steps):
        window = rows[step * args.bs * args.ga : (step + 1) * args.bs * args.ga]
        batches = [window[at : at + args.bs] for at in range(0, len(window), args.bs)]
        supervised = sum(label != -100 for row in window for label in row["labels"][1:])
        start = time.perf_counter()
        losses.append(sum(micro_batch(model, rows, supervised) for rows in batches))
        torch.nn.utils.clip_grad_norm_(variables, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step > 0:
            seconds += time.perf_counter() - start
            tokens += sum(len(row["ids"]) for row in window)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps({"tokens_per_s": tokens / seconds, "peak_rss_mb": peak, "losses": losses}))


if __name__ == "__main__":
    main()
