"""ROUGE-Lsum of rouge_score with `split_summaries=True`. nltk's sentence model is a download; what is checked here is what
follows it, so a plain splitter stands in its place. Run: python sentences.py > sentences.json"""
import json, random, re, sys
from importlib.metadata import version
import nltk
from rouge_score import rouge_scorer


def split(text): return re.findall(r"[^.]+\.?", text)


nltk.sent_tokenize = split
rng = random.Random(11)
WORDS = "the cats cat sat running ran on mat Paris is big\nand red 42 -".split(" ")


def text():
    sentences = [" ".join(rng.choice(WORDS) for _ in range(rng.randint(0, 9))) for _ in range(rng.randint(0, 5))]
    return ". ".join(sentences)


rows = []
for stem in (True, False):
    scorer = rouge_scorer.RougeScorer(["rougeLsum"], use_stemmer=stem, split_summaries=True)
    for _ in range(60):
        gold, prediction = text(), text()
        s = scorer.score(gold, prediction)["rougeLsum"]
        rows.append({"stem": stem, "gold": split(gold), "prediction": split(prediction), "want": [float(x) for x in s]})
json.dump({"versions": {"python": sys.version.split()[0], "rouge_score": version("rouge-score"), "nltk": version("nltk")}, "rows": rows}, sys.stdout)
print()
