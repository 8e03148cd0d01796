"""A user of the hub in headless Chromium: signs in, and uses pages by what is written on them."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from browser import BROWSER, DRIVER, FLAGS, webdriver
from hub import Hub

SECONDS = 300.0
FIND = """
const wanted = arguments[0], among = document.querySelectorAll(arguments[1]);
const fits = one => one.textContent.trim().startsWith(wanted) && one.getClientRects().length;
return [...among].filter(fits)[0] || null;
"""


class Window:
    """A browser's window, signed in as a user of the hub."""

    def __init__(self, browser: "webdriver.Chrome", hub: Hub, who: str) -> None:
        self.browser, self.hub, self.who = browser, hub, who

    def sign_in(self) -> None:
        """By the hub's form; then JupyterLab opens."""
        self.browser.get(f"{self.hub.address}/hub/login")
        for field, text in (("username", self.hub.site.name(self.who)), ("password", self.hub.site.password)):
            self.browser.find_element("name", field).send_keys(text)
        self.browser.find_element("id", "login_submit").click()
        self.find("File", ".lm-MenuBar-itemLabel")

    def find(self, text: str, among: str = "button, a, .lm-Menu-itemLabel") -> object:
        """What begins with a text, among the visible elements of a selector; it is waited for."""
        end = time.monotonic() + SECONDS
        while (found := self.browser.execute_script(FIND, text, among)) is None:
            assert time.monotonic() < end, (text, self.text()[-3000:])
            time.sleep(0.2)
        return found

    def click(self, text: str, among: str = "button, a, .lm-Menu-itemLabel") -> None:
        """Press what begins with a text."""
        self.browser.execute_script("arguments[0].click()", self.find(text, among))

    def menu(self, name: str, entry: str) -> None:
        """An entry of a menu of JupyterLab's."""
        actions = webdriver.ActionChains(self.browser)
        actions.move_to_element(self.find(name, ".lm-MenuBar-itemLabel")).click().perform()
        label = self.find(entry, ".lm-Menu-itemLabel")
        webdriver.ActionChains(self.browser).move_to_element(label).click().perform()

    def enter_frame(self, address: str) -> None:
        """Go into the frame that shows an address; what follows is about it."""
        self.find("", f"iframe[src*={address}]")
        self.browser.switch_to.frame(self.browser.find_element("css selector", f"iframe[src*={address}]"))

    def says(self, word: str) -> None:
        """Wait until the page says something."""
        end = time.monotonic() + SECONDS
        while word not in self.text():
            assert time.monotonic() < end, (word, self.text()[-3000:])
            time.sleep(0.2)

    def gone(self, selector: str) -> None:
        """Wait until nothing of a selector is to be seen."""
        end = time.monotonic() + SECONDS
        while self.browser.execute_script(FIND, "", selector) is not None:
            assert time.monotonic() < end, selector
            time.sleep(0.2)

    def text(self) -> str:
        """All that the page says."""
        return str(self.browser.execute_script("return document.body.innerText"))

    def picture(self, name: str) -> None:
        """For looking at by hand, where HUB_PICTURES names a folder."""
        if folder := os.environ.get("HUB_PICTURES"):
            self.browser.save_screenshot(f"{folder}/{name}.png")


@contextmanager
def window(hub: Hub, who: str) -> Iterator[Window]:
    """A window of a user who is signed in."""
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in FLAGS:
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    browser.set_script_timeout(SECONDS)
    try:
        found = Window(browser, hub, who)
        found.sign_in()
        yield found
    finally:
        browser.quit()
