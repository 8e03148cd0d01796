"""A learner's way through the first lesson in JupyterLab in headless Chromium: run all, move a slider, look.

Skipped where Chromium or its driver is missing (Debian: `apt-get install chromium chromium-driver`).
"""

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from browser import BROWSER, DRIVER, FLAGS, NEEDED, webdriver
from course_root import COURSE
from lab_server import server

__all__ = ["server"]  # the fixture: the lab of the fixture `course` below
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason=NEEDED)
FIRST = COURSE.names()[0]
SLIDER = ".jp-OutputArea .widget-slider"
FIGURE = ".jp-OutputArea .jupyter-widgets img"


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course folder, the current one, with the first lesson up to its sliders; its cells compute little."""
    notebook = nbformat.read(COURSE.lesson(FIRST), 4)
    last = next(n for n, cell in enumerate(notebook.cells) if "= interact(" in cell.source)
    del notebook.cells[last + 1 :]
    (tmp_path / "lessons" / FIRST).mkdir(parents=True)
    nbformat.write(notebook, tmp_path / "lessons" / FIRST / f"{FIRST}.ipynb")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENMAP_SETTING", "smoke")
    return tmp_path


@pytest.fixture
def browser(server: Iterator[str], tmp_path: Path) -> Iterator["webdriver.Chrome"]:
    """A browser with the first lesson open in the lab."""
    address = next(found[0] for line in server if (found := re.search(r"http://127\.0\.0\.1\S+", line)))
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'browser'}"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        browser.get(address)
        click(browser, ".jp-NotebookPanel .jp-MarkdownCell")  # a page without focus has no current notebook
        yield browser
    finally:
        browser.quit()


def until(condition: Callable[[], object], seconds: float = 600) -> object:
    """What the condition gives, once it gives something."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(condition)
        time.sleep(0.1)
    return found


def picture(browser: "webdriver.Chrome", name: str) -> None:
    """For looking at by hand, where JUPYTERLAB_PICTURES names a folder."""
    if folder := os.environ.get("JUPYTERLAB_PICTURES"):
        time.sleep(1)
        browser.save_screenshot(f"{folder}/{name}.png")


def all_of(browser: "webdriver.Chrome", selector: str, what: str) -> list[str]:
    """This property of every element, read in one go: JupyterLab puts new elements in their places."""
    script = f"return [...document.querySelectorAll(arguments[0])].map(each => each.{what})"
    return browser.execute_script(script, selector)


def at_rest(browser: "webdriver.Chrome") -> bool:
    """Whether a kernel is there, connected, and has nothing left to run; what is run earlier can be lost."""
    (status,) = all_of(browser, "#jp-main-statusbar", "innerText") or [""]
    queue = all_of(browser, ".jp-Notebook-ExecutionIndicator", "dataset.status")
    return "Python 3 (ipykernel) | Idle" in status and queue == ["idle"]


def click(browser: "webdriver.Chrome", selector: str) -> None:
    until(lambda: browser.find_elements("css selector", selector))[0].click()


def run_all(browser: "webdriver.Chrome") -> None:
    """By the menu, as a learner does, who does it again where nothing happens; to the end."""
    for seconds in (120, 120, 600):
        until(lambda: at_rest(browser))
        click(browser, ".lm-MenuBar-item:nth-child(4)")
        click(browser, "[data-command='runmenu:run-all']")
        with contextlib.suppress(TimeoutError):
            until(lambda: all_of(browser, FIGURE, "src"), seconds)
            break
    else:
        raise AssertionError(f"nothing ran; the page says {all_of(browser, 'body', 'innerText')}")
    until(lambda: at_rest(browser))


def test_a_slider_moves_the_figure(browser):
    run_all(browser)
    slider = browser.find_elements("css selector", SLIDER)[-1]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", slider)
    before, text = all_of(browser, FIGURE, "src"), slider.text
    assert len(before) == 1 and before[0].startswith("data:image/png;base64,")
    picture(browser, "1-before")
    slider.find_element("css selector", ".noUi-handle").send_keys(*[webdriver.Keys.ARROW_RIGHT] * 5)
    until(lambda: all_of(browser, FIGURE, "src") not in ([], before))
    assert slider.text != text
    picture(browser, "2-after")
    browser.set_window_size(1000, 1000)
    page = browser.find_element("css selector", ".jp-WindowedPanel-outer")
    browser.execute_script("arguments[0].scrollTop = 0", page)
    until(lambda: all_of(browser, ".jp-InputPlaceholder", "innerText"))  # the setup cell, folded up
    picture(browser, "3-narrow")
    wider = browser.execute_script("return arguments[0].scrollWidth - arguments[0].clientWidth", page)
    assert wider <= 1, "a cell may scroll sideways; the notebook does not"
