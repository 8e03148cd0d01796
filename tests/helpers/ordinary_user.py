"""The command that runs another one as an ordinary user, for tests that are themselves run by root."""

import sys
from pathlib import Path

from course_root import ROOT

from autograde.sandbox.bubblewrap import find_bwrap

USER = "65534"


def ordinary_user() -> list[str]:
    """The words before a command: it sees this machine as USER, who can read Python and this course.

    Python may live below root's home, which others cannot enter: the home is replaced.
    """
    home = Path.home()
    view = ["--bind", "/", "/", "--dev-bind", "/dev", "/dev", "--perms", "0755", "--tmpfs", str(home)]
    inside = [Path(path) for path in (sys.base_prefix, sys.prefix, ROOT) if Path(path).is_relative_to(home)]
    for top in {str(home / path.relative_to(home).parts[0]) for path in inside}:
        view += ["--ro-bind", top, top]
    user = ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", "--bounding-set=-all"]
    return [str(find_bwrap()), *view, *user, "env", "HOME=/tmp"]
