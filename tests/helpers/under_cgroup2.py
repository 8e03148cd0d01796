"""Runs tests where control groups have version 2, on user-mode Linux: by root, and with groups handed on.

    python tests/helpers/under_cgroup2.py tests/sandbox/test_cgroups.py

Debian has that Linux, a kernel that is a program (apt install user-mode-linux). All files are seen there and
cannot be written to; temporary ones lie in memory. It has one processor, and is several times as slow.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ordinary_user import USER, ordinary_user

ROOT = Path(__file__).resolve().parents[2]
STARTS, ENDS = "tests begin", "tests end with status"
INIT = """#!/bin/bash
export PATH={path} HOME=/root LANG=C.UTF-8 OMP_NUM_THREADS=1
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/shm /dev/pts
mount -t tmpfs none /dev/shm
mount -t devpts devpts /dev/pts
for folder in /run /var/tmp /root/.cache /tmp; do mount -t tmpfs none $folder; done
ip link set lo up
mount -t cgroup2 none /sys/fs/cgroup
cd {root}
echo {starts}
{tests}
root=$?
cd /sys/fs/cgroup
echo "+memory +pids +cpu" > cgroup.subtree_control
mkdir handed-on
chown -R {user} handed-on
echo $$ > handed-on/cgroup.procs
cd {root}
{as_user} {tests}
echo {ends} $((root + $?))
halt -f
"""


def run(arguments: list[str], seconds: float) -> int:
    """Run pytest twice with these arguments, its output to stdout; returns 0 where both passed."""
    tests = shlex.join([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments])
    with tempfile.TemporaryDirectory() as folder:
        init = Path(folder, "init")
        words = {"path": os.environ["PATH"], "root": shlex.quote(str(ROOT)), "tests": tests, "user": USER}
        init.write_text(INIT.format(**words, as_user=shlex.join(ordinary_user()), starts=STARTS, ends=ENDS))
        init.chmod(0o700)
        machine = ["linux.uml", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "mem=8G"]
        machine += [f"init={init}", "con0=null,fd:1", "con=null"]
        result = subprocess.run(machine, stdin=subprocess.DEVNULL, stdout=-1, timeout=seconds, check=False)
    _, _, printed = result.stdout.decode(errors="replace").partition(STARTS)
    print(printed)
    _, _, status = printed.partition(ENDS)
    return int(status.split()[0]) if status else 1


if __name__ == "__main__":
    if os.getuid() or not shutil.which("linux.uml"):
        sys.exit("Needs root, and user-mode Linux: apt install user-mode-linux.")
    sys.exit(run(sys.argv[1:], seconds=3600))
