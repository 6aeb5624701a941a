"""What Python says of every code point, as one digest a block of 4,096. Run: python unicode.py > unicode.json

Bit 0: `re` matches \\w; bit 1: `re` matches \\s; then the lower case in UTF-8. Surrogates are left out. The digest is
64-bit FNV-1a."""
import json, re, sys, unicodedata

WORD, SPACE = re.compile(r"\w"), re.compile(r"\s")
digests, words = [], 0
for start in range(0, 0x110000, 4096):
    digest = 0xCBF29CE484222325
    for code in range(start, start + 4096):
        if 0xD800 <= code <= 0xDFFF:
            continue
        c = chr(code)
        word = bool(WORD.match(c))
        words += word
        for byte in bytes([word | bool(SPACE.match(c)) << 1]) + c.lower().encode():
            digest = (digest ^ byte) * 0x100000001B3 % 2**64
    digests.append(f"{digest:016x}")
json.dump({"versions": {"python": sys.version.split()[0], "unicode": unicodedata.unidata_version}, "words": words, "blocks": digests}, sys.stdout)
print()
