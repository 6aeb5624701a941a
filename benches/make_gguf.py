#!/usr/bin/env python3
"""Write a GGUF file anew with its matrices as another type, so that two programs can be measured on one file.

    make_gguf.py MODEL.gguf OUT_DIR [--types F32 BF16 Q8_0 Q5_0 ...]      needs: pip install gguf
    make_gguf.py MODEL.gguf OUT_DIR --types Q6_K --ggml LIBRARY           for K types

Every matrix, the embedding too, gets the named type; vectors (norms) become F32. As in llama.cpp, rows that are
no whole blocks of 256 get another type: Q5_0 for Q4_K, Q5_1 for Q5_K, Q8_0 for Q6_K. The `gguf` package has no
quantisers for the K types: they are ggml's own, from any shared library that exports `ggml_quantize_chunk`
(`libggml-base.so` of a build of llama.cpp, or the module of PyPI's `xllamacpp`).

Metadata is copied as it is, in its order, but for `general.file_type`. Values come from the source's own, so F32
equals it exactly, and BF16 and Q8_0 are one rounding away. Each file is read back and compared: metadata key by
key, F32 to the bit, BF16 and Q8_0 within half a step, fewer bits within a share of each matrix's norm. A table of
the types is printed at the end.
"""
import argparse
import ctypes
import sys
from collections import Counter
from pathlib import Path

import gguf
import numpy as np

FILE_TYPES = {
    "F32": gguf.LlamaFileType.ALL_F32,
    "BF16": gguf.LlamaFileType.MOSTLY_BF16,
    "Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
    "Q5_0": gguf.LlamaFileType.MOSTLY_Q5_0,
    "Q5_1": gguf.LlamaFileType.MOSTLY_Q5_1,
    "Q4_K": gguf.LlamaFileType.MOSTLY_Q4_K_S,
    "Q5_K": gguf.LlamaFileType.MOSTLY_Q5_K_S,
    "Q6_K": gguf.LlamaFileType.MOSTLY_Q6_K,
}
# What rows that are no whole blocks of 256 get instead, and how far a matrix may be from the source's, of its norm.
NARROWER = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
LARGEST_ERROR = {"Q5_0": 0.1, "Q5_1": 0.08, "Q4_K": 0.15, "Q5_K": 0.08, "Q6_K": 0.04}
ARCHITECTURE, FILE_TYPE = "general.architecture", "general.file_type"


def values(tensor):
    """The tensor's values in f32."""
    return gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)


def wanted_type(tensor, name):
    """Matrices get the named type or what it falls back to, vectors stay F32."""
    if len(tensor.shape) < 2:
        return gguf.GGMLQuantizationType.F32
    kind = gguf.GGMLQuantizationType[name]
    if name in NARROWER and int(tensor.shape[0]) % gguf.GGML_QUANT_SIZES[kind][0]:
        return gguf.GGMLQuantizationType[NARROWER[name]]
    return kind


