"""A curated set as pandas exports it, for tests/it/curated.rs: writes curated.csv and curated.json
beside this script. The texts are ours and chosen to be hard to quote.

usage: python make_curated.py        needs: numpy, pandas
"""
import json
import pathlib

import numpy as np
import pandas as pd

HARD = [
    "plain", "", "it's", 'say "so"', "it's \"both\"", "back\\slash and \\n that is no newline",
    "two\nlines\r\nand a\ttab", "no-break\u00a0space, zero\u200bwidth, bell\u0007, nul-ish\u0001", "naïve 東京 🎺 e\u0301",
    "'], dtype=object), 'status': array(['x", "{'value': 'fake'}", "trailing space ", "\u2028line separator",
    "comma, comma", "x" * 200 + " " + "y" * 200, "\U000e0001tag", "\x7f\x85\xa0\xad", "ends with backslash\\",
]


def cell(values, users=None, status="submitted"):
    users = users or [None] * len(values)
    array = lambda items: np.array(items, dtype=object)
    return {"user_id": array(users), "value": array(values), "status": array([status] * len(values))}


rows = []
for i, text in enumerate(HARD):
    rows.append({
        "id": str(900 + i), "category": "open_qa",
        "original-instruction": f"question {i}", "original-context": text, "original-response": text,
        "new-instruction": cell([text]), "new-context": cell([text, text + "!"], ["ann's", "bob"]),
        "new-response": cell([None, text]), "external_id": None,
    })
here = pathlib.Path(__file__).parent
frame = pd.DataFrame(rows)
frame.to_csv(here / "curated.csv", index=False, encoding="utf-8-sig", lineterminator="\n")
want = {"numpy": np.__version__, "pandas": pd.__version__, "texts": HARD}
(here / "curated.json").write_text(json.dumps(want, indent=1) + "\n")
