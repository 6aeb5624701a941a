#!/usr/bin/env python3
"""Speed and memory of PEFT's LoRA training on a GPU; `gpu_training.py` calls it.

    gpu_training_peers.py MODEL --cases LENGTH:SUPERVISED … [--tokens 8192] [--steps 5]

bf16 weights under bf16's autocast (as transformers' Trainer with `bf16=True`), loss by the model, torch's fused AdamW,
no checkpointing, rows of random ids without padding; with torch's own attention, and with flash-attn where it is installed.
Two steps go before those that are measured. Prints one JSON object: length, attention, tokens/s, peak of allocated MB.
Needs: pip install torch transformers peft
"""
import argparse
import gc
import importlib.util
import json
import os
import time

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

WARM_UP = 2
# transformers' names, and ours.
ATTENTION = {"sdpa": "PEFT, sdpa", "flash_attention_2": "PEFT, flash-attn"}


def load(path, attention):
    """Model, and what learns."""
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16, attn_implementation=attention)
    model.config.use_cache = False
    targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
    config = LoraConfig(r=8, lora_alpha=32, lora_dropout=0.0, target_modules=targets, task_type="CAUSAL_LM")
    model = get_peft_model(model.cuda(), config)
    model.train()
    return model, [p for p in model.parameters() if p.requires_grad]


def measure(path, attention, length, supervised, args):
    torch.cuda.reset_peak_memory_stats()
    model, variables = load(path, attention)
    optimizer = torch.optim.AdamW(variables, lr=5e-5, weight_decay=0.0, fused=True)
    torch.manual_seed(0)
    ids = torch.randint(3, 1000, (args.tokens // length, length), device="cuda")
    labels = ids.clone()
    labels[:, : length - supervised] = -100
    for step in range(WARM_UP + args.steps):
        if step == WARM_UP:
            torch.cuda.synchronize()
            start = time.perf_counter()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(variables, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    return {"tokens_per_s": args.steps * ids.numel() / seconds, "peak_mb": torch.cuda.max_memory_allocated() / 1e6}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--cases", nargs="+", required=True)
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--steps", type=int, default=5)
    args = parser.parse_args()
    found = {}
    for case in args.cases:
        length, supervised = map(int, case.split(":"))
        for attention, name in ATTENTION.items():
            if attention != "sdpa" and importlib.util.find_spec("flash_attn") is None:
                continue
            try:
                measured = measure(args.model, attention, length, supervised, args)
            except torch.OutOfMemoryError:
                measured = {"error": "out of memory"}
            found.setdefault(str(length), {})[name] = measured
            gc.collect()
            torch.cuda.empty_cache()
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main()
