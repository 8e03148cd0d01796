"""The proxy that hidden tests call: arguments go to the learner's process, values come back, nothing else.

`student.kl(mu, log_var)` calls the learner's function `kl`. What is not data (an object of a learner's class)
stays there; the test holds a Handle on it. One protocol; the transport is a function `ask(request) -> reply`
that raises Died, TimedOut or Unusable: sandbox/session.py for the kernel, in_process.py for the same process.
"""

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from autograde.errors import UNANSWERED, StudentError, Unusable
from autograde.sandbox import promises, wire
from autograde.sandbox.framing import WireError

Ask = Callable[[str], str]
Hear = Callable[[str, Sequence[Any], Any], None]  # the name of a function, its arguments, its result

# Exceptions that are named in feedback. Every name more lets an answer tell its author more of its inputs.
SHOWN = frozenset(
    """
    AssertionError AttributeError FileNotFoundError ImportError IndexError KeyError NameError
    NotImplementedError OverflowError RecursionError RuntimeError StopIteration TypeError ValueError
    ZeroDivisionError
    """.split()
)


class Missing(StudentError):
    """The name is not defined on the learner's side."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.reason = f"`{name}` is not defined: did its cell run without an error?"


class Raised(StudentError):
    """The learner's code raised an exception. `kinds` are the names of its class and base classes."""

    def __init__(self, kinds: list[str], line: int | None) -> None:
        super().__init__(kinds[0] if kinds else "")
        self.kinds = kinds
        name = next((kind for kind in kinds if kind in SHOWN), "an exception")
        where = f" at line {line} of its cell" if line else ""
        self.reason = f"Your code raised {name}{where}."
        if "NotImplementedError" in kinds:
            self.reason = UNANSWERED


def _refuse(operation: str) -> Callable[..., NoReturn]:
    def method(self: "Handle", *_: object) -> NoReturn:
        raise Unusable(f"an object of its own where {operation} was needed")

    return method


class Handle:
    """An object on the learner's side: call it, reach its attributes, pass it back as an argument.

    Everything that could decide a test by accident (truth, equality, conversion, iteration) raises.
    """

    def __init__(
        self, student: "Student", target: str, path: tuple[str, ...] = (), name: bool = False
    ) -> None:
        self._student, self._target, self._path, self._name = student, target, path, name

    def __getattr__(self, name: str) -> "Handle":
        if name.startswith("__"):
            raise AttributeError(name)
        return Handle(self._student, self._target, (*self._path, name), self._name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the object on the learner's side returns for these arguments."""
        value = self._student._ask("call", **self._place(), args=args, kwargs=kwargs)
        if self._name and not self._path:
            self._student._hear(self._target, args, value)
        return value

    def _place(self) -> dict[str, Any]:
        target = self._target if self._name else Handle(self._student, self._target)
        return {"target": target, "path": list(self._path)}

    __bool__ = _refuse("a truth value")
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse("a value to compare")
    __float__ = __int__ = __index__ = __complex__ = __round__ = __abs__ = _refuse("a number")
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __neg__ = _refuse("a number")
    __truediv__ = __rtruediv__ = __pow__ = __rpow__ = __matmul__ = __rmatmul__ = _refuse("a number")
    __len__ = __iter__ = __contains__ = __getitem__ = __reversed__ = _refuse("a sequence")
    __array__ = __bytes__ = _refuse("an array")
    __hash__ = None  # type: ignore[assignment]


class Student:
    """The learner's answers, by name. The methods below are the protocol's own words.

    lines: whether an error names the line that it was raised in. That is for one's own work: the number of a
    line may be an input that was to stay hidden.
    hear: is told what each function that is called by its name returned.
    """

    def __init__(self, ask: Ask, lines: bool = False, hear: Hear = lambda *_: None) -> None:
        self._transport, self._lines, self._hear, self._keeps = ask, lines, hear, False
        self._broken: set[str] = set()  # promises, since they were last `taken`

    def __getattr__(self, name: str) -> Handle:
        if name.startswith("__"):
            raise AttributeError(name)
        return Handle(self, name, name=True)

    def value(self, handle: Handle) -> Any:
        """The value that `handle` stands for: `student.value(flow.dim)`."""
        return self._ask("value", **handle._place())

    def define(self, source: str) -> Handle:
        """Define one function, imports inside it, on the learner's side: a density, a velocity field."""
        return self._ask("define", source=source)

    def grad(self, function: Handle, wrt: int, *args: Any) -> Any:
        """Gradient of `function(*args).sum()` with respect to the argument at position `wrt`, or None."""
        return self._ask("grad", **function._place(), wrt=wrt, args=args)

    def generator(self, seed: int, kind: str = "torch") -> Handle:
        """A seeded random generator on the learner's side, of "torch" or "numpy"."""
        return self._ask("generator", seed=int(seed), kind=kind)

    def read(self, path: str, max_bytes: int) -> bytes:
        """A file that the notebook wrote below its working folder. Links are not followed.

        Raises Raised where there is none, Unusable where it is longer than `max_bytes`.
        """
        content = self._ask("read", path=path, max_bytes=max_bytes)
        if type(content) is not bytes or len(content) > max_bytes:
            raise Unusable("a file that is too long")
        return content

    def raises(self, kind: type[BaseException], function: Handle, *args: Any, **kwargs: Any) -> None:
        """Assert that `function(*args, **kwargs)` raises `kind`.

        A death, a time-out or a stub's NotImplementedError never counts.
        """
        try:
            function(*args, **kwargs)
        except Raised as error:
            if "NotImplementedError" in error.kinds or kind.__name__ not in error.kinds:
                raise
        else:
            raise AssertionError(f"no {kind.__name__}")

    def reset(self) -> None:
        """Forget every object kept so far; the judge calls it before each test."""
        if self._keeps:
            self._ask("reset")
            self._keeps = False

    def _take_broken(self) -> set[str]:
        """The promises (promises.py) that calls have broken since this was last asked."""
        found, self._broken = self._broken, set()
        return found

    def _keep(self, key: str) -> Handle:
        self._keeps = True
        return Handle(self, key)

    def _ask(self, op: str, **arguments: Any) -> Any:
        request = wire.dumps({"op": op, "arguments": arguments}, _refer)
        try:
            reply = wire.loads(self._transport(request), self._keep)
        except WireError as error:
            raise Unusable(str(error)) from None
        if type(reply) is not dict or not (len(reply) == 1 or reply.keys() == {"ok", "looks"}):
            raise Unusable("a malformed reply")
        if "ok" in reply:
            looks = reply.get("looks")
            if type(looks) is list and len(looks) == 2:
                self._broken |= promises.broken(*looks)
            return reply["ok"]
        raise _failure(reply, arguments.get("target"), self._lines)


def _refer(value: object) -> str | None:
    if not isinstance(value, Handle):
        return None
    if value._path:
        raise TypeError("fetch an attribute with student.value() before you pass it on")
    return value._target


def _failure(reply: dict[str, Any], target: object, lines: bool) -> StudentError:
    """The error of a reply, which may be forged: only names and, where wanted, a line are taken from it."""
    error = reply.get("error")
    if type(error) is not dict:
        return Unusable("a value that is too large or of a kind that cannot be sent")
    if error.get("missing") is True and isinstance(target, str):
        return Missing(target)
    kinds, line = error.get("kinds"), error.get("line")
    names = [kind for kind in kinds if type(kind) is str] if type(kinds) is list else []
    return Raised(names, line if lines and type(line) is int and line > 0 else None)
