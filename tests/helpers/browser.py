"""Headless Chromium, driven by selenium; what imports this is skipped where selenium is missing."""

import shutil

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install -e .[dev]")
BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
NEEDED = "needs chromium and chromedriver"
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--window-size=1300,1000"),
    *("--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
)
