"""Writes cells in other encodings and with other ends of lines, so that what is read is not what is run."""

EXTRA = [
    "# -*- coding: utf-16 -*-\nx = 1",
    "\ufeffx = 1\r\ny = 2\rz = 3",
    "x = 1\x0cy = 2\x00z",
    "# \u2028print('12.0')\u2029x = '\u202e0.21'",
    "\\\n" * 1000 + "1",
    "(" * 5000,
    "-" * 100_000 + "1",
    "%%writefile /given/x\nx",
    "!kill -9 1\n%cd /\n%load_ext autoreload\n%reset -f\n%run /given/90_small.ipynb",
]
LIMITS = {"cell": 2}
