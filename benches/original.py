#!/usr/bin/env python3
"""The original's generation, kept as it behaves: transformers in f32, one row after another, greedy.

    original.py HF_DIR ROWS.csv OUT.jsonl [--max_new_tokens 256]      needs: pip install torch transformers

Rows of `original-*` columns; the chat template; a prompt cut at its end at 1,024 tokens; stop at `<|im_end|>`
alone; the new tokens decoded without special tokens and stripped. One JSON object a row.
"""
import argparse
import csv
import json
import os

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast


def read_rows(path):
    """Instruction, context and response of each row that has an instruction and a response."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            fields = [row[f"original-{name}"] for name in ("instruction", "context", "response")]
            if fields[0].strip() and fields[2].strip():
                yield fields


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("rows")
    parser.add_argument("out")
    parser.add_argument("--max_new_tokens", type=int, default=256)
    parser.add_argument("--max_prompt_len", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    # The class by name: AutoTokenizer of some versions puts another pre-tokenizer in place of the file's.
    tokenizer = PreTrainedTokenizerFast.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    stop = tokenizer.convert_tokens_to_ids("<|im_end|>")
    with open(args.out, "w", encoding="utf-8") as out, torch.no_grad():
        for instruction, context, gold in read_rows(args.rows):
            user = f"{instruction}\n\nContext:\n{context}" if context.strip() else instruction
            turns = [{"role": "user", "content": user}]
            text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=args.max_prompt_len)
            made = model.generate(
                input_ids=ids["input_ids"], attention_mask=ids["attention_mask"], do_sample=False,
                max_new_tokens=args.max_new_tokens, eos_token_id=stop, pad_token_id=stop,
            )[0, ids["input_ids"].shape[1] :]  # fmt: skip
            answer = tokenizer.decode(made, skip_special_tokens=True).strip()
            row = {"instruction": instruction, "context": context, "gold": gold, "prediction": answer}
            out.write(json.dumps(row | {"new_tokens": len(made)}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
