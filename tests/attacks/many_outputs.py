"""Prints as much as a cell may, in every one of a hundred cells."""

EXTRA = [
    """
print("a" * 250_000)
""",
]
EXTRA *= 60
LARGEST = 2 << 20
