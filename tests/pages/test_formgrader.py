"""A grader's way through the formgrader in headless Chromium, over a class with a hostile submission in it.

Skipped where Chromium or its driver is missing (Debian: `apt-get install chromium chromium-driver`).
"""

import json
import os
import re
import secrets
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pytest
from browser import BROWSER, DRIVER, FLAGS, NEEDED, webdriver
from classroom import RIGHT, filled, hand_in, released, run, scores
from hostile import CONFIG, FILE, PIXEL, RUN, hostile
from nbgrader.converters import Autograde
from small_course import HIDDEN, NAME, course

from autograde.course import Course
from autograde.grading.gradebook import open_gradebook
from autograde.pages.formgrader import HANDLERS

pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason=NEEDED)
__all__ = ["course", "released"]
START_SECONDS = 600.0  # for the server to answer
COURSE = """
from pathlib import Path

import autograde.course
from autograde.grading.nbgrader_config import configure

autograde.course.HIDDEN = Path(__file__).parent / "hidden"
configure(c, Path(__file__).parent)
"""
# What runs where a name is taken for HTML: a file of its own, on the page; a script, in a message box.
ODD_NAMES = ('x"><script src=evil.js>', "<script>window.ran=1;<!--#")
PASTED = r"As $\bar x$ is: ![drawn](attachment:my%20drawing.png)"
WRONG = {**RIGHT, "running-mean": "class RunningMean:\n    pass\n", "why-mean": PASTED}


@dataclass
class Site:
    """A running Jupyter server over a course, and a browser that is logged in to it."""

    course: Course
    address: str
    browser: "webdriver.Chrome"

    def open(self, path: str) -> None:
        self.browser.get(f"{self.address}/formgrader/{path}")

    def js(self, code: str) -> object:
        return self.browser.execute_script(f"return {code}")

    def wait(self, condition: str, seconds: float = 300) -> None:
        end = time.monotonic() + seconds
        while not self.js(f"!!({condition})"):
            assert time.monotonic() < end, condition
            time.sleep(0.1)

    def click(self, selector: str) -> None:
        self.browser.find_element("css selector", selector).click()

    def submission(self, student: str) -> None:
        with open_gradebook(self.course) as gradebook:
            identity = gradebook.find_submission_notebook(NAME, NAME, student).id
        self.open(f"submissions/{identity}/?index=0")
        self.wait("window.formgrader && formgrader.grades && formgrader.grades.loaded")

    def picture(self, name: str) -> None:
        """For looking at by hand, where FORMGRADER_PICTURES names a folder."""
        if folder := os.environ.get("FORMGRADER_PICTURES"):
            height = min(8000, int(self.js("document.documentElement.scrollHeight")))
            self.browser.set_window_size(1300, max(800, height))
            self.browser.save_screenshot(f"{folder}/{name}.png")
            self.browser.set_window_size(1300, 1000)

    def complaints(self) -> list[str]:
        """The console's warnings and errors since the last call."""
        rows = [row for row in self.browser.get_log("browser") if row["level"] in ("WARNING", "SEVERE")]
        return [row["message"] for row in rows]

    def foreign(self) -> list[str]:
        """The addresses outside the server that the pages asked for since the last call."""
        events = [json.loads(row["message"])["message"] for row in self.browser.get_log("performance")]
        asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return [url for url in asked if url.startswith("http") and not url.startswith(self.address)]

    def assert_inert(self, page: str) -> None:
        """No script of the submission ran: no flag, no new title, no dialog (which would raise here)."""
        assert (self.js("window.ran === undefined"), self.js("document.title") != "ran") == (True, True), page


def _class(course: Course) -> None:
    (course.root / "nbgrader_config.py").write_text(COURSE)
    drawn = filled(course, WRONG)
    (answer,) = (cell for cell in drawn.cells if cell.source == PASTED)
    answer.attachments = {"my drawing.png": {"image/png": PIXEL}}
    hand_in(course, "ann", drawn)
    folder = hand_in(course, "mallory", hostile(filled(course, RIGHT))).parent
    (folder / FILE).write_text(f"<title>file</title><body>file</body><script>{RUN}</script>")
    (folder / "nbgrader_config.py").write_text(CONFIG)
    (folder / "<img src=x onerror=alert(1)>.txt").write_text("a name")
    run(course, Autograde)


