"""Prints without end, in one line, in many, and as an error."""

EXTRA = [
    """
raise ValueError("x" * (6 << 20))
""",
]
EXTRA += ["while True: print('y' * 100000)", "while True: print('z')"]
SCORE = (8.0, 0.0)
LIMITS = {"cell": 2}
