"""Returns a float, an array and a string whose methods lie about what they are."""

CELLS = {
    "weighted-mean": """
class Liar(np.ndarray):
    def __array__(self, *args): return np.array(36.0)
    def __eq__(self, other): return np.True_
    def tobytes(self): return np.array(36.0).tobytes()
    @property
    def shape(self): return ()
    dtype = "float64"


class Text(str):
    def __eq__(self, other): return True
    __hash__ = str.__hash__


def weighted_mean(x, w):
    return np.zeros(3).view(Liar) if len(x) == 2 else Text("0")
""",
}
