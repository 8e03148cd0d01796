"""Raises exceptions that are classes of their own: endless texts, no text, groups, exits and interrupts."""

CELLS = {
    "weighted-mean": """
import asyncio


class Meta(type):
    def mro(cls):
        return [cls, *type.mro(cls)[1:]]

    @property
    def __name__(cls):
        return "AssertionError" * 10**6

    def __repr__(cls):
        raise SystemExit


class Acts(BaseException, metaclass=Meta):
    def __str__(self):
        while True:
            pass

    __repr__ = __str__

    def __reduce__(self):
        return (exec, ("raise SystemExit",))

    @property
    def __traceback__(self):
        raise KeyboardInterrupt

    @property
    def __class__(self):
        return ValueError


calls = []


def weighted_mean(x, w):
    calls.append(0)
    cause = [Acts(), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit(), StopIteration()]
    error = cause[len(calls) % 5]
    error.__cause__ = error.__context__ = error
    raise error
""",
}
EXTRA = ["class E(Exception):\n    def __str__(self):\n        raise KeyboardInterrupt\n\nraise E"]
