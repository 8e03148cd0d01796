"""A machine for a hub: its users, folders and programs, made by the commands of autograde/HUB.md.

Skipped where it cannot be: it needs root, JupyterHub and configurable-http-proxy. The page's paths and names
stand for those of a folder of the test's own. Nothing is installed: what is here is linked, and students get
all of it but `autograde`.
"""

import contextlib
import os
import pwd
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from course_root import ROOT
from small_course import HIDDEN, LESSON, NAME

from autograde.sandbox.bubblewrap import find_bwrap

PAGE = ROOT / "autograde" / "HUB.md"
PROXY = Path(sys.prefix, "hub", "node_modules", ".bin", "configurable-http-proxy")
PACKAGES = Path(sysconfig.get_path("purelib"))
OURS = re.compile(r"__editable__.*|genmap_autograde.*|__pycache__")  # what students get no link to
PROGRAMS = (
    "alembic",
    "jupyter",
    "jupyter-labextension",
    "jupyter-server",
    "jupyterhub",
    "jupyterhub-singleuser",
    "nbgrader",
)
STUDENTS = ("ann", "bob", "cleo", "dora", "mallory")  # the page names the first
IN_COURSE = ("genmap", "autograde", "data", "constraints.txt", "pyproject.toml", "nbgrader_config.py")


def need() -> None:
    """Skip where a hub cannot be tried."""
    pytest.importorskip("jupyterhub", reason="JupyterHub is not installed: pip install -e './autograde[hub]'")
    if os.geteuid() != 0:
        pytest.skip("only root makes the hub's users")
    if not PROXY.exists():
        pytest.skip(f"no proxy: npm install --prefix {sys.prefix}/hub configurable-http-proxy")


def page(name: str) -> str:
    """The settings on the page that begin with a comment: "students", "hub" or "instructor"."""
    (found,) = re.findall(rf"```python\n# {name}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return found


def commands(section: str) -> list[str]:
    """The commands of a section of the page, in order."""
    text = PAGE.read_text().partition(f"## {section}\n")[2].partition("\n## ")[0]
    return [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]


@dataclass
class Site:
    """The machine. root: the folder that holds all but the users' rows in /etc/passwd."""

    root: Path
    mark: str = field(default_factory=lambda: secrets.token_hex(3))
    password: str = field(default_factory=lambda: secrets.token_urlsafe(9))

    def name(self, user: str) -> str:
        """A user's name on this machine: no other test's, and nobody's who is there."""
        return f"{user}-{self.mark}"

    @property
    def course(self) -> Path:
        return self.of("grader") / "course"

    @property
    def hidden(self) -> Path:
        """The hidden tests of the lesson."""
        return self.course / "autograde" / "hidden" / f"test_{NAME}.py"

    @property
    def exchange(self) -> Path:
        return self.root / "srv" / "nbgrader" / "exchange"

    @property
    def users(self) -> list[str]:
        return [self.name(user) for user in ("grader", *STUDENTS)]

    def here(self, text: str) -> str:
        """What the page says, with this machine's names and places, and the small course's lesson."""
        text = re.sub(rf"\b({'|'.join(('grader', *STUDENTS))})\b", lambda found: self.name(found[0]), text)
        text = re.sub(r"(?<![\w.])/(opt|srv|home)\b", rf"{self.root}/\1", text)
        return text.replace("01_map", NAME)

    def make(self) -> None:
        """Everything that the page does once. Users are there first, for the test adds one more."""
        for folder in ("home", "opt", "srv/nbgrader", "srv/jupyterhub"):
            (self.root / folder).mkdir(parents=True)
        self.root.chmod(0o755)
        (self.root / "srv" / "jupyterhub").chmod(0o700)
        lines = commands("Once, as root")
        hers = [line for line in lines if re.search(r"\bann\b", line)]
        others = [re.sub(r"\bann\b", user, line) for user in STUDENTS[1:] for line in hers]
        for line in [*lines[:3], *others, *lines[3:]]:
            self._once(self.here(line))
        settings = {"opt/genmap/etc/jupyter/nbgrader_config.py": "students"}
        for path, name in settings.items():
            (self.root / path).write_text(self.here(page(name)))
        self.course.joinpath(".grading").mkdir(mode=0o700)
        self.course.joinpath(".grading", "settings.py").write_text(self.here(page("instructor")))
        self.own(self.course)

    def _once(self, line: str) -> None:
        words = shlex.split(line)
        if words[0] == "useradd":
            words += ["--base-dir", str(self.root / "home")]
        elif words[0] == "passwd":
            return self._set_password(words[1])
        elif words[0] == "chmod":
            self._checkout()
        elif words[0] == "python3":
            return make_environment(Path(words[-1]))
        elif words[0].endswith("/pip"):
            return copy_genmap(Path(words[0]).parents[1])
        elif words[0] == "npm":
            assert words[-1] in (ROOT / ".ci" / "run").read_text(), "CI installs another proxy"
            return None
        elif words[0].endswith("/jupyterhub"):
            return None  # it is started by hub.py
        subprocess.run(words, check=True, capture_output=True, cwd=self.root, env=plain_environment())
        return None

    def of(self, user: str) -> Path:
        """A user's home."""
        return self.root / "home" / self.name(user)

    def _set_password(self, user: str) -> None:
        line = f"{user}:{self.password}\n"
        subprocess.run(["chpasswd"], input=line, text=True, check=True, capture_output=True)

    def _checkout(self) -> None:
        """The instructor's checkout: the package, with the small lesson in the place of the course's."""
        ignored = shutil.ignore_patterns("hidden", "__pycache__", "*.egg-info", "build")
        for name in IN_COURSE:
            source, target = ROOT / name, self.course / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, target, ignore=ignored) if source.is_dir() else shutil.copy(
                source, target
            )
        shutil.copytree(ROOT / "data", self.course / "genmap" / "facts", ignore=ignored, dirs_exist_ok=True)
        files = {f"solutions/{NAME}/{NAME}.py": LESSON, f"autograde/hidden/test_{NAME}.py": HIDDEN}
        for place, text in files.items():
            (self.course / place).parent.mkdir(parents=True)
            (self.course / place).write_text(text)
        (self.course / "lessons").mkdir()
        make_environment(self.course / ".venv", self.course)
        self._set_password(self.name("grader"))

    def own(self, folder: Path) -> None:
        """Give a folder to the instructor."""
        subprocess.run(
            ["chown", "--recursive", "--no-dereference", f"{self.name('grader')}:", folder], check=True
        )

    def as_user(self, user: str, *command: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
        """Run a command as one of the users, who sees this machine as its hub does."""
        row = pwd.getpwnam(self.name(user))
        who = ["setpriv", "--reuid", str(row.pw_uid), "--regid", str(row.pw_gid), "--init-groups"]
        environment = {**plain_environment(), "HOME": row.pw_dir}
        line = [*self.view(), "--chdir", str(cwd or row.pw_dir), *who, *command]
        return subprocess.run(
            line, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300
        )

    def grade(self, line: str) -> str:
        """A command of the page's, run by the instructor in the course's folder; its output."""
        words = shlex.split(self.here(line))
        done = self.as_user("grader", str(self.course / words[0]), *words[1:], cwd=self.course)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def view(self) -> list[str]:
        """The words before a command: Python can be read by all, and this checkout by nobody."""
        needed, words = (Path(sys.base_prefix), Path(sys.prefix), Path(PROXY).parents[2]), list[str]()
        for covered in (Path.home(), ROOT):
            words += ["--perms", "0755", "--tmpfs", str(covered)]
        for path in sorted(set(needed)):
            for parent in reversed(path.parents):
                if parent.is_relative_to(Path.home()) or parent.is_relative_to(ROOT):
                    words += ["--perms", "0755", "--dir", str(parent)]
            words += ["--ro-bind", str(path), str(path)]
        return [
            str(find_bwrap()),
            "--die-with-parent",
            "--bind",
            "/",
            "/",
            "--dev-bind",
            "/dev",
            "/dev",
            *words,
        ]

    def end_processes(self) -> None:
        """End what runs as one of the users."""
        numbers = {pwd.getpwnam(user).pw_uid for user in self.users}
        own = [one for one in psutil.process_iter(["uids"]) if one.info["uids"].real in numbers]
        for process in own:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(own, 60)

    def remove(self) -> None:
        """Take the users and the folder away."""
        for user in self.users:
            subprocess.run(["userdel", "--force", user], capture_output=True)
            subprocess.run(["groupdel", user], capture_output=True)
        shutil.rmtree(self.root, ignore_errors=True)


def plain_environment() -> dict[str, str]:
    """What programs on the hub's machine are started with."""
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
    }


