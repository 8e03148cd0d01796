"""A student attacks the course from their own server on a hub: what is not theirs stays out of reach."""

import json
import shutil
from pathlib import Path

import pytest
import requests
from classroom import RIGHT
from hub import Hub, hub
from hub_class import HIDDEN_CODE, NOTEBOOK, RELEASE, answer, released
from hub_site import commands
from small_course import NAME

__all__ = ["hub"]
# Runs in the student's kernel. Each line of it is tried; what goes through is told.
TRY = """
import json, os
through = {}
for name, code in json.loads(ATTACKS).items():
    try:
        eval(code)
    except OSError:
        continue
    except Exception as error:
        through[name] = f"{type(error).__name__}: {error}"
    else:
        through[name] = "went through"
print(json.dumps(through))
"""
# Everything that can be read, below the hub's folder and in processes, with a word in it.
SEARCH = """
import os
found = []
for top in (ROOT, "/proc"):
    for folder, inner, names in os.walk(top):
        if folder == "/proc":
            inner[:] = [name for name in inner if name.isdigit()]
        elif folder.startswith("/proc"):
            inner[:] = []
            names = [name for name in names if name in ("environ", "cmdline")]
        for name in names:
            path = os.path.join(folder, name)
            try:
                if os.path.islink(path) or not (os.path.isfile(path) or folder.startswith("/proc")):
                    continue
                with open(path, "rb") as file:
                    if any(word in file.read() for word in WORDS):
                        found.append(path)
            except OSError:
                pass
print(found)
"""


@pytest.fixture(scope="module")
def handed_in(hub: Hub) -> str:
    """The path of another student's submission in the exchange, which the attacker is told."""
    released(hub)
    bob = hub.user("bob")
    if "fetched" not in bob.assignments():
        bob.act("fetch")
    answer(bob, RIGHT)
    bob.act("submit")
    inbound = hub.site.exchange / "genmap" / "inbound"
    return str(max(inbound.glob(f"{bob.name}+*"), key=lambda path: path.stat().st_ctime))


def tried(hub: Hub, attacks: dict[str, str]) -> dict[str, str]:
    """Which expressions do not fail in the attacker's kernel for want of rights."""
    code = TRY.replace("ATTACKS", repr(json.dumps(attacks)))
    return json.loads(hub.user("mallory").run(code))


def test_a_students_server_reaches_nothing_that_is_not_theirs(hub, handed_in):
    site, genmap = hub.site, hub.site.exchange / "genmap"
    assert (site.course / ".grading" / "secret").exists() or hub.site.grade(commands("A lesson")[RELEASE])
    read = [site.hidden, site.course / ".grading" / "gradebook.db", site.course / ".grading" / "secret"]
    read += [site.course / ".grading" / "settings.py", site.root / "srv" / "jupyterhub" / "log"]
    lists = [site.course, site.of("grader"), site.of("bob"), genmap / "inbound", genmap / "feedback"]
    lists += [site.root / "srv" / "jupyterhub"]
    write = [genmap / "outbound" / NAME / f"{NAME}.ipynb", genmap / "outbound" / "new", genmap / "new"]
    write += [genmap / "feedback" / f"{'0' * 32}.html", site.root / "opt" / "genmap" / "new"]
    moved = [genmap, genmap / "outbound", genmap / "outbound" / NAME, genmap / "inbound", handed_in]
    attacks = {f"read {path}": f"open({str(path)!r}).read()" for path in read}
    attacks |= {f"list {path}": f"os.listdir({str(path)!r})" for path in lists}
    attacks |= {f"write {path}": f"open({str(path)!r}, 'a')" for path in write}
    attacks |= {f"move {path}": f"os.rename({str(path)!r}, {str(path)!r} + '-gone')" for path in moved}
    attacks |= {f"open up {path}": f"os.chmod({str(path)!r}, 0o777)" for path in (*moved, site.exchange)}
    attacks["another's file by a second name"] = f"os.link({str(write[0])!r}, 'mine')"
    attacks["become another"] = "os.setuid(0)"
    assert tried(hub, attacks) == {}


