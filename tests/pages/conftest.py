"""The app for tests: in process for AppTest, and as a real server for a real browser."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
from playwright.sync_api import Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as TookTooLong
from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Own runs and checkpoints (a copy of the shipped ones) for one test."""
    shutil.copytree(ROOT / "checkpoints", tmp_path / "checkpoints")
    monkeypatch.setenv("DVERGE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("DVERGE_CHECKPOINTS", str(tmp_path / "checkpoints"))
    st.cache_resource.clear()
    st.cache_data.clear()
    return tmp_path


@pytest.fixture
def sample_only(folders: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As on a fresh machine: nothing but the bundled sample."""
    monkeypatch.setenv("DVERGE_DATA", str(folders / "no-data"))
    return folders


@pytest.fixture
def app(folders: Path) -> AppTest:
    """The app, run once on its first page."""
    return AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real server with runs and checkpoints of its own."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(ROOT / "checkpoints", folder / "checkpoints")
    with serve(folder) as address:
        yield address


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """A page of a real headless browser."""
    executable = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if executable is None:
        missing = pytest.fail if os.environ.get("DVERGE_REQUIRE_BROWSER") else pytest.skip
        missing("no Chrome or Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.set_default_timeout(60_000)
        expect.set_options(timeout=30_000)
        yield page
        browser.close()


class serve:
    """A running `streamlit run app.py` with its own folders; a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.address = f"http://localhost:{self.port}"

    def __enter__(self) -> str:
        environment = os.environ | {
            "DVERGE_RUNS": str(self.folder / "runs"),
            "DVERGE_CHECKPOINTS": str(self.folder / "checkpoints"),
        }
        options = ["--server.headless=true", f"--server.port={self.port}"]
        self.log = (self.folder / "server.log").open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "app.py", *options],
            cwd=ROOT,
            env=environment,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        wait_for(f"{self.address}/_stcore/health", self.process)
        return self.address

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()


def settle(page: Page) -> None:
    """Wait until the page's script has run to its end."""
    app = page.get_by_test_id("stApp")
    expect(app).to_have_attribute("data-test-script-state", "notRunning", timeout=90_000)


def choose_option(page: Page, box: str, option: str) -> None:
    """Choose from a list; again if the page, still building itself, closes it at once."""
    for _ in range(10):
        settle(page)
        page.get_by_role("combobox", name=box).click()
        try:
            page.get_by_role("option", name=option, exact=True).click(timeout=5_000)
            return
        except TookTooLong:
            pass
    pytest.fail(f"the list {box} did not stay open")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return int(found.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        try:
            urllib.request.urlopen(url, timeout=1)
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(url)
