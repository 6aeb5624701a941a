"""Digests of rouge_score's scores on 100,000 made-up pairs; writes rouge_digest.json.

Ran with Python 3.11, rouge_score 0.1.2, nltk 3.10.4:  python rouge_digest.py [jobs]

The pairs come from a generator small enough to be written twice, here and in tests/it/rouge_digest.rs,
so that neither the texts nor 6.6 million floats need to be stored. A digest folds the bits of precision,
recall and F of every row of a block; one wrong bit in one row changes it.
    python rouge_digest.py show BLOCK   prints the pairs and scores of a block, to find that row.
"""
import json
import multiprocessing
import pathlib
import struct
import sys

from rouge_score import rouge_scorer

HERE = pathlib.Path(__file__).resolve().parent
PIECES = json.loads((HERE / "rouge_pieces.json").read_text(encoding="utf-8"))
TYPES = [f"rouge{n}" for n in range(1, 10)] + ["rougeL", "rougeLsum"]
BLOCK, BLOCKS = 1000, 100
MASK = (1 << 64) - 1


class SplitMix:
    """Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014)."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return (z ^ (z >> 31)) % n


def length(rng):
    kind = rng.below(64)
    if kind < 3:
        return 0
    if kind == 3:
        return 100 + rng.below(150)
    return 1 + rng.below(8 if kind < 20 else 40)


def text(rng, source):
    """Pieces and the text that they make; three of four pieces follow `source`, if there is one."""
    pieces, out, at = [], "", rng.below(max(len(source), 1))
    for _ in range(length(rng)):
        if source and rng.below(4) > 0:
            piece = source[at % len(source)]
        else:
            piece = rng.below(len(PIECES))
        at += 1 + rng.below(8) // 7
        pieces.append(piece)
        between = rng.below(16)
        out += PIECES[piece] + ("" if between == 0 else "\n" if between == 1 else " ")
    return pieces, out


def pair(row):
    rng = SplitMix(row)
    pieces, gold = text(rng, [])
    return gold, text(rng, pieces if rng.below(8) > 0 else [])[1]


def scorers():
    return [rouge_scorer.RougeScorer(TYPES, use_stemmer=stem) for stem in (False, True)]


def digest(block):
    digests = [[0] * len(TYPES), [0] * len(TYPES)]
    both = scorers()
    for row in range(block * BLOCK, (block + 1) * BLOCK):
        gold, prediction = pair(row)
        for scorer, folded in zip(both, digests):
            scores = scorer.score(gold, prediction)
            for k, kind in enumerate(TYPES):
                for x in scores[kind]:
                    (bits,) = struct.unpack("<Q", struct.pack("<d", x))
                    folded[k] = ((folded[k] ^ bits) * 0x100000001B3 + 1) & MASK
    return [[f"{d:016x}" for d in folded] for folded in digests]


def main():
    if sys.argv[1:2] == ["show"]:
        both = scorers()
        for row in range(int(sys.argv[2]) * BLOCK, (int(sys.argv[2]) + 1) * BLOCK):
            gold, prediction = pair(row)
            scores = [{k: list(v) for k, v in s.score(gold, prediction).items()} for s in both]
            print(json.dumps({"row": row, "gold": gold, "prediction": prediction, "plain_stem": scores}))
        return
    jobs = int(sys.argv[1]) if sys.argv[1:] else 1
    with multiprocessing.Pool(jobs) as pool:
        blocks = pool.map(digest, range(BLOCKS), chunksize=1)
    out = {"versions": {"rouge_score": "0.1.2", "nltk": __import__("nltk").__version__,
                        "python": sys.version.split()[0]},
           "types": TYPES, "block": BLOCK,
           "plain": [b[0] for b in blocks], "stemmed": [b[1] for b in blocks]}
    lines = json.dumps(out).replace("]], ", "]],\n").replace("], [", "],\n [")
    (HERE / "rouge_digest.json").write_text(lines + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
