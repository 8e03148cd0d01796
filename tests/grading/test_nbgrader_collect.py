"""`nbgrader zip_collect` and `nbgrader collect` collect as `autograde collect` does, and keep times."""

import datetime as dt
import os
import pwd
import time
import zipfile

import pytest
from course_root import ROOT
from nbgrader.apps import CollectApp, ReleaseAssignmentApp, ZipCollectApp
from small_course import NAME, course

from autograde.grading import term
from autograde.grading.collecting import collect
from autograde.grading.roster import enter

__all__ = ["course"]

ATTEMPT = "2026-11-28-10-30-00"


@pytest.fixture
def ready(course, monkeypatch, tmp_path):
    """The course with its lesson released, its configuration, and a home of its own."""
    for name in ("HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    course.released(NAME).parent.mkdir(parents=True)
    course.released(NAME).write_text("{}")
    configured(course)
    return course


def configured(course, more=""):
    text = (ROOT / "nbgrader_config.py").read_text()
    (course.root / "nbgrader_config.py").write_text(text + more)


def start(application, *arguments):
    """Run a command of nbgrader's; returns its status."""
    application.clear_instance()
    try:
        app = application.instance()
        app.initialize([NAME, *arguments])
        app.start()
    except SystemExit as error:
        return error.code
    finally:
        application.clear_instance()
    return 0


def laid(course, *names, archive="moodle.zip"):
    """An archive of files, each with its name for content, where zip_collect looks for it."""
    path = course.grading / "downloaded" / NAME / "archive" / archive
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as written:
        for name in names:
            written.writestr(name, name)
    return path


def submitted(course):
    return {
        path.parent.parent.name: path.read_text()
        for path in (course.grading / "submitted").glob(f"*/{NAME}/{NAME}.ipynb")
    }


NAMES = (
    *(f"{NAME}_alice_attempt_{ATTEMPT}_x.ipynb", f"{NAME}_alice_attempt_2026-01-01-00-00-00_y.ipynb"),
    *("Bob_1_assignsubmission_file_/a.ipynb", "Anna_2_assignsubmission_file_/a.ipynb"),
    *("Anna_3_assignsubmission_file_/a.ipynb", "Carol_4_assignsubmission_file_/a.ipynb"),
    *("Carol_4_assignsubmission_file_/b.ipynb", "Bob_1_assignsubmission_file_/timestamp.txt"),
)


def test_zip_collect_collects_what_autograde_collect_does(ready, tmp_path):
    laid(ready, *NAMES)
    assert start(ZipCollectApp) == 0
    found, times = submitted(ready), term.of_lesson(ready, NAME).received
    assert set(found) == {"alice", "Anna (2)", "Anna (3)", "Bob"} and found["alice"] == NAMES[0]
    when = dt.datetime(2026, 11, 28, 10, 30).astimezone()
    assert {name: dt.datetime.fromisoformat(one.time) for name, one in times.items()} == {"alice": when}
    assert sorted(collect(ready, NAME).unchanged) == sorted(found)
    assert term.of_lesson(ready, NAME).received == times
    assert not list((ready.grading / "submitted").rglob("timestamp.txt"))


def test_a_second_zip_collect_keeps_what_it_replaces(ready):
    laid(ready, "alice.ipynb", "bob.ipynb")
    assert start(ZipCollectApp) == 0
    own = ready.grading / "submitted" / "alice" / NAME / "data.txt"
    own.write_text("by hand")
    laid(ready, "alice/x.ipynb", "bob.ipynb")
    assert start(ZipCollectApp, "--force") == 0
    assert submitted(ready) == {"alice": "alice/x.ipynb", "bob": "bob.ipynb"}
    kept = ready.grading / "downloaded" / NAME / "replaced"
    assert [path.read_text() for path in kept.iterdir()] == ["alice.ipynb"] and own.exists()


@pytest.mark.parametrize("name", ["../x.ipynb", "/x.ipynb"])
def test_zip_collect_refuses_a_hostile_archive(ready, name, caplog):
    laid(ready, "alice.ipynb", name)
    assert start(ZipCollectApp) == 1
    assert submitted(ready) == {} and not (ready.grading / "downloaded" / NAME / "x.ipynb").exists()


def test_zip_collect_leaves_what_is_damaged(ready):
    path = laid(ready, "alice.ipynb", "bob.ipynb")
    head, name, rest = path.read_bytes().partition(b"alice.ipynb" * 2)  # its name, then its content
    path.write_bytes(head + name[:-1] + b"x" + rest)
    assert start(ZipCollectApp) == 0
    assert submitted(ready) == {"bob": "bob.ipynb"}


def test_a_pattern_of_the_instructors_own_alone_counts(ready):
    pattern = r".*/(?P<student_id>[^/]+)--(?P<timestamp>[0-9T:-]+)--(?P<file_id>\w+)\.(ipynb|txt)"
    settings = f"\nc.FileNameCollectorPlugin.named_regexp = {pattern!r}\n"
    configured(ready, settings + 'c.FileNameCollectorPlugin.valid_ext = [".ipynb", ".txt"]\n')
    archive = ready.grading / "downloaded" / NAME / "archive"
    archive.mkdir(parents=True)
    time = "2026-11-28T10:30:00"
    for name in ("alice", "..", "bob'"):
        (archive / f"{name}--{time}--{NAME}.ipynb").write_text(name)
    (archive / "carol.ipynb").write_text("1")
    (archive / f"alice--{time}--timestamp.txt").write_text("2020-01-01")
    assert start(ZipCollectApp) == 0
    assert submitted(ready) == {"alice": "alice"}
    received = term.of_lesson(ready, NAME).received
    assert {name: one.time for name, one in received.items()} == {"alice": "2026-11-28T10:30:00+00:00"}
    stamp = ready.grading / "submitted" / "alice" / NAME / "timestamp.txt"
    assert stamp.read_text() == "2026-11-28 10:30:00"


@pytest.fixture
def exchange(ready, tmp_path):
    """A real exchange; returns what hands in to it."""
    inbound = tmp_path / "exchange" / "maps" / "inbound"
    inbound.mkdir(parents=True)
    enter(ready, [])  # the gradebook, as a release makes it
    settings = f"c.Exchange.root = {str(tmp_path / 'exchange')!r}\nc.CourseDirectory.course_id = 'maps'\n"
    configured(ready, settings + "c.ExchangeCollect.check_owner = False\n")  # no student is a user here

    def hand_in(student, said="2020-01-01 00:00:00.000000 UTC", content="1"):
        folder = inbound / f"{student}+{NAME}+{said}+random"
        folder.mkdir()
        (folder / f"{NAME}.ipynb").write_text(content)
        (folder / "timestamp.txt").write_text(said)
        return folder

    return hand_in


def times(course):
    received = term.of_lesson(course, NAME).received
    assert {one.source for one in received.values()} <= {"exchange"}
    return {name: dt.datetime.fromisoformat(one.time).timestamp() for name, one in received.items()}


def test_the_exchange_gives_the_time_that_the_file_system_has(ready, exchange):
    began = time.time()
    folder = exchange("alice")
    os.utime(folder, (0, 0))
    assert start(CollectApp) == 0
    assert submitted(ready) == {"alice": "1"}
    assert times(ready)["alice"] == pytest.approx(folder.stat().st_ctime, abs=0.001)
    assert began - 1 < times(ready)["alice"] < time.time() + 1


def test_a_change_after_handing_in_counts_as_later(ready, exchange):
    folder = exchange("alice")
    before = folder.stat().st_ctime
    time.sleep(0.05)
    with (folder / f"{NAME}.ipynb").open("r+") as notebook:  # the folder itself does not change
        notebook.write("2")
    assert folder.stat().st_ctime == before
    assert start(CollectApp) == 0
    assert times(ready)["alice"] > before + 0.04


def test_a_newer_submission_updates_notebook_and_time(ready, exchange):
    exchange("alice")
    assert start(CollectApp) == 0
    first = times(ready)["alice"]
    assert start(CollectApp, "--update") == 0 and times(ready)["alice"] == first
    time.sleep(0.05)
    later = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)
    exchange("alice", f"{later:%Y-%m-%d %H:%M:%S.%f} UTC", "2")
    assert start(CollectApp, "--update") == 0
    assert submitted(ready) == {"alice": "2"} and times(ready)["alice"] > first


