"""Orders that NumPy gives, for tests/it/numpy.rs: writes permutations.json beside this script.

usage: python make_permutations.py        needs: numpy

Of each order: its first 32 items, and a polynomial fingerprint of all of them.
"""
import json
import pathlib

import numpy

SEEDS = [0, 1, 2, 7, 42, 1234, 2**32 - 1, 2**32, 2**32 + 5, 2**63, 2**64 - 1]
SIZES = [0, 1, 2, 3, 10, 17, 64, 1000, 15015, 65535, 65536, 65537, 70001, 100_000]



def fingerprint(order):
    total = 0
    for item in order:
        total = (total * 1_000_003 + item + 1) % (2**61 - 1)
    return str(total)


cases = []
for seed in SEEDS:
    for n in SIZES:
        order = numpy.random.default_rng(seed).permutation(n).tolist()
        cases.append({
            "seed": str(seed),
            "n": n,
            "first": order[:32],
            "fingerprint": fingerprint(order),
        })
out = {"numpy": numpy.__version__, "call": "numpy.random.default_rng(seed).permutation(n)", "cases": cases}
path = pathlib.Path(__file__).with_name("permutations.json")
lines = ",\n".join("  " + json.dumps(case) for case in cases)
path.write_text('{"numpy": %s, "call": %s, "cases": [\n%s\n]}\n' % (json.dumps(out["numpy"]), json.dumps(out["call"]), lines))
