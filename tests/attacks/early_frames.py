"""Writes answers into the judge's line before there is a question: each question reads a stale one."""

EXTRA = [
    """
import sys

line = sys.modules["_autograde_runtime"].line
texts = [b'{"d": [["ok", %s]]}' % value for value in (b"null", b'{"f": "0x1p+3"}', b'{"r": "#0"}')]
for text in texts * 50:
    line.sendall(len(text).to_bytes(8, "big") + text)
""",
]
SCORE = 0.0
NEXT = True
