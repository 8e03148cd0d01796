"""A PostgreSQL server of the machine's own, for a test: on a socket in a folder, without a port."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from autograde.course import Course

FOUND = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
HOW = {
    "check": True,
    "cwd": "/",
    "env": {"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
    **dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL),
}


@dataclass
class Server:
    """bin: where PostgreSQL's programs are. root: holds its data, its log and its socket."""

    bin: Path
    root: Path

    def run(self, program: str, *arguments: str) -> None:
        """One of PostgreSQL's programs, as the user whom it wants."""
        user = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
        line = [str(self.bin / program), *arguments]
        subprocess.run(line, **HOW, **who)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-c listen_addresses='' -c unix_socket_directories={self.root} -c fsync=off"
        self.run("pg_ctl", "-D", f"{self.root}/data", "-l", f"{self.root}/log", "-o", options, "-w", "start")

    def stop(self, how: str = "fast") -> None:
        """Stop it: "immediate" is as if it were killed."""
        self.run("pg_ctl", "-D", f"{self.root}/data", "-m", how, "-w", "stop")

    def database(self, name: str) -> str:
        """Make a database; its address for SQLAlchemy."""
        self.run("createdb", "-h", str(self.root), "-U", "grader", name)
        return f"postgresql+psycopg://grader:{PASSWORD}@/{name}?host={self.root}"


PASSWORD = "not-to-be-shown"


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server that runs; skipped where there is none."""
    if not FOUND:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    root = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))  # a socket's path must be short
    if os.geteuid() == 0:
        shutil.chown(root, "postgres", "postgres")
    own = Server(FOUND[-1].parent, root)
    try:
        own.run(
            "initdb", "-D", f"{root}/data", "-U", "grader", "--auth=trust", "--encoding=UTF8", "--no-sync"
        )
        own.start()
        yield own
    finally:
        if (root / "data" / "postmaster.pid").exists():
            own.stop("immediate")
        shutil.rmtree(root)


def use(course: Course, url: str) -> None:
    """Make an address the course's gradebook, by the instructor's settings."""
    settings = course.grading / "settings.py"
    settings.parent.mkdir(mode=0o700, exist_ok=True)
    before = settings.read_text() if settings.exists() else ""
    settings.write_text(f"{before}c.CourseDirectory.db_url = {url!r}\n")