def test_who_owns_a_folder_handed_it_in(ready, exchange, tmp_path, capfd):
    settings = f"c.Exchange.root = {str(tmp_path / 'exchange')!r}\nc.CourseDirectory.course_id = 'maps'\n"
    configured(ready, settings)
    me = pwd.getpwuid(os.geteuid()).pw_name
    exchange(me)
    exchange("alice", said="2099-01-01 00:00:00.000000 UTC")
    assert start(CollectApp) == 0
    assert submitted(ready) == {me: "1"}
    assert f"it is named after alice, and {me} handed it in" in capfd.readouterr().err


def test_what_is_refused_does_not_stand_before_what_can_be_collected(ready, exchange):
    exchange("alice")
    time.sleep(0.05)
    os.mkfifo(exchange("alice", said="2099-01-01 00:00:00.000000 UTC") / "pipe")
    assert start(CollectApp) == 0
    assert submitted(ready) == {"alice": "1"}


def test_what_a_newer_submission_replaces_is_kept(ready, exchange):
    exchange("alice", content="old")
    assert start(CollectApp) == 0
    time.sleep(0.05)
    exchange("alice", said="2021-01-01 00:00:00.000000 UTC", content="new")
    assert start(CollectApp) == 0 and submitted(ready) == {"alice": "old"}
    assert start(CollectApp, "--update") == 0 and submitted(ready) == {"alice": "new"}
    kept = ready.grading / "downloaded" / NAME / "replaced"
    assert [path.read_text() for path in kept.iterdir()] == ["old"]
    assert not list((ready.grading / "downloaded" / NAME).glob(".collecting-*"))


def test_students_cannot_move_what_is_in_a_shared_folder(ready, tmp_path):
    root = tmp_path / "shared"
    configured(ready, f"c.Exchange.root = {str(root)!r}\nc.CourseDirectory.course_id = 'maps'\n")
    enter(ready, [])
    assert start(ReleaseAssignmentApp) == 0
    assert root.stat().st_mode & 0o7777 == 0o1777
    assert (root / "maps" / "inbound").stat().st_mode & 0o5777 == 0o1733
    assert (root / "maps" / "outbound" / NAME / f"{NAME}.ipynb").read_text() == "{}"


def test_hostile_folders_of_the_exchange_stop_nobody(ready, exchange, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    (exchange("bob") / "mine.txt").symlink_to(tmp_path / "secret.txt")
    (exchange("carol") / "mine").symlink_to(tmp_path)
    os.mkfifo(exchange("dave") / "pipe")
    exchange("..")
    exchange("erin", said="no time at all")
    exchange("")
    exchange("alice")
    assert start(CollectApp) == 0
    assert submitted(ready) == {"alice": "1", "erin": "1"} == dict.fromkeys(times(ready), "1")
    assert not (ready.grading / NAME).exists()
    assert not any("secret" in path.read_text() for path in (ready.grading / "submitted").rglob("*.txt"))