def make_environment(folder: Path, checkout: Path | None = None) -> None:
    """A virtual environment with links to what is installed here, without this repository's two packages.

    checkout: a folder whose packages it has, too.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    target = folder / PACKAGES.relative_to(sys.prefix)
    for path in PACKAGES.iterdir():
        if not OURS.fullmatch(path.name) or (checkout and path.suffix == ".dist-info"):
            (target / path.name).symlink_to(path)
    if checkout:
        (target / "checkout.pth").write_text(f"{checkout}\n")
        program(folder / "bin" / "autograde", "from autograde.cli import main\nmain()\n")
    for name in PROGRAMS:
        body = Path(sys.prefix, "bin", name).read_text().partition("\n")[2]
        program(folder / "bin" / name, body)
    (folder / "share" / "jupyter").mkdir(parents=True)
    for name in ("lab", "labextensions", "nbconvert"):
        (folder / "share" / "jupyter" / name).symlink_to(Path(sys.prefix, "share", "jupyter", name))
    (folder / "share" / "jupyterhub").symlink_to(Path(sys.prefix, "share", "jupyterhub"))
    shutil.copytree(Path(sys.prefix, "etc", "jupyter"), folder / "etc" / "jupyter")


def program(path: Path, body: str) -> None:
    """A program of an environment's own."""
    path.write_text(f"#!{path.parent}/python\n{body}")
    path.chmod(0o755)


def copy_genmap(environment: Path) -> None:
    """As its wheel has it."""
    target = environment / PACKAGES.relative_to(sys.prefix) / "genmap"
    shutil.copytree(ROOT / "genmap", target, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "data", target / "facts", dirs_exist_ok=True)


def make_site() -> Site:
    """A site whose folder all can enter, which pytest's own cannot be."""
    return Site(Path(tempfile.mkdtemp(prefix="hub-")))
