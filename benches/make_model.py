#!/usr/bin/env python3
"""Write a model of SmolLM2's sizes with random bf16 weights, for measurements that need sizes and no sense.

    make_model.py {135M,360M,1.7B} OUT_DIR [--tokenizer FOLDER]      needs: nothing

OUT_DIR gets `config.json` (the published one's sizes), `model.safetensors`, and the tokenizer of another folder, whose
vocabulary may be smaller. Matrices are normal with the published initialiser's 0.02: a million numbers over and over,
a prime number of them, so that no two rows are the same. Norms are 1.
"""
import argparse
import array
import json
import random
import shutil
import struct
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# config.json of HuggingFaceTB/SmolLM2-*: what differs.
SIZES = {
    "135M": dict(hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
                 num_key_value_heads=3, rope_theta=100000.0),
    "360M": dict(hidden_size=960, intermediate_size=2560, num_hidden_layers=32, num_attention_heads=15,
                 num_key_value_heads=5, rope_theta=100000.0),
    "1.7B": dict(hidden_size=2048, intermediate_size=8192, num_hidden_layers=24, num_attention_heads=32,
                 num_key_value_heads=32, rope_theta=130000.0),
}
COMMON = dict(
    architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu", attention_bias=False, mlp_bias=False,
    attention_dropout=0.0, head_dim=64, vocab_size=49152, max_position_embeddings=8192, rms_norm_eps=1e-5,
    tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=2, torch_dtype="bfloat16",
    initializer_range=0.02, rope_scaling=None, use_cache=True,
)
PERIOD = 1_048_573
TOKENIZER = ["tokenizer.json", "tokenizer_config.json", "generation_config.json"]


def shapes(config):
    """Every tensor's name and shape."""
    hidden, ffn = config["hidden_size"], config["intermediate_size"]
    query, keys = (64 * config[f"num_{kind}_heads"] for kind in ("attention", "key_value"))
    yield "model.embed_tokens.weight", [config["vocab_size"], hidden]
    for layer in range(config["num_hidden_layers"]):
        for name, shape in {
            "input_layernorm": [hidden], "post_attention_layernorm": [hidden],
            "self_attn.q_proj": [query, hidden], "self_attn.k_proj": [keys, hidden],
            "self_attn.v_proj": [keys, hidden], "self_attn.o_proj": [hidden, query],
            "mlp.gate_proj": [ffn, hidden], "mlp.up_proj": [ffn, hidden], "mlp.down_proj": [hidden, ffn],
        }.items():
            yield f"model.layers.{layer}.{name}.weight", shape
    yield "model.norm.weight", [hidden]


def bf16(values):
    """The upper halves of f32, as bytes."""
    words = array.array("I", array.array("f", values).tobytes())
    halves = array.array("H", (word >> 16 for word in words))
    if sys.byteorder == "big":
        halves.byteswap()
    return halves.tobytes()


def write(config, path):
    """One safetensors file, tensor after tensor."""
    header, end, sizes = {}, 0, []
    for name, shape in shapes(config):
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        sizes.append((size, len(shape) > 1))
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    draw = random.Random(0)
    normal = memoryview(bf16(draw.gauss(0.0, 0.02) for _ in range(PERIOD)))
    one = bf16([1.0])
    at = 0
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for size, matrix in sizes:
            if not matrix:
                file.write(one * (size // 2))
                continue
            while size:
                piece = normal[at : at + size]
                file.write(piece)
                size -= len(piece)
                at = (at + len(piece)) % len(normal)


def make(size, out, tokenizer=ROOT / "fixtures/tiny-model"):
    """The folder of a model."""
    out.mkdir(parents=True, exist_ok=True)
    config = {**COMMON, **SIZES[size]}
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    for name in TOKENIZER:
        if (tokenizer / name).exists():
            shutil.copy(tokenizer / name, out)
    write(config, out / "model.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tokenizer", type=Path, default=ROOT / "fixtures/tiny-model")
    args = parser.parse_args()
    make(args.size, args.out, args.tokenizer)


if __name__ == "__main__":
    main()
