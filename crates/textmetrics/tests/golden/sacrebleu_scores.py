#!/usr/bin/env python3
"""Golden BLEU, chrF and chrF++ from sacreBLEU: one JSON object a line.

    python sacrebleu_scores.py > sacrebleu.jsonl

First line: versions. Then sentences (`refs`, `pred`, statistics and sentence scores), then corpora
(`corpus`: indices of sentences, corpus scores, signatures without the version).
"""
import json, platform, random
from importlib.metadata import version
from sacrebleu.metrics import BLEU, CHRF

NASTY = [
    "", " ", "\n", ".", "...", "a", "The cat sat on the mat.", "the cat sat on a mat", "It's 1,000.5, no? 3-4 a-b -5",
    "<skipped> &quot;x&quot; &amp;lt; & &gt;", "co-\noperate\nnow", "x.y,z .5 5. ,, 1.,2", "U.S.A. e.g. (hi) \"quoted\" [a]{b}|c~`",
    "İstanbul ΣΑΣ ß ẞ", "中文字符。中文，字符", "हिन्दी की किताब", "😀👩‍👩‍👧 emoji, 😀", "a\u00a0b\u3000c\u2028d\x1ce\x85f", "zero\u200bwidth\ufeff",
    "e\u0301 é", "naïve—dash “quotes” ‘single’ …", "!!! ?!? $5.00 50% #tag @you a/b a\\b a_b a^b", "'tis 'twas rock'n'roll '", "٣.٤ ½.½ ².²",
    "trailing space  \t\n", "-\n-\n", "<skip<skipped>ped>", "&amp;quot;", "a " * 300, " ".join(f"w{i % 11}" for i in range(400)), "x" * 500,
    "no overlap whatsoever here", "the the the the the the", "one two three", "one two three four", "(", "((a", "a))", ".a", "¿qué?",
]
VOCAB = "the a cat sat on mat , . 1 2.5 3-4 ( hi) U.S. é 中 don't \"x\" - & &amp; ... run, ran; 1,000".split()
rng = random.Random(4)
BLEU_CORPUS, BLEU_ROW = BLEU(), BLEU(effective_order=True)
CHRFS = {"chrf": CHRF(), "chrf++": CHRF(word_order=2)}


def sentence():
    return rng.choice([" ", " ", "", "\n", "  "]).join(rng.choice(VOCAB) for _ in range(rng.choice([2, 5, 12, 30])))


def variant(text):
    words = text.split(" ")
    for _ in range(rng.randrange(1, 5)):
        i = rng.randrange(len(words))
        words[i] = rng.choice(["", words[i] + ".", words[i].upper(), rng.choice(VOCAB), words[rng.randrange(len(words))]])
    return " ".join(words)


def row(refs, pred):
    out = {"refs": refs, "pred": pred, "stats": BLEU_CORPUS._extract_corpus_statistics([pred], [[r] for r in refs])[0],
           "bleu": BLEU_ROW.sentence_score(pred, refs).score}
    for name, metric in CHRFS.items():
        out[name] = metric.sentence_score(pred, refs).score
    return out


def corpus(rows, at):
    preds = [rows[i]["pred"] for i in at]
    most = max(len(rows[i]["refs"]) for i in at)
    refs = [[rows[i]["refs"][k] if k < len(rows[i]["refs"]) else None for i in at] for k in range(most)]
    out = {"corpus": at}
    for name, metric in {"bleu": BLEU_CORPUS, **CHRFS}.items():
        out[name] = metric.corpus_score(preds, refs).score
        out[name + "_signature"] = str(metric.get_signature()).rsplit("|version:", 1)[0]
    return out


rows = [row([a], b) for i, a in enumerate(NASTY) for b in (NASTY[(i + 1) % len(NASTY)], variant(a))]
for _ in range(60):
    text = sentence()
    rows.append(row([text], variant(text)))
    rows.append(row([variant(text) for _ in range(rng.randrange(2, 4))] + [rng.choice(NASTY)], variant(text)))
print(json.dumps({"python": platform.python_version(), "sacrebleu": version("sacrebleu")}))
for r in rows:
    print(json.dumps(r, ensure_ascii=False))
single = [i for i, r in enumerate(rows) if len(r["refs"]) == 1]
for at in [single, list(range(len(rows))), [0], [single[0], single[3]], single[12:20], single[-30:], [i for i, r in enumerate(rows) if len(r["refs"]) == 3]]:
    print(json.dumps(corpus(rows, at)))