@pytest.fixture
def address(released: Course, tmp_path: Path) -> Iterator[str]:
    """The address of a Jupyter server with the formgrader in the graded course; the token is `secret`."""
    _class(released)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    homes = ("HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    private = {name: str(tmp_path / "home" / name) for name in homes}
    command = [
        *(sys.executable, "-m", "jupyter", "server", "--no-browser", "--allow-root", "--ip=127.0.0.1"),
        *(f"--port={port}", "--ServerApp.port_retries=0", "--ServerApp.default_url=/formgrader"),
        "--IdentityProvider.token=secret",
        "--ServerApp.jpserver_extensions={'nbgrader.server_extensions.formgrader': True}",
    ]
    with open(tmp_path / "server.log", "wb") as log:
        server = subprocess.Popen(
            command, cwd=released.root, env={**os.environ, **private}, stdout=log, stderr=log
        )
        try:
            _await(f"http://127.0.0.1:{port}/api", server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(300)


def _await(url: str, server: subprocess.Popen) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        assert server.poll() is None
        try:
            urllib.request.urlopen(url, timeout=60)
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server did not start")


@pytest.fixture
def site(released: Course, address: str, tmp_path: Path) -> Iterator[Site]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'browser'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.set_capability("unhandledPromptBehavior", "ignore")
    browser = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        browser.set_page_load_timeout(600)
        browser.get(f"{address}/login")
        browser.find_element("css selector", "#password_input").send_keys("secret")
        browser.find_element("css selector", "#login_submit").click()
        site = Site(released, address, browser)
        site.wait("!location.pathname.startsWith('/login')")
        yield site
    finally:
        browser.quit()


def test_a_grader_opens_reads_grades_and_regrades(site):
    site.open("manage_assignments")
    site.wait(f"document.body.innerText.includes('{NAME}')")
    assert "exchange" not in str(site.js("document.body.innerText"))
    site.picture("1-assignments")
    site.submission("ann")
    text = str(site.js("document.body.innerText"))
    assert "running-mean: 0 of 8 points" in text and "FAILED  Two numbers." in text
    assert "passed  Weights count." in text
    assert "0.75" not in text and HIDDEN.splitlines()[-1].strip() not in text
    assert site.js("document.getElementById('test-weighted-mean').placeholder") == "12"
    assert text.index("Rubric, for graders only") < text.index("sum of the squared distances")
    assert site.js("document.querySelectorAll('math mover').length") == 1
    assert site.js("document.querySelector('img[alt=drawn]').naturalWidth") == 1, "a pasted picture"
    site.picture("2-submission")
    site.click(".help span")
    site.wait("document.querySelector('.modal.in')")  # the shortcuts, which nbgrader sets up last
    site.click(".modal.in .btn-primary")
    site.wait("!document.querySelector('.modal')")
    _grade_by_hand(site, "1.5")
    assert scores(site.course)["ann"] == 13.5
    site.picture("3-graded")
    _autograde(site, "ann")
    assert scores(site.course)["ann"] == 13.5
    assert site.complaints() == [] == site.foreign()


def _grade_by_hand(site: Site, points: str) -> None:
    field = site.browser.find_element("css selector", "#why-mean")
    field.clear()
    field.send_keys(points, webdriver.Keys.TAB)
    site.wait("formgrader.grades.findWhere({name: 'why-mean'}).get('needs_manual_grade') === false")


def _autograde(site: Site, student: str) -> None:
    """By the button in the list of submissions."""
    site.open(f"manage_submissions/{NAME}")
    site.wait("models && models.loaded && views.length >= 2")
    assert (
        student in (names := str(site.js("document.body.innerText")))
        and "None" not in names
        and "not known" in names
    )
    site.picture("4-submissions")
    row = f"views.findIndex(v => v.model.get('student') == '{student}')"
    site.js(f"views[{row}].$autograde.find('a')[0].click()")
    site.wait("document.querySelector('.modal.in')", 120)
    site.picture("5-regraded")
    assert "Successfully autograded" in str(site.js("document.querySelector('.modal-body').innerText"))


def test_no_script_of_a_submission_runs(site):
    site.submission("mallory")
    site.picture("6-hostile")
    assert site.js("document.getElementById('why-mean').tagName") == "INPUT"
    for link in range(int(str(site.js("$('#notebook-container a').length")))):
        site.js(f"$('#notebook-container a')[{link}].dispatchEvent(new MouseEvent('mouseover'))")
    time.sleep(1)
    site.assert_inert("submission")
    assert not (site.course.root / "config-ran").exists()
    assert site.complaints() == []
    _autograde(site, "mallory")
    site.assert_inert("list")
    for page in ("manage_students/mallory", f"manage_students/mallory/{NAME}", f"gradebook/{NAME}/{NAME}"):
        site.open(page)
        time.sleep(0.5)
        site.assert_inert(page)
    assert site.complaints() == []


def test_a_name_runs_nothing(site):
    """Neither the folder's name of a student who was not graded, nor one that is in the gradebook."""
    with open_gradebook(site.course) as gradebook:
        identity = gradebook.find_submission_notebook(NAME, NAME, "ann").id
    with closing(sqlite3.connect(site.course.grading / "gradebook.db")) as tables, tables:
        for column in ("student SET id", "submitted_assignment SET student_id"):
            tables.execute(f"UPDATE {column} = ? WHERE {column.split()[-1]} = 'ann'", ODD_NAMES[:1])
    folder = site.course.grading / "autograded"
    shutil.copytree(folder / "ann", folder / ODD_NAMES[0])
    (folder / ODD_NAMES[0] / NAME / "evil.js").write_text("window.ran=1")
    (site.course.grading / "submitted" / ODD_NAMES[1] / NAME).mkdir(parents=True)
    site.open(f"submissions/{identity}/")
    site.wait("window.formgrader && formgrader.loaded")
    assert site.js("document.querySelector('a.name-shown').textContent.trim()") == ODD_NAMES[0]
    site.assert_inert("submission")
    site.open(f"manage_submissions/{NAME}")
    site.wait("models && models.loaded")
    site.js("views.find(v => v.model.get('student').includes('#')).$autograde.find('a')[0].click()")
    site.wait("document.querySelector('.modal.in')")
    assert ODD_NAMES[1] in str(site.js("document.querySelector('.modal-body').innerText"))
    site.assert_inert("message box")


def test_nbgraders_own_handlers_are_all_allowed():
    templates = Path(str(files("nbgrader.server_extensions.formgrader"))) / "templates"
    text = "".join(path.read_text() for path in templates.rglob("*") if path.is_file())
    assert set(re.findall(r"\son[a-z]+=\"([^\"]*)\"", text, re.IGNORECASE)) == set(HANDLERS)


def test_a_submissions_own_files_run_nothing_in_the_server(site):
    with open_gradebook(site.course) as gradebook:
        identity = gradebook.find_submission_notebook(NAME, NAME, "mallory").id
    site.open(f"submissions/{identity}/{FILE}")
    assert "<script>" in str(site.js("document.body.innerText")), "it is shown as text"
    site.assert_inert(FILE)
    folder = f".grading/autograded/mallory/{NAME}"
    site.browser.get(f"{site.address}/formgrader?path={folder}")
    site.wait(f"document.body.innerText.includes('{NAME}')")
    assert not list(site.course.root.rglob("config-ran"))
    for page in ("manage_students", "manage_submissions", "gradebook"):
        site.open(f"{page}/%22;window.ran=1;%22%3C%2Fscript%3E%3Cscript%3Ewindow.ran=1%3C%2Fscript%3E")
        site.assert_inert(page)


def test_the_policy_stops_what_would_pass_the_cleaning(site):
    site.submission("ann")
    name = secrets.token_hex(4)
    site.js(f"document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran{name}=1\">')")
    site.js("document.body.insertAdjacentHTML('beforeend', '<iframe src=\"/lab\"></iframe>')")
    time.sleep(1)
    assert site.js(f"window.ran{name} === undefined")
    assert any("Content Security Policy" in row for row in site.complaints())
    site.click(".name-hidden.glyphicon")
    assert site.js("$('.name-shown').is(':visible')")  # nbgrader's own handlers still work
