"""What this card reaches through PyTorch: the ceilings, and the same operations.

Sizes are those of crates/smollm-model/benches/kernels/cases.rs. A figure is the median of ten groups of
calls, timed with CUDA events, after a warm-up (and a compilation, where `compiled` stands).
"""

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

TOKENS, HIDDEN, FFN, SEQUENCE = 16_384, 2048, 8192, 2048


def row(name, call, byte_count=0.0, operations=0.0):
    for _ in range(3):
        call()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def group(calls):
        start.record()
        for _ in range(calls):
            call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3 / calls

    calls = int(min(max(2e-3 / group(3), 1), 200))
    times = sorted(group(calls) for _ in range(10))
    seconds = (times[4] + times[5]) / 2
    rates = [f"{x / seconds / 1e12:.2f}" if x else "-" for x in (byte_count, operations)]
    print(f"{name:46} {seconds * 1e6:10.1f} {rates[0]:>8} {rates[1]:>8}", flush=True)


def randn(*shape):
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)


def ceilings():
    a, b = randn(8192, 8192), randn(8192, 8192)
    row("torch: 8,192 cubed product", lambda: a @ b, 0, 2 * 8192**3)
    x = torch.empty(1 << 30, device="cuda", dtype=torch.uint8)
    y = torch.empty_like(x)
    row("torch: copy, 1 GiB", lambda: y.copy_(x), 2 << 30)


def attention(heads, kv_heads):
    batch = TOKENS // SEQUENCE
    q = randn(batch, heads, SEQUENCE, 64).requires_grad_()
    k, v = (randn(batch, kv_heads, SEQUENCE, 64).requires_grad_() for _ in range(2))
    dout = randn(batch, heads, SEQUENCE, 64)
    product = 2 * 64 * batch * heads * SEQUENCE * (SEQUENCE + 1) / 2
    for label, backend in [("flash", SDPBackend.FLASH_ATTENTION), ("cudnn", SDPBackend.CUDNN_ATTENTION)]:
        try:
            with sdpa_kernel(backend):
                call = lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=heads != kv_heads)
                name = f"torch {label}: attention {heads}/{kv_heads} x 2,048"
                row(f"{name}, forward", call, 0, 2 * product)
                out = call()
                backward = lambda: torch.autograd.grad(out, (q, k, v), dout, retain_graph=True)
                row(f"{name}, backward", backward, 0, 5 * product)
        except RuntimeError as error:
            print(f"torch {label}: {str(error).splitlines()[0]}")


def elementwise():
    n = TOKENS * HIDDEN
    x, delta, weight = randn(TOKENS, HIDDEN), randn(TOKENS, HIDDEN), randn(HIDDEN)

    def norm(x, delta, weight):
        h = x + delta
        return h, F.rms_norm(h, (HIDDEN,), weight, 1e-5)

    def gate(both):
        g, u = both.chunk(2, -1)
        return F.silu(g) * u

    both = randn(TOKENS, 2 * FFN)
    row("torch: rms_norm + residual, forward", lambda: norm(x, delta, weight), 8 * n)
    row("torch: swiglu, forward", lambda: gate(both), 6 * TOKENS * FFN)
    try:
        norm_compiled, gate_compiled = torch.compile(norm), torch.compile(gate)
        row("torch compiled: rms_norm + residual, forward", lambda: norm_compiled(x, delta, weight), 8 * n)
        row("torch compiled: swiglu, forward", lambda: gate_compiled(both), 6 * TOKENS * FFN)
    except Exception as error:  # a compiler may be missing
        print(f"torch compiled: {str(error).splitlines()[0]}")


print(f"PyTorch {torch.__version__}")
ceilings()
attention(32, 32)
attention(9, 3)
elementwise()
