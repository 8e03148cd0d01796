"""The modules that grading a lesson needs, read from what is graded: the fork server imports them."""

import ast
import contextlib
import functools
import importlib.util
from collections import defaultdict
from pathlib import Path
from typing import Any

from autograde.cells import is_demo
from autograde.course import hidden_tests

SHAPES = "torch.fx.experimental.symbolic_shapes"
LATER = {  # what parts of torch import when they are first used, the optimizers for more than a second
    "torch.optim": "torch._dynamo",
    **dict.fromkeys(("torch.distributions", "torch.broadcast_shapes"), SHAPES),
}
TRAINING = "autograde.training"  # whose programs step an optimizer on the learner's side
CELLS = "__main__"  # the module that cells run in
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def needed(lesson: str, released: dict[str, Any]) -> list[str]:
    """The modules that kernels need for a lesson: what its cells import, and its hidden tests' trainings."""
    modules = set(imports(released))
    with contextlib.suppress(OSError):  # without hidden tests nothing is graded, and the judge says so
        if TRAINING in hidden_tests(lesson).read_text(encoding="utf-8"):
            modules.add(LATER["torch.optim"])
    return sorted(modules)


def imports(released: dict[str, Any]) -> list[str]:
    """The modules that a released notebook's graded cells import, and those that genmap imports for them.

    A submission's own have no say. What only demo cells use is left out: it can cost seconds, and 100 MB.
    """
    cells = (cell for cell in released["cells"] if cell["cell_type"] == "code")
    return _imports(tuple("".join(cell["source"]) for cell in cells if not is_demo(cell)))


@functools.cache
def _imports(cells: tuple[str, ...]) -> list[str]:
    reading = _Reading()
    for cell in cells:
        reading.read(CELLS, cell)
    reading.follow()
    return sorted(reading.modules)


class _Reading:
    """What code imports as it runs: at its top level, and in the functions and classes that it uses there.

    Names are dotted, the module in front.
    """

    def __init__(self) -> None:
        self.modules: set[str] = set()
        self.used: set[str] = set()
        self.unread: dict[str, list[ast.AST]] = defaultdict(list)  # definitions, by name
        self.meant: dict[str, str] = {}  # what a name that was imported stands for
        self.followed: set[str] = set()

    def read(self, module: str, source: str) -> None:
        """Read what runs at the top level."""
        with contextlib.suppress(SyntaxError):  # a line of IPython's, such as %pip
            self._visit(module, ast.parse(source))

    def follow(self) -> None:
        """Read what is used, in the cells and in genmap, until there is nothing new."""
        while self._resolve() or self._open_used() or self._read_genmap():
            pass
        for part, module in LATER.items():
            if any(name.startswith(part) for name in self.used):
                self.modules.add(module)

    def _resolve(self) -> bool:
        """Add what the used names stand for; says whether that is new."""
        before = len(self.used)
        for name in list(self.used):
            place, _, last = name.rpartition(".")
            self.used.add(self.meant.get(name, name))
            self.used.add(f"{self.meant.get(place, place)}.{last}")
        return len(self.used) > before

    def _open_used(self) -> bool:
        names = self.used & self.unread.keys()
        for name in names:
            for node in self.unread.pop(name):
                self._open(name.rpartition(".")[0], node)
        return bool(names)

    def _read_genmap(self) -> bool:
        new = {name for name in self.modules - self.followed if name.split(".")[0] == "genmap"}
        self.followed |= new
        for name in new:
            self.read(name, _source(name))
        return bool(new)

    def _open(self, module: str, node: ast.AST) -> None:
        """Read a definition, all of it."""
        for child in ast.iter_child_nodes(node):
            if isinstance(child, DEFINITIONS):
                self._open(module, child)
            else:
                self._visit(module, child)

    def _visit(self, module: str, node: ast.AST) -> None:
        if isinstance(node, DEFINITIONS):
            self.unread[f"{module}.{node.name}"].append(node)
            return
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import | ast.ImportFrom):
            self._import(module, node)
        elif isinstance(node, ast.Name):
            self.used.add(f"{module}.{node.id}")
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            self.used.add(f"{module}.{node.value.id}.{node.attr}")
        for child in ast.iter_child_nodes(node):
            self._visit(module, child)

    def _import(self, module: str, node: ast.Import | ast.ImportFrom) -> None:
        origin = "" if isinstance(node, ast.Import) else f"{node.module}."
        if isinstance(node, ast.ImportFrom):
            if node.level or not node.module:
                return
            self.modules.add(node.module)
        for alias in node.names:
            self.modules.add(origin + alias.name)
            self.meant[f"{module}.{alias.asname or alias.name}"] = origin + alias.name


def _source(module: str) -> str:
    """A module's own text; none for what is no module, such as a function that is imported by name.

    It is found without importing anything: the grader needs neither torch nor matplotlib.
    """
    spec = importlib.util.find_spec(module.partition(".")[0])
    if spec is None or spec.origin is None:
        return ""
    path = Path(spec.origin).parent.joinpath(*module.split(".")[1:])
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return path.read_text(encoding="utf-8") if path.exists() else ""
