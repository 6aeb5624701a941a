#!/usr/bin/env python3
"""Golden scores from rouge_score, nltk and Python's own `re` and `str`.

    python scores.py > scores.jsonl             # the committed file: hand-made nasty pairs
    python scores.py 20000 7 > /tmp/pairs.jsonl # 20,000 random pairs from seed 7

The first line holds versions. To check another file than the committed one:
    TEXTMETRICS_PAIRS=/tmp/pairs.jsonl cargo test -p textmetrics --test it golden
"""
import json, platform, random, re, sys, unicodedata
from collections import Counter
from importlib.metadata import version
from rouge_score import rouge_scorer

TYPES = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
SCORERS = {"stem": rouge_scorer.RougeScorer(TYPES, use_stemmer=True), "nostem": rouge_scorer.RougeScorer(TYPES)}


def normalize(s):
    s = re.sub(r"\s+", " ", s.lower().strip())
    return re.sub(r"[^\w\s]", "", s)


def f1(gold, pred):
    g, p = normalize(gold).split(), normalize(pred).split()
    if not g or not p:
        return float(g == p)
    same = sum((Counter(g) & Counter(p)).values())
    if same == 0:
        return 0.0
    precision, recall = same / len(p), same / len(g)
    return 2 * precision * recall / (precision + recall)


def relaxed(gold, pred, short=15):
    g, p = normalize(gold).split(), normalize(pred).split()
    if not g or len(g) > short:
        return 0
    g, p = " ".join(g), " ".join(p)
    return int(g in p or p in g)


def row(gold, pred):
    out = {"gold": gold, "prediction": pred, "normal": [normalize(gold), normalize(pred)], "lower": gold.lower(),
           "em": int(normalize(gold) == normalize(pred)), "relaxed": relaxed(gold, pred), "f1": f1(gold, pred),
           "n_gold_tokens": len(normalize(gold).split())}
    for name, scorer in SCORERS.items():
        scores = scorer.score(gold.strip(), pred.strip())
        out[name] = {k: list(map(float, scores[k])) for k in TYPES}
    return out


SPACES = [chr(c) for c in range(0x110000) if chr(c).isspace()] + ["\u180e", "\u200b", "\ufeff"]
# One side of each pair; every text is paired with the next one and with a variant of itself.
NASTY = [
    "", " ", "\n", "...", "a", "A.", "the", "The cat sat on the mat.", "the cat sat, on\tthe mat", "on the mat sat the cat",
    "first line here\nsecond line there\nthird", "third\nfirst line\n\n\nsecond line there", "a b c\nd e f\na b c", "c b a a b c\nf e d",
    "x\ny\nz", "\r\nwindows\r\nlines\r\n", "line\u2028separator\u2029paragraph", "a\x1cb\x1dc\x1ed\x1fe", "a\x85b\xa0c", "\x0bvertical\x0cfeed",
    "İstanbul İ ı I i", "ISTANBUL istanbul", "Straße STRASSE ẞ ß", "ΟΔΥΣΣΕΥΣ ΣΑΣ Σ", "οδυσσευς σας σ", "Α.Σ. ΑΣ' ΑΣ'Α \u0301Σ Σ\u0301α", "ΑΣ\u00adΣ\u200dΣ",
    "Kelvin \u212a \u212bngström K", "kelvin k ångström", "café naïve résumé", "cafe\u0301 nai\u0308ve", "e\u0301\u0301\u0301", "\u0301", "हिन्दी की किताब", "हिंदी किताब",
    "中文 字符", "中文字符", "ไทย ภาษา", "한국어 조선말", "العربية ١٢٣", "עִבְרִית", "½ ³ ③ ٣ Ⅷ ⅷ ¾", "1/2 3 (3) 3 VIII", "a_b __init__ _", "a‿b a\u2040b", "zero\u200bwidth\u200djoin\u200cer",
    "😀 emoji 👩‍👩‍👧 family", "emoji family", "e-mail, U.S.A. don't", "email USA dont", "- a - b -", " a  b ", "A  B\t\tC", "ⓐ Ⓐ ⒜ 🄰", "ǅ Ǆ ǆ Ǉ", "ﬁ ﬂ ﬀ", "ΐ ᾳ ᾼ", "Ꭰ ꭰ ᏸ", "𐐀 𐐨 𞤀", "Ა ა Ⴀ ⴀ",
    "running runs ran runner", "run running", "skies dying lying tying news innings howe", "sky die lie tie new inning how", "flies dies ties cries spied died", "happy enjoy sky by y yy yyy syzygy",
    "generalization generalizations general generically", "oscillators oscillate", "feed agreed plastered bled motoring sing", "hopping hoping fall falling hissing fizzed failing filing",
    "geology theology archaeology logic", "radically bradically allialli", "caresses ponies caress cats", "relational conditional rational", "1600s 3d 10th 0xff abc123s 999ing",
    "x" * 300, "y" * 300, "ing ed s es ies ied eed ly", "sses ssss ness ement ational", " ".join(f"w{i % 9}" for i in range(70)), " ".join(f"w{i % 7}" for i in range(140)),
    "\n".join(" ".join(f"w{i * j % 5}" for i in range(j + 1)) for j in range(30)), "\n".join(f"w{i % 4} w{i % 3}" for i in range(80)),
]
VOCAB = "a an the of in on cat cats run running runs runner relational happily happy flies 10 1990s x y".split()
PARTS = ["ing", "ed", "s", "es", "ies", "ied", "eed", "alli", "bli", "logi", "ational", "tional", "enci", "izer", "ousli", "ization", "ation", "ator", "alism", "iveness", "fulness", "fulli",
         "ement", "ment", "ent", "ion", "sion", "tion", "ism", "ate", "ize", "ative", "alize", "icate", "ical", "ful", "ness", "e", "l", "ll", "y", "yy", "a", "b", "c", "o", "u", "w", "x", "ss", "z", "t", "9"]


