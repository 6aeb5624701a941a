"""Correlations and regression intercepts from scipy, for tests/it/length.rs; writes length.json.

Ran with Python 3.11, scipy 1.17.1, numpy 2.4.6.
"""
import json
import pathlib
import sys

import numpy
import scipy
from scipy import stats

CASES = []
rng = numpy.random.default_rng(7)
for n, tied in [(3, False), (8, True), (15, False), (50, True), (300, True), (300, False)]:
    x = rng.normal(0.2, 0.5, n)
    y = 0.1 * x + rng.normal(0.03, 0.2, n)
    if tied:
        x, y = numpy.round(x, 1), numpy.round(y, 1)
    line = stats.linregress(x, y)
    half = stats.t.ppf(0.975, n - 2) * line.intercept_stderr
    CASES.append({
        "x": x.tolist(), "y": y.tolist(),
        "pearson": stats.pearsonr(x, y).statistic, "spearman": stats.spearmanr(x, y).statistic,
        "matched_delta": line.intercept,
        "matched_ci": [line.intercept - half, line.intercept + half],
    })

OUT = {"versions": {"python": sys.version.split()[0], "scipy": scipy.__version__, "numpy": numpy.__version__},
       "cases": CASES}
path = pathlib.Path(__file__).resolve().parent / "length.json"
path.write_text(json.dumps(OUT) + "\n", encoding="utf-8")
