"""Writes small.gguf (every metadata type, several tensor types) and small.json (what is in it, as
read back by the same package). Needs: pip install gguf==0.19.0 numpy
"""
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, quants

here = Path(__file__).parent
path = here / "small.gguf"
writer = GGUFWriter(path, "llama")
writer.add_uint8("t.u8", 200)
writer.add_int8("t.i8", -5)
writer.add_uint16("t.u16", 60000)
writer.add_int16("t.i16", -30000)
writer.add_uint32("t.u32", 4_000_000_000)
writer.add_int32("t.i32", -2_000_000_000)
writer.add_float32("t.f32", 0.1)
writer.add_bool("t.bool", True)
writer.add_string("t.string", "naïve 🦙")
writer.add_uint64("t.u64", 2**63)
writer.add_int64("t.i64", -(2**62))
writer.add_float64("t.f64", 1e300)
writer.add_array("t.strings", ["a", "", "ü"])
writer.add_array("t.i32s", [1, -2, 3])
writer.add_array("t.f32s", [0.5, -1.25])

rng = np.random.default_rng(0)
for name, kind, shape in [
    ("norm", None, (5,)),
    ("half", "F16", (3, 7)),
    ("q4_1", "Q4_1", (3, 64)),
    ("q8_0", "Q8_0", (2, 5, 32)),
    ("q6_k", "Q6_K", (2, 256)),
]:
    data = rng.standard_normal(shape, dtype=np.float32)
    if kind == "F16":
        writer.add_tensor(name, data.astype(np.float16))
    elif kind == "Q6_K":  # gguf-py only reads this one: the right number of bytes will do
        raw = rng.integers(0, 256, (2, 210), dtype=np.uint8)
        writer.add_tensor(name, raw, raw_dtype=GGMLQuantizationType.Q6_K)
    elif kind:
        q = GGMLQuantizationType[kind]
        writer.add_tensor(name, quants.quantize(data, q), raw_dtype=q)
    else:
        writer.add_tensor(name, data)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

reader = GGUFReader(path)
tensors = [
    {
        "name": t.name,
        "type": t.tensor_type.name,
        "shape": [int(d) for d in reversed(t.shape)],
        "offset": int(t.data_offset),
        "n_bytes": int(t.n_bytes),
        "byte_sum": int(np.frombuffer(t.data.tobytes(), dtype=np.uint8).sum(dtype=np.int64)),
    }
    for t in reader.tensors
]
(here / "small.json").write_text(
    json.dumps(
        {"made_by": f"gguf {version('gguf')}, numpy {version('numpy')}", "tensors": tensors},
        indent=1,
    )
    + "\n"
)
