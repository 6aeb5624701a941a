"""Golden values for paired rates, clusters, noise floor and bootstrap, from scipy and statsmodels.
Run: python paired.py > paired.json"""
import json, math, random, sys
import numpy as np
import scipy, statsmodels
import statsmodels.api as sm
from scipy import stats
from scipy.optimize import minimize_scalar

rng = random.Random(5)
out = {"versions": {"python": sys.version.split()[0], "numpy": np.__version__, "scipy": scipy.__version__, "statsmodels": statsmodels.__version__}}


def likeliest_loss(w, l, n, delta):
    """Rate of losses of greatest likelihood where rate(win) = rate(loss) + delta; searched, not solved for."""
    def minus_log_likelihood(q):
        return -(stats.multinomial.logpmf([w, l, n - w - l], n, [q + delta, q, 1 - 2 * q - delta]))
    return minimize_scalar(minus_log_likelihood, bounds=(0, (1 - delta) / 2), method="bounded", options={"xatol": 1e-13}).x


def tango(w, l, n, margin):
    """Tango 1998: score statistics at both margins, variance under the hypothesis."""
    def below(w, l):
        q = likeliest_loss(w, l, n, margin) if l else 0.0  # without losses the maximum is at the edge, or inside
        if l == 0 and w > n * margin:
            q = likeliest_loss(w, l, n, margin)
        return float(stats.norm.cdf((w - l - n * margin) / math.sqrt(n * (2 * q + margin * (1 - margin)))))
    return [below(l, w), below(w, l)]


out["rates"] = [[w, l, n, m, *tango(w, l, n, m)] for w, l, n, m in [
    (0, 0, 15, 0.05), (0, 0, 57, 0.05), (1, 0, 100, 0.05), (0, 3, 100, 0.05), (9, 0, 300, 0.05), (2, 2, 40, 0.1),
    (30, 25, 300, 0.05), (5, 12, 50, 0.2), (12, 5, 50, 0.2), (40, 2, 200, 0.1), (7, 8, 15, 0.3), (1, 1, 2, 0.5)]]

# The mean of clustered rows: intercept of an ordinary regression with cluster-robust errors (CR1, t with G - 1 degrees
# of freedom), and two one-sided t tests from the same standard error. Over 500 clusters, so that the interval is Student's.
out["clustered"] = []
for seed, groups, lean in [(1, 520, 0.3), (2, 700, 0.05)]:
    g = np.random.default_rng(seed)
    sizes = g.integers(1, 6, groups)
    labels = np.repeat(np.arange(groups), sizes)
    before = np.round(g.random(labels.size) * 0.5 + 0.1, 3)
    shift = np.repeat(g.normal(0.01, lean, groups), sizes)
    after = np.round(np.clip(before + shift + g.normal(0, 0.05, labels.size), 0, 1), 3)
    d = after - before
    fit = sm.OLS(d, np.ones((d.size, 1))).fit(cov_type="cluster", cov_kwds={"groups": labels}, use_t=True)
    mean, error = float(fit.params[0]), float(fit.bse[0])
    lo, hi = map(float, fit.conf_int()[0])
    margin = 0.05
    p = max(float(stats.t.sf((mean + margin) / error, groups - 1)), float(stats.t.sf((margin - mean) / error, groups - 1)))
    out["clustered"].append({"labels": labels.tolist(), "before": before.tolist(), "after": after.tolist(),
                             "mean": mean, "lo": lo, "hi": hi, "margin": margin, "p_equivalence": p})

# Noise floor: quantile of the mean under all sign patterns, by enumeration.
d = [round(rng.uniform(0, 1), 3) for _ in range(18)]
signs = 1 - 2 * ((np.arange(2**18)[:, None] >> np.arange(18)) & 1)
means = np.abs(signs @ np.array(d)) / 18
out["noise"] = {"differences": d, "confidence": 0.95, "bound": float(np.quantile(means, 0.95))}

# Percentile bootstrap of a ratio of sums.
a, b = [rng.randint(0, 9) for _ in range(60)], [rng.randint(5, 20) for _ in range(60)]
r = stats.bootstrap((np.array(a), np.array(b)), lambda x, y, axis: x.sum(axis=axis) / y.sum(axis=axis), paired=True,
                    vectorized=True, n_resamples=400_000, batch=10_000, method="percentile", rng=np.random.default_rng(9))
out["bootstrap"] = {"a": a, "b": b, "lo": float(r.confidence_interval.low), "hi": float(r.confidence_interval.high)}
json.dump(out, sys.stdout, allow_nan=False)
print()
