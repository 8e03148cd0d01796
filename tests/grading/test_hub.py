"""A class on a hub, by the page autograde/HUB.md: from the release to the feedback that comes back."""

import re
from pathlib import Path

from classroom import HALF, RIGHT
from hub import Hub, User, hub
from hub_class import COLLECT, HIDDEN_CODE, NOTEBOOK, RELEASE, answer, failed, lesson, pages, released
from hub_site import commands
from small_course import NAME

__all__ = ["hub"]


def test_a_lesson_goes_out_and_its_feedback_comes_back(hub):
    assert len(commands("A lesson")) == RELEASE + COLLECT
    released(hub)
    ann, bob = hub.user("ann"), hub.user("bob")
    assert set(ann.assignments()) == {"released"}
    for user in (ann, bob):
        assert set(user.act("fetch")) == {"fetched"}
    tests = {"# test weighted-mean: 12 points", "# test running-mean: 8 points"}
    untouched = failed(ann.validate(NOTEBOOK))
    assert set(untouched) == tests | {"Why the mean?"}
    assert all("NotImplementedError" in untouched[name] for name in tests)
    answer(ann, RIGHT)
    answer(bob, {**HALF, "weighted-mean": "def weighted_mean(x, w):\n    return 0\n"})
    assert ann.validate(NOTEBOOK) == {}, "public asserts hold"
    (said,) = failed(bob.validate(NOTEBOOK)).values()
    assert "equal weights give the mean" in said, "the assert says what to look at"
    for user in (ann, bob):
        assert len(user.act("submit")["submitted"]["submissions"]) == 1
    said = lesson(hub, slice(RELEASE, None))
    assert said.count("Feedback released: ") == 2
    for user, points in ((ann, 20), (bob, 8)):
        (sent,) = user.act("fetch_feedback")["submitted"]["submissions"]
        assert sent["has_local_feedback"]
        (page,) = pages(user).values()
        assert re.search(rf"\b{points}\b", page) and user.name in page and "script" not in page
    _corrected(hub, bob)
    _nothing_hidden(hub)


def _corrected(hub: Hub, bob: User) -> None:
    """Handed in again: a page that is about what was there before is not given back."""
    answer(bob, RIGHT)
    bob.act("submit")
    lines = commands("A lesson")
    assert f"Collected: {bob.name} {NAME} (replaced)" in hub.site.grade(lines[RELEASE])
    said = hub.site.grade(lines[-1])
    assert f"No feedback: {bob.name}: changed since it was graded" in said
    lesson(hub, slice(RELEASE, None))
    assert len(bob.act("fetch_feedback")["submitted"]["submissions"]) == 2
    first, second = (page for _, page in sorted(pages(bob).items()))
    assert first != second and re.search(r"\b20\b", second)


def _nothing_hidden(hub: Hub) -> None:
    """Nothing that students can read holds code of a hidden test or the course's secret."""
    site = hub.site
    secrets = [*HIDDEN_CODE, (site.course / ".grading" / "secret").read_bytes()]
    readable = [
        site.exchange,
        site.root / "opt" / "genmap" / "etc",
        *(site.of(who) for who in ("ann", "bob")),
    ]
    files = [path for top in readable for path in top.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files if any(secret in path.read_bytes() for secret in secrets)]


def test_the_formgraders_buttons_release_collect_and_give_back(hub):
    released(hub)
    grader, cleo = hub.user("grader"), hub.user("cleo")
    (row,) = grader.value("GET", "formgrader/api/assignments")
    assert row["releaseable"] and row["status"] == "released"
    page = grader.session.get(f"{grader.base}/formgrader/manage_assignments").text
    assert "td.release," not in page, "the columns are there"
    press(grader, "unrelease")
    assert cleo.assignments() == {}
    press(grader, "release")
    cleo.act("fetch")
    cleo.act("submit")
    assert f"Collected: {cleo.name} {NAME} (new)" in press(grader, "collect")
    assert f"No feedback: {cleo.name}: not graded" in press(grader, "release_feedback")
    lesson(hub, slice(RELEASE + 1, RELEASE + 2))
    assert f"Feedback released: {cleo.name} {NAME}" in press(grader, "release_feedback")
    cleo.act("fetch_feedback")
    (page,) = pages(cleo).values()
    assert cleo.name in page


def press(grader: User, button: str) -> str:
    """A button of the formgrader's first page; the log that it shows."""
    done = grader.value("POST", f"formgrader/api/assignment/{NAME}/{button}")
    assert done["success"], done["log"]
    return done["log"]


def test_every_place_of_the_page_is_as_it_says(hub):
    site = hub.site
    modes = {site.course: 0o700, site.exchange: 0o1777, site.of("ann"): 0o700}
    assert {path: path.stat().st_mode & 0o7777 for path in modes} == modes
    assert not list(Path(site.root / "opt").rglob("autograde"))
