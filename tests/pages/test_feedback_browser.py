"""A student's page in headless Chromium: it fits a phone and a wide screen, and shows pictures.

Skipped where Chromium or its driver is missing (Debian: `apt-get install chromium chromium-driver`).
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import BROWSER, DRIVER, FLAGS, NEEDED, webdriver
from classroom import RIGHT, filled, released
from hostile import PIXEL, hostile
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from small_course import NAME, course
from traitlets.config import Config

from autograde.cells import grade_id
from autograde.course import Course
from autograde.grading import term
from autograde.grading.feedback import sheet
from autograde.grading.nbgrader_config import configure
from autograde.grading.recorded import Grade, Recorded
from autograde.pages.exporter import StudentPages

pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason=NEEDED)
__all__ = ["course", "released"]
LONG = "x" * 400
TABLE = "|" + " a long heading |" * 20 + "\n|" + "---|" * 20 + "\n|" + " 123456789 |" * 20
ANSWERS = {
    **RIGHT,
    "weighted-mean": f"{RIGHT['weighted-mean']}    # {LONG}\n",
    "why-mean": f"![drawn](attachment:a.png) {LONG}\n\n{TABLE}\n\n$${'x + ' * 100}x$$",
}
GRADES = {
    "test-weighted-mean": Grade(12.0, None, 0.0, 12.0, waits=False),
    "why-mean": Grade(None, None, 0.0, 2.5, waits=True),
    "test-running-mean": Grade(0.0, None, 0.0, 8.0, waits=False),
}


def write_page(course: Course, path: Path) -> None:
    with term.change(course, NAME) as decided:
        decided.solutions, decided.excused = True, ["running-mean"]
    notebook = hostile(filled(course, ANSWERS))
    for cell in notebook.cells:
        if grade_id(cell) == "why-mean":
            cell.attachments = {"a.png": {"image/png": PIXEL}}
    wide = f"<table><tr>{'<td>123456789</td>' * 60}</tr></table>"
    outputs = [new_output("stream", text=LONG), new_output("display_data", data={"text/html": wide})]
    notebook.cells += [new_code_cell("1", outputs=outputs), new_markdown_cell(TABLE)]
    of = Recorded("alice" * 30, GRADES, {"running-mean": f"Look: {LONG}"}, 3.0, None)
    config = Config()
    configure(config, course.root)
    pages = StudentPages(config=config, template_name="classic")
    path.write_text(pages.from_notebook_node(notebook, {"feedback": sheet(course, NAME, of)})[0])


@pytest.fixture
def browser(released: Course, tmp_path: Path) -> Iterator["webdriver.Chrome"]:
    """On the page of a hostile submission full of long things."""
    write_page(released, tmp_path / "page.html")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        driver.get(f"file://{tmp_path}/page.html")
        yield driver
    finally:
        driver.quit()


def resize(browser: "webdriver.Chrome", width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    for details in browser.find_elements("css selector", "details"):
        browser.execute_script("arguments[0].open = true", details)


def test_the_page_fits_a_phone_and_a_wide_screen(browser):
    columns = {}
    for width in (390, 1200):
        resize(browser, width)
        found = browser.execute_script(
            "return [...document.querySelectorAll('body *')].filter(e => !e.closest('table, math') &&"
            f" e.getBoundingClientRect().right > {width} + 1).map(e => e.outerHTML.slice(0, 200))"
        )
        assert found == [], width
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        script = (
            "return [...document.querySelector('.pair').children].map(e => e.getBoundingClientRect().top)"
        )
        columns[width] = len({round(top) for top in browser.execute_script(script)})
    assert columns == {390: 2, 1200: 1}, "the solution is below the answer, or beside it"


def test_pictures_are_shown_and_nothing_runs_or_is_asked_for(browser):
    assert browser.execute_script("return document.querySelector('img[alt=drawn]').naturalWidth") == 1
    assert browser.execute_script("return [window.ran === undefined, document.title]") == [
        True,
        "Means: feedback",
    ]
    assert [row["message"] for row in browser.get_log("browser") if "favicon" not in row["message"]] == []


def test_dark_and_print_have_colours_of_their_own(browser):
    def paper(media: str, scheme: str) -> str:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
        return str(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))

    light = paper("screen", "light")
    assert light == "rgb(255, 255, 255)" != paper("screen", "dark")
    assert paper("print", "dark") == light
