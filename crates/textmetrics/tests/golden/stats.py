"""Golden values for `textmetrics::stats` from scipy and statsmodels. Run: python stats.py > stats.json"""
import itertools, json, math, random, sys
import numpy as np
import scipy, statsmodels
from scipy import special, stats
from scipy.optimize import brentq
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import ttost_paired

rng = random.Random(1)
out = {"versions": {"python": sys.version.split()[0], "scipy": scipy.__version__, "statsmodels": statsmodels.__version__}}

out["ln_gamma"] = [[x, float(special.gammaln(x))] for x in (0.5, 1.5, 3.0, 10.25, 171.0, 5000.5)]
out["incomplete_beta"] = [[a, b, x, float(special.betainc(a, b, x))]
    for a in (0.5, 1.0, 3.5, 40.0, 900.0) for b in (0.5, 2.0, 77.0) for x in (0.001, 0.1, 0.5, 0.93, 0.9999)]
out["normal_cdf"] = [[x, float(stats.norm.cdf(x))] for x in (-30.0, -8.0, -3.6, -3.4, -1.0, -1e-6, 0.0, 0.3, 2.0, 5.0)]
out["normal_quantile"] = [[p, float(stats.norm.ppf(p))] for p in (1e-12, 0.025, 0.2, 0.5, 0.8, 0.975, 0.9999)]
out["t_quantile"] = [[p, df, float(stats.t.ppf(p, df))] for p in (0.005, 0.2, 0.9, 0.975, 0.9995) for df in (1, 2, 5, 14, 299, 100000)]

out["binomial"] = [[a, b, float(stats.binomtest(a, a + b).pvalue)]
    for a, b in [(0, 5), (5, 0), (1, 9), (3, 4), (7, 7), (30, 51), (60, 60), (60, 61), (70, 130), (400, 480), (5000, 5200)]]
out["mcnemar"] = [[g, l, float(mcnemar([[10, l], [g, 4]], exact=True).pvalue)] for g, l in [(5, 0), (8, 2), (13, 21), (90, 120)]]
out["wilson"] = [[k, n, c, *map(float, proportion_confint(k, n, alpha=1 - c, method="wilson"))]
    for k, n in [(0, 15), (1, 15), (7, 15), (15, 15), (250, 300), (1, 1)] for c in (0.95, 0.9)]

out["clopper_pearson"] = [[k, n, c, *map(float, proportion_confint(k, n, alpha=1 - c, method="beta"))]
    for k, n in [(0, 15), (1, 15), (7, 15), (15, 15), (250, 300), (1, 1), (3, 100000)] for c in (0.95, 0.9)]

def family(m): return [rng.random() ** 3 for _ in range(m)]
out["holm"] = []
for m in (1, 3, 8, 8):
    p = family(m)
    out["holm"].append([p, [float(x) for x in multipletests(p, method="holm")[1]]])

# Differences on a grid of 1/64 so that ties are exact in floating point; scipy enumerates all sign patterns.
out["sign_flip"] = []
for n in (1, 2, 5, 9, 12, 14):
    for shift in (0, 6):
        d = [(rng.randint(-20, 20) + shift) / 64 for _ in range(n)]
        r = stats.permutation_test((d,), lambda x, axis: x.sum(axis=axis), permutation_type="samples", n_resamples=10**6, vectorized=True) if n > 1 else None
        # counted here too, so that the meaning of a tie does not rest on scipy's tolerance
        nz = [x for x in d if x]
        t = abs(sum(nz))
        p = sum(abs(sum(s * x for s, x in zip(signs, nz))) >= t for signs in itertools.product((1, -1), repeat=len(nz))) / 2 ** len(nz)
        if r is not None: assert math.isclose(r.pvalue, p, abs_tol=1e-12), (d, r.pvalue, p)
        out["sign_flip"].append([d, p])

values = [round(rng.gauss(0.1, 0.3), 6) for _ in range(25)]
lo, hi = stats.ttest_1samp(values, 0).confidence_interval(0.95)
out["student_t"] = [values, 0.95, float(lo), float(hi)]

# TOST of paired differences: a list, the margin, both one-sided p-values
out["equivalence"] = []
for mean, sd, n, margin in [(0.0, 0.1, 15, 0.05), (0.02, 0.2, 200, 0.05), (-0.049, 0.02, 40, 0.05), (0.2, 0.1, 8, 0.05)]:
    d = [round(rng.gauss(mean, sd), 6) for _ in range(n)]
    _, (_, above, _), (_, below, _) = ttost_paired(np.array(d), np.zeros(n), -margin, margin)
    out["equivalence"].append([d, margin, float(above), float(below)])

out["power"] = [[e, sd, n, a, float(TTestPower().power(effect_size=e / sd, nobs=n, alpha=a, alternative="two-sided"))]
    for e, sd in [(0.05, 0.3), (0.2, 0.3), (0.5, 0.4)] for n in (3, 15, 300, 5000) for a in (0.05, 0.01)]
out["power"] = [row for row in out["power"] if not math.isnan(row[-1])]  # scipy's nct gives up far in the tail
# statsmodels' own solver stops at 2e-5, so its power function is solved by brentq
out["mde"] = [[sd, n, sd * brentq(lambda e: TTestPower().power(e, n, 0.05) - 0.8, 1e-3, 4 / n**0.5, xtol=1e-14)]
    for sd, n in [(0.3, 5), (0.3, 15), (0.25, 300), (0.4, 2000)]]
out["rows"] = [[e, sd, math.ceil(float(TTestPower().solve_power(effect_size=e / sd, alpha=0.05, power=0.8, alternative="two-sided")) - 1e-9)]
    for e, sd in [(0.05, 0.3), (0.05, 0.22), (0.1, 0.5), (0.2, 0.3)]]
# Newcombe 1998, method 10: the formula of the paper on statsmodels' Wilson intervals, and the paper's own example.
def newcombe(a, b, c, d, conf=0.95):
    n = a + b + c + d
    p1, p2 = (a + c) / n, (a + b) / n
    (l1, u1), (l2, u2) = (proportion_confint(k, n, alpha=1 - conf, method="wilson") for k in (a + c, a + b))
    cross = a * d - b * c
    if cross > 0: cross = max(cross - n / 2, 0)
    m = (a + b) * (c + d) * (a + c) * (b + d)
    phi = cross / math.sqrt(m) if m else 0
    lo = p1 - p2 - math.sqrt((p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2)
    hi = p1 - p2 + math.sqrt((u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2)
    return float(lo), float(hi)
out["newcombe"] = [[*t, *newcombe(*t)] for t in [(36, 12, 2, 0), (36, 2, 12, 0), (9, 3, 7, 21), (1, 0, 0, 14), (3, 0, 5, 7), (20, 12, 2, 16), (0, 0, 0, 15)]]
json.dump(out, sys.stdout, allow_nan=False)
print()
