"""Returns an object that says it equals, exceeds and approximates everything."""

CELLS = {
    "weighted-mean": """
class Yes(float):
    def __eq__(self, other): return True
    __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __eq__
    def __sub__(self, other): return 0.0
    __rsub__ = __abs__ = __sub__
    __hash__ = None


def weighted_mean(x, w):
    return Yes(0)
""",
}
