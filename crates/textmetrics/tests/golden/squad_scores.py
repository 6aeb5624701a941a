#!/usr/bin/env python3
"""Golden SQuAD scores: `python squad_scores.py > squad.jsonl`.

The functions are those of the official evaluators, word for word: `normalize_answer`, `f1_score`,
`exact_match_score` and `metric_max_over_ground_truths` of evaluate-v1.1.py; `get_tokens`,
`compute_exact` and `compute_f1` of evaluate-v2.0.py, and its choice of gold answers.
"""
import collections, json, platform, random, re, string
from collections import Counter


def normalize_answer(s):
    """Lower text and remove punctuation, articles and extra whitespace."""
    def remove_articles(text):
        return re.sub(r'\b(a|an|the)\b', ' ', text)

    def white_space_fix(text):
        return ' '.join(text.split())

    def remove_punc(text):
        exclude = set(string.punctuation)
        return ''.join(ch for ch in text if ch not in exclude)

    def lower(text):
        return text.lower()

    return white_space_fix(remove_articles(remove_punc(lower(s))))


def f1_score(prediction, ground_truth):
    prediction_tokens = normalize_answer(prediction).split()
    ground_truth_tokens = normalize_answer(ground_truth).split()
    common = Counter(prediction_tokens) & Counter(ground_truth_tokens)
    num_same = sum(common.values())
    if num_same == 0:
        return 0
    precision = 1.0 * num_same / len(prediction_tokens)
    recall = 1.0 * num_same / len(ground_truth_tokens)
    f1 = (2 * precision * recall) / (precision + recall)
    return f1


def exact_match_score(prediction, ground_truth):
    return (normalize_answer(prediction) == normalize_answer(ground_truth))


def metric_max_over_ground_truths(metric_fn, prediction, ground_truths):
    scores_for_ground_truths = []
    for ground_truth in ground_truths:
        score = metric_fn(prediction, ground_truth)
        scores_for_ground_truths.append(score)
    return max(scores_for_ground_truths)


def get_tokens(s):
    if not s: return []
    return normalize_answer(s).split()


def compute_exact(a_gold, a_pred):
    return int(normalize_answer(a_gold) == normalize_answer(a_pred))


def compute_f1(a_gold, a_pred):
    gold_toks = get_tokens(a_gold)
    pred_toks = get_tokens(a_pred)
    common = collections.Counter(gold_toks) & collections.Counter(pred_toks)
    num_same = sum(common.values())
    if len(gold_toks) == 0 or len(pred_toks) == 0:
        # If either is no-answer, then F1 is 1 if they agree, 0 otherwise
        return int(gold_toks == pred_toks)
    if num_same == 0:
        return 0
    precision = 1.0 * num_same / len(pred_toks)
    recall = 1.0 * num_same / len(gold_toks)
    f1 = (2 * precision * recall) / (precision + recall)
    return f1


def row(refs, pred):
    golds = [a for a in refs if normalize_answer(a)] or ['']
    return {"refs": refs, "pred": pred,
            "squad_em": float(metric_max_over_ground_truths(exact_match_score, pred, refs)) if refs else None,
            "squad_f1": float(metric_max_over_ground_truths(f1_score, pred, refs)) if refs else None,
            "squad2_em": float(max(compute_exact(a, pred) for a in golds)),
            "squad2_f1": float(max(compute_f1(a, pred) for a in golds))}


TEXTS = ["", " ", "the", "A", "an a the", "The cat", "cat", "the-cat", "a.n", "th'e", "U.S.A.", "usa", "éa a é", "aé an", "a_the", "the_", "a\u0301 a", "İ THE ΣΑΣ σας", "the\u00a0cat\u3000sat",
         "a\x1cthe\x85cat", "the cat sat on the mat", "cat the sat mat on", "1,000", "1000", "$5", "5 dollars", "中文 the 字", "“the” ‘a’", "don't", "dont", "a¼an", "THE\nEND", "an\u200dthe", "the the cat cat cat", "…", "!?"]
rng = random.Random(5)
print(json.dumps({"python": platform.python_version()}))
for i, text in enumerate(TEXTS):
    for other in (text, TEXTS[(i + 1) % len(TEXTS)], rng.choice(TEXTS)):
        print(json.dumps(row([text], other), ensure_ascii=False))
for _ in range(150):
    refs = [" ".join(rng.choice(TEXTS) for _ in range(rng.randrange(1, 4))) for _ in range(rng.randrange(0, 4))]
    print(json.dumps(row(refs, " ".join(rng.choice(TEXTS) for _ in range(rng.randrange(0, 4)))), ensure_ascii=False))