def quantised(array, kind, ggml):
    """The rows of a matrix as blocks of bytes."""
    if kind.name not in NARROWER:
        return gguf.quantize(array, kind)
    if ggml is None:
        sys.exit(f"{kind.name} needs ggml's quantiser: give --ggml a library that exports ggml_quantize_chunk")
    array = np.ascontiguousarray(array, dtype=np.float32)
    rows, width = array.shape
    block, size = gguf.GGML_QUANT_SIZES[kind]
    out = np.empty((rows, width // block * size), dtype=np.uint8)
    call = ggml.ggml_quantize_chunk
    call.restype = ctypes.c_size_t
    call.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + 3 * [ctypes.c_int64] + [ctypes.c_void_p]
    written = call(kind.value, array.ctypes.data, out.ctypes.data, 0, rows, width, None)
    if written != out.nbytes:
        sys.exit(f"ggml wrote {written} bytes of {kind.name}, expected {out.nbytes}")
    return out


def copy_metadata(source, writer, name):
    """Every key of the source but those the writer makes itself; `general.file_type` follows the new type."""
    for key, field in source.fields.items():
        if key.startswith("GGUF.") or key == ARCHITECTURE:
            continue
        value = FILE_TYPES[name] if key == FILE_TYPE else field.contents()
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, value, field.types[0], sub_type=inner)


def write(source, path, name, ggml):
    """Writes the source's tensors in the named type, one in memory at a time."""
    writer = gguf.GGUFWriter(path, source.fields[ARCHITECTURE].contents())
    copy_metadata(source, writer, name)
    for tensor in source.tensors:
        shape, kind = tuple(int(n) for n in reversed(tensor.shape)), wanted_type(tensor, name)
        block, size = gguf.GGML_QUANT_SIZES[kind]
        if shape[-1] % block:
            sys.exit(f"{tensor.name}: rows of {shape[-1]} values do not divide into blocks of {block} ({name})")
        count = int(np.prod(shape))
        # Types of whole blocks are announced by the shape of their bytes, F32 by that of its values.
        raw = shape if kind == gguf.GGMLQuantizationType.F32 else (*shape[:-1], shape[-1] // block * size)
        dtype = np.dtype(np.float32 if kind == gguf.GGMLQuantizationType.F32 else np.uint8)
        writer.add_tensor_info(tensor.name, raw, dtype, count // block * size, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in source.tensors:
        kind = wanted_type(tensor, name)
        writer.write_tensor_data(np.ascontiguousarray(quantised(values(tensor), kind, ggml)))
    writer.close()


def half_step(want, kind):
    """The largest error that one rounding to this type can make, for each value."""
    if kind == gguf.GGMLQuantizationType.BF16:
        # Eight bits of significand: half a unit in the last place is at most 2^-8 of the value.
        return np.abs(want) * 2.0**-8
    if kind == gguf.GGMLQuantizationType.Q8_0:
        blocks = np.abs(want).reshape(-1, 32).max(axis=1)
        # Half a step of max/127, and the step itself rounded to f16 (2^-11, or half of its smallest, 2^-25).
        step = blocks / 127
        error = step * 0.5 + 127 * np.maximum(step * 2.0**-11, 2.0**-25)
        return np.repeat(error, 32).reshape(want.shape) * 1.001
    return np.zeros_like(want)


def check(source, path, name):
    """Reads the file back; returns the number of tensors of each type and the largest error."""
    made = gguf.GGUFReader(path)
    skipped = ("GGUF.", FILE_TYPE)
    keys = [k for k in source.fields if not k.startswith(skipped)]
    got_keys = [k for k in made.fields if not k.startswith(skipped)]
    if sorted(keys) != sorted(got_keys):
        sys.exit(f"{path}: keys differ: {sorted(set(keys) ^ set(got_keys))}")
    for key in keys:
        old, new = source.fields[key], made.fields[key]
        if old.types != new.types or old.contents() != new.contents():
            sys.exit(f"{path}: {key} differs from the source")
    if [t.name for t in made.tensors] != [t.name for t in source.tensors]:
        sys.exit(f"{path}: other tensors than the source, or another order")
    worst = 0.0
    for old, new in zip(source.tensors, made.tensors):
        kind = wanted_type(old, name)
        if new.tensor_type != kind or list(new.shape) != list(old.shape):
            sys.exit(f"{path}: {new.name} is {new.tensor_type.name} {list(new.shape)}, not {kind.name}")
        want, got = values(old), values(new)
        error = np.abs(want - got)
        if kind.name in LARGEST_ERROR:
            share = float(np.linalg.norm(want - got) / np.linalg.norm(want))
            if not share <= LARGEST_ERROR[kind.name]:
                sys.exit(f"{path}: {new.name} is off by {share:.3f} of its norm, more than {kind.name} should be")
        elif not (error <= half_step(want, kind)).all():
            sys.exit(f"{path}: {new.name} is off by {error.max():.3e}, more than a rounding to {kind.name}")
        worst = max(worst, float(error.max()))
    return worst


def row(path, worst):
    """A line of the table: what the linear layers, the embedding and the norms of a file are kept as."""
    linear, other = Counter(), {}
    for t in gguf.GGUFReader(path).tensors:
        kind = t.tensor_type.name
        if t.name in ("token_embd.weight", "output.weight"):
            other[t.name] = kind
        elif len(t.shape) > 1:
            linear[kind] += 1
        else:
            other["norms"] = kind
    kinds = ", ".join(f"{k} × {n}" for k, n in linear.most_common())
    head = other.get("output.weight", "tied")
    error = "" if worst is None else f"{worst:.2e}"
    size = path.stat().st_size / 1e6
    return f"| {path.name} | {size:.1f} | {kinds} | {other['token_embd.weight']} | {head} | {other['norms']} | {error} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the GGUF file to start from")
    parser.add_argument("out_dir", type=Path, help="folder for the new files, NAME.TYPE.gguf")
    parser.add_argument("--types", nargs="+", choices=FILE_TYPES, default=["F32", "BF16", "Q8_0"])
    parser.add_argument("--ggml", type=Path, help="a shared library that exports ggml_quantize_chunk, for K types")
    args = parser.parse_args()
    args.out_dir.mkdir(parents=True, exist_ok=True)
    source = gguf.GGUFReader(args.model)
    ggml = ctypes.CDLL(str(args.ggml.resolve())) if args.ggml else None
    stem = args.model.stem.rpartition(".")[0] or args.model.stem
    rows = [row(args.model, None)]
    for name in args.types:
        path = args.out_dir / f"{stem}.{name}.gguf"
        if path.exists() and path.samefile(args.model):
            sys.exit(f"{path}: would overwrite the source")
        write(source, path, name, ggml)
        rows.append(row(path, check(source, path, name)))
    print("| file | MB | linear | embedding | head | norms | largest error |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