def variant(rng, text):
    words = re.split(r"(\s+)", text)
    for _ in range(rng.randrange(1, 4)):
        i, j = rng.randrange(len(words)), rng.randrange(len(words))
        words[i], words[j] = words[j], words[i]
        words[i] = rng.choice([words[i], words[i].upper(), "", words[i] + ".", rng.choice(SPACES)])
    return "".join(words)


def random_char(rng):
    top = rng.choice([0x80, 0x250, 0x600, 0x3000, 0x20000, 0x110000])
    c = chr(rng.randrange(top))
    return c if not 0xD800 <= ord(c) < 0xE000 else "Σ"


def random_text(rng):
    kind = rng.randrange(6)
    if kind == 0:
        return "".join(random_char(rng) if rng.random() < 0.6 else rng.choice("abcΣσ \nİ\u0301'.") for _ in range(rng.randrange(60)))
    if kind == 1:
        return rng.choice(SPACES).join("".join(rng.choice(PARTS) for _ in range(rng.randrange(1, 6))) for _ in range(rng.randrange(12)))
    vocab = VOCAB[: rng.randrange(2, len(VOCAB))]
    length = rng.choice([3, 10, 20, 70, 130, 200]) if kind > 3 else rng.randrange(25)
    breaks = rng.choice([0, 0.05, 0.3])
    return "".join(rng.choice(vocab) + ("\n" if rng.random() < breaks else rng.choice([" ", " ", ". "])) for _ in range(length))


def main():
    if len(sys.argv) > 1:
        rng = random.Random(int(sys.argv[2]))
        firsts = [random_text(rng) for _ in range(int(sys.argv[1]))]
        pairs = [(a, variant(rng, a) if rng.random() < 0.5 else random_text(rng)) for a in firsts]
    else:
        rng = random.Random(0)
        pairs = [(a, b) for i, a in enumerate(NASTY) for b in (NASTY[(i + 1) % len(NASTY)], variant(rng, a))]
    versions = {"python": platform.python_version(), "unicode": unicodedata.unidata_version, "rouge_score": version("rouge-score"), "nltk": version("nltk")}
    print(json.dumps(versions))
    for gold, pred in pairs:
        print(json.dumps(row(gold, pred), ensure_ascii=False))


main()
