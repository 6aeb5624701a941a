"""Rows of floats and the blocks that llama.cpp's `gguf` package makes of them, bit-equal to ggml's reference quantisers.

    pip install gguf==0.19.0 numpy safetensors && python make.py
"""

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T
from safetensors.numpy import save_file

rng = np.random.default_rng(11)
x = rng.standard_normal((24, 64)).astype(np.float32)
x[1] *= 1e-3
x[2] *= 1e3
x[3, :32] = 0  # a block of zeros
x[4, :] = 0.25  # no spread
x[5, 7] = -x[5, 40]  # two extremes of one size
x[6] = np.round(x[6] * 4) / 4  # ties
x[7] = np.abs(x[7])
x[8] = -np.abs(x[8])
out = {"x": x}
for t in (T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1):
    out[t.name] = gguf.quantize(x, t)
save_file(out, "quantised.safetensors", metadata={"gguf": "0.19.0", "numpy": np.__version__})
