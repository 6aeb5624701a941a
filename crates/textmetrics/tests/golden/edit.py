"""Edit distances from nltk. Run: python edit.py > edit.json"""
import json, random, sys
import nltk
from nltk.metrics.distance import edit_distance

rng = random.Random(3)
ALPHABETS = ["ab", "abcdefgh ", "aäß\u4e2d\U0001f600e\u0301 \n"]


def text(alphabet, n): return "".join(rng.choice(alphabet) for _ in range(n))


def edited(s, alphabet, edits):
    s = list(s)
    for _ in range(edits):
        at = rng.randint(0, len(s))
        kind = rng.randrange(3)
        if kind == 0: s.insert(at, rng.choice(alphabet))
        elif s and kind == 1: del s[at - 1]
        elif s: s[at - 1] = rng.choice(alphabet)
    return "".join(s)


pairs = []
for alphabet in ALPHABETS:
    for n in (0, 1, 5, 63, 64, 65, 127, 128, 129, 200):
        a = text(alphabet, n)
        pairs += [(a, text(alphabet, rng.randint(0, 140))), (a, edited(a, alphabet, rng.randint(0, 9)))]
rows = [[a, b, edit_distance(a, b)] for a, b in pairs]
json.dump({"versions": {"python": sys.version.split()[0], "nltk": nltk.__version__}, "pairs": rows}, sys.stdout)
print()
