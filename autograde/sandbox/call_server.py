"""Answers the judge's questions inside the learner's process: call, fetch, differentiate, read a file.

Its source text is sent into the learner's kernel behind wire.py's (see cell_executor.py); in process it is
imported.
It is not trusted: whatever it answers is checked by wire.loads on the judge's side.
"""

import contextlib
import io
import os
import stat
from typing import Any

from autograde.sandbox import promises, wire
from autograde.sandbox.framing import WireError

MAX_MRO = 8


class CallServer:
    """Serves the judge from a namespace, the learner's global variables."""

    def __init__(self, namespace: dict[str, Any], interruptible: bool = False) -> None:
        self.namespace, self.interruptible = namespace, interruptible  # by Ctrl-C, at the self-check
        self.objects: dict[str, Any] = {}

    def answer(self, request: str) -> str:
        """One request, one reply: {"ok": value, "looks": two}, {"unusable": why} or {"error": {...}}.

        Nothing escapes. The looks are those of promises.py, before and after a call.
        """
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                question = wire.loads(request, self._resolve, strided=True)
                result, looks = self._done(question["op"], question["arguments"])
            return wire.dumps({"ok": result, "looks": looks}, self._keep)
        except WireError as error:
            return wire.dumps({"unusable": str(error)}, self._keep)
        except BaseException as error:  # SystemExit too: the learner's code must not end the session
            if isinstance(error, KeyboardInterrupt) and self.interruptible:
                raise
            return wire.dumps({"error": self._describe(error)}, self._keep)

    def _done(self, op: str, arguments: dict[str, Any]) -> tuple[Any, list[str]]:
        if op != "call":
            return getattr(self, "do_" + op)(**arguments), []
        given = arguments["args"], arguments["kwargs"]
        before = promises.look(*given)
        result = self.do_call(**arguments)
        return result, [before, promises.look(*given)]

    def do_reset(self) -> None:
        """Forget the objects kept for an earlier test."""
        self.objects.clear()

    def do_call(self, target: Any, path: list[str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call `target.path(*args, **kwargs)`."""
        return self._find(target, path)(*args, **kwargs)

    def do_value(self, target: Any, path: list[str]) -> Any:
        """The value of `target.path` itself."""
        return self._find(target, path)

    def do_define(self, source: str) -> Any:
        """Run `source` (one function definition) beside the learner's code and return the function."""
        names: dict[str, Any] = {}
        exec(compile(source, "<given>", "exec"), names)
        return [value for name, value in names.items() if callable(value) and name != "__builtins__"][-1]

    def do_generator(self, seed: int, kind: str) -> Any:
        """A seeded random generator of torch or NumPy."""
        if kind == "numpy":
            import numpy

            return numpy.random.default_rng(seed)
        import torch

        return torch.Generator().manual_seed(seed)

    def do_grad(self, target: Any, path: list[str], wrt: int, args: tuple[Any, ...]) -> Any:
        """The gradient of `target.path(*args).sum()` with respect to the argument at position `wrt`."""
        import torch

        given = list(args)
        given[wrt] = torch.as_tensor(given[wrt]).detach().clone().requires_grad_(True)
        result = self._find(target, path)(*given)
        return torch.autograd.grad(result.sum(), given[wrt], allow_unused=True)[0]

    def do_read(self, path: str, max_bytes: int) -> bytes:
        """The bytes of a file the notebook wrote, below its working folder, links nowhere on the way."""
        folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            *parents, name = path.split("/")
            for part in parents:
                inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
                os.close(folder)
                folder = inner
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        finally:
            os.close(folder)
        with open(file, "rb") as stream:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError("not a file")
            return stream.read(max_bytes + 1)

    def _find(self, target: Any, path: list[str]) -> Any:
        if isinstance(target, str):
            if target not in self.namespace:
                raise LookupError(MISSING)
            target = self.namespace[target]
        for name in path:
            target = getattr(target, name)
        return target

    def _resolve(self, key: str) -> Any:
        return self.objects[key] if key in self.objects else self.namespace[key]

    def _keep(self, value: Any) -> str:
        key = f"#{len(self.objects)}"
        self.objects[key] = value
        return key

    def _describe(self, error: BaseException) -> dict[str, Any]:
        """Class names and the line in the learner's own code; no message, no locals, no traceback."""
        line, trace = None, error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_globals is self.namespace:
                line = trace.tb_lineno
            trace = trace.tb_next
        missing = type(error) is LookupError and error.args == (MISSING,)
        kinds = [c.__name__ for c in type(error).__mro__[:MAX_MRO]]
        return {"kinds": kinds, "line": line, "missing": missing}


MISSING = "the name is not defined"
