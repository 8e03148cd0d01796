"""What autograde/HUB.md says is complete: each of its commands and settings is used by the tests of a hub."""

import ast
import re
import tomllib

from course_root import ROOT
from hub_site import PAGE, PROGRAMS, commands, page

SECTIONS = ("Once, as root", "Once, as the instructor", "A lesson")


def test_every_command_stands_in_a_section_that_is_run():
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert [line for name in SECTIONS for line in commands(name)] == "".join(blocks).splitlines()


def test_every_program_is_one_that_the_site_makes():
    named = {
        word for name in SECTIONS for line in commands(name) for word in re.findall(r"bin/([\w-]+)", line)
    }
    assert named <= {*PROGRAMS, "autograde", "pip", "python"}


def test_settings_are_python_and_name_one_course_and_one_exchange():
    for name in ("students", "hub", "instructor"):
        ast.parse(page(name))
    own = set(page("instructor").splitlines()) - {""}
    assert own <= set(page("students").splitlines()) and len(own) == 2


def test_the_extra_that_the_instructor_installs_is_there():
    (line,) = commands("Once, as the instructor")
    extras = tomllib.loads((ROOT / "autograde" / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert re.search(r"\[(\w+)\]", line)[1] in extras