def test_nothing_that_a_student_can_read_holds_a_hidden_test(hub, handed_in):
    site = hub.site
    site.grade(commands("A lesson")[RELEASE])
    site.grade(commands("A lesson")[RELEASE + 1])
    words = [*HIDDEN_CODE, (site.course / ".grading" / "secret").read_bytes()]
    said = hub.user("mallory").run(SEARCH.replace("ROOT", repr(str(site.root))).replace("WORDS", repr(words)))
    assert said.strip() == "[]"


def test_another_ones_server_and_the_hubs_own_doors_are_closed(hub):
    mallory, bob = hub.user("mallory"), hub.user("bob")
    token = mallory.run("import os; print(os.environ['JUPYTERHUB_API_TOKEN'])").strip()
    with_token = {"headers": {"Authorization": f"token {token}"}, "timeout": 60}
    for path in (f"{bob.base}/api/contents", f"{hub.address}/hub/api/users/{bob.name}/tokens"):
        assert requests.get(path, **with_token).status_code in (403, 404), path
    assert requests.get(f"{hub.address}/hub/api/proxy", **with_token).status_code == 403
    assert mallory.session.get(f"{bob.base}/api/contents").status_code in (403, 404)


def forged(hub: Hub, handed_in: str) -> dict[str, str]:
    """Folders that the attacker leaves where work is handed in, by what each tries."""
    inbound, bob, own = (
        hub.site.exchange / "genmap" / "inbound",
        hub.site.name("bob"),
        hub.site.name("mallory"),
    )
    late = "2099-01-01 00:00:00.000000 UTC"
    names = {
        "another's name": f"{bob}+{NAME}+{late}+forged",
        "a link": f"{own}+{NAME}+{late}+link",
        "a linked notebook": f"{own}+{NAME}+{late}+notebook",
        "a pipe": f"{own}+{NAME}+{late}+pipe",
        "a climb": f"..+{NAME}+{late}+climb",
    }
    folders = {what: str(inbound / name) for what, name in names.items()}
    code = f"""
import os, shutil
for folder in {list(folders.values())!r}:
    os.mkdir(folder, 0o755)
    shutil.copy({NOTEBOOK!r}, folder)
os.symlink({str(hub.site.hidden)!r}, {folders["a link"]!r} + "/mine.txt")
os.remove({folders["a linked notebook"]!r} + "/{NAME}.ipynb")
os.symlink({handed_in!r} + "/{NAME}.ipynb", {folders["a linked notebook"]!r} + "/{NAME}.ipynb")
os.mkfifo({folders["a pipe"]!r} + "/submission_secret.txt")
print("left")
"""
    assert hub.user("mallory").run(code).strip() == "left"
    return folders


def test_forged_folders_are_not_collected_and_stop_nobody(hub, handed_in):
    mallory, course = hub.user("mallory"), hub.site.course
    if "fetched" not in mallory.assignments():
        mallory.act("fetch")
    mallory.act("submit")
    folders = forged(hub, handed_in)
    try:
        said = hub.site.grade(commands("A lesson")[RELEASE])
    finally:
        for folder in folders.values():
            shutil.rmtree(folder)
    submitted = course / ".grading" / "submitted"
    assert {path.name for path in submitted.iterdir()} <= set(hub.site.users)
    mine = submitted / mallory.name / NAME
    assert (mine / f"{NAME}.ipynb").read_bytes() == (hub.site.of("mallory") / NOTEBOOK).read_bytes()
    assert not [path for path in submitted.rglob("*") if path.is_symlink() or path.name == "mine.txt"]
    theirs = submitted / hub.site.name("bob") / NAME / f"{NAME}.ipynb"
    assert theirs.read_bytes() == Path(handed_in, f"{NAME}.ipynb").read_bytes()
    assert "Traceback" not in said and not (course / ".grading" / NAME).exists()
