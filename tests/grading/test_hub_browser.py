"""A student's and the instructor's way through JupyterLab on a hub, in headless Chromium."""

import pytest
from browser import BROWSER, DRIVER, NEEDED
from hub import Hub, hub
from hub_class import lesson, released
from hub_window import Window, window
from small_course import NAME

__all__ = ["hub"]
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason=NEEDED)


def in_formgrader(page: Window) -> None:
    """Open the formgrader, which stands in a frame, and wait for the row of the lesson."""
    page.menu("Nbgrader", "Formgrader")
    page.enter_frame("formgrader")
    page.find(NAME, "td")


def press(page: Window, column: str) -> None:
    """A button of the lesson's row; what it says is looked at and closed."""
    page.click("", f"td.{column} a")
    page.find("Success", ".modal-title")
    page.picture(f"formgrader-{column}")
    page.click("OK", ".modal button")
    page.gone(".modal-title")


def test_pages_of_the_assignment_list_and_the_formgrader(hub: Hub):
    released(hub)
    with window(hub, "dora") as page:
        page.menu("Nbgrader", "Assignment List")
        page.picture("assignments-released")
        page.click("Fetch", "button")
        page.find("Submit", "button")
        page.picture("assignments-fetched")
        page.click("Submit", "button")
        page.says("UTC")  # when it was handed in
        page.picture("assignments-submitted")
    with window(hub, "grader") as page:
        in_formgrader(page)
        page.picture("formgrader")
        press(page, "collect")
        lesson(hub, slice(3, 4))
        press(page, "release-feedback")
    with window(hub, "dora") as page:
        page.menu("Nbgrader", "Assignment List")
        page.click("Fetch Feedback", "button")
        page.find("(view feedback)", "a")
        page.picture("assignments-feedback")
        page.click("(view feedback)", "a")
        page.says(f"{NAME}.html")
        page.picture("feedback")
