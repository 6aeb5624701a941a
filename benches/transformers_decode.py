#!/usr/bin/env python3
"""Speed of transformers' `generate`: rows of unequal length, padded on the left, each given the same number of new tokens.

    transformers_decode.py HF_DIR [--batch 15] [--prompt 128] [--tokens 64] [--dtype bf16] [--json]

Needs: pip install torch transformers. The time of the prompt alone (one new token) is taken off that of all
tokens, and what remains divided by the steps in between: the speed of decoding. Nothing stops early.
"""
import argparse
import json
import os
import resource
import time
from statistics import median

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from transformers import AutoModelForCausalLM


def prompts(batch, length, vocabulary, pad):
    """Random rows of between 3/4 and all of `length` tokens, padded on the left, and their mask; the first is full."""
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(17, vocabulary, (batch, length), generator=draw)
    mask = torch.ones_like(ids)
    for row in range(1, batch):
        gap = int(torch.randint(0, length // 4 + 1, (1,), generator=draw))
        ids[row, :gap] = pad
        mask[row, :gap] = 0
    return ids, mask


def seconds(model, ids, mask, tokens):
    """The time of one call that makes exactly `tokens` new tokens a row."""
    start = time.perf_counter()
    out = model.generate(
        input_ids=ids, attention_mask=mask, do_sample=False, min_new_tokens=tokens, max_new_tokens=tokens,
        pad_token_id=model.config.pad_token_id or 0,
    )  # fmt: skip
    took = time.perf_counter() - start
    assert out.shape[1] == ids.shape[1] + tokens, "stopped early"
    return took


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a Hugging Face folder")
    parser.add_argument("--batch", type=int, default=15)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="bf16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    dtype = torch.float32 if args.dtype == "f32" else torch.bfloat16
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype).eval()
    ids, mask = prompts(args.batch, args.prompt, model.config.vocab_size, model.config.pad_token_id or 0)
    decode, prefill = [], []
    with torch.inference_mode():
        seconds(model, ids, mask, 2)
        for _ in range(args.repeats):
            first = seconds(model, ids, mask, 1)
            rest = seconds(model, ids, mask, args.tokens + 1) - first
            prefill.append(mask.numel() / first)
            decode.append(args.batch * args.tokens / rest)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1.024e-3
    out = {
        "tokens_per_s": median(decode), "samples": decode, "prefill_tokens_per_s": median(prefill),
        "peak_rss_mb": peak, "batch": args.batch, "dtype": args.dtype,
    }  # fmt: skip
    if args.json:
        print(json.dumps(out))
    else:
        print(f"decode {out['tokens_per_s']:.1f} tokens/s, prefill {out['prefill_tokens_per_s']:.0f}, peak {peak:.0f} MB")


if __name__ == "__main__":
    main()
