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
from playwright.sync_api import Browser, Page, expect, sync_playwright

from pages.widgets.shared.resources import download, run_manager

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
    """Own runs and checkpoints (a copy of the shipped ones) for one test that changes them."""
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


@pytest.fixture(scope="session")
def shipped_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the shipped checkpoints, which no test changes."""
    folder = tmp_path_factory.mktemp("shipped")
    shutil.copytree(ROOT / "checkpoints", folder / "checkpoints")
    return folder


@pytest.fixture
def shipped(shipped_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped checkpoints and the bundled sample, with the app's caches as they are.

    The caches are keyed by content, so that tests share what is computed of equal weights.
    """
    monkeypatch.setenv("DVERGE_RUNS", str(shipped_folder / "runs"))
    monkeypatch.setenv("DVERGE_CHECKPOINTS", str(shipped_folder / "checkpoints"))
    monkeypatch.setenv("DVERGE_DATA", str(shipped_folder / "no-data"))
    run_manager.clear()
    download.clear()
    return shipped_folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real headless browser."""
    executable = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if executable is None:
        missing = pytest.fail if os.environ.get("DVERGE_REQUIRE_BROWSER") else pytest.skip
        missing("no Chrome or Chromium on this machine")
    expect.set_options(timeout=90_000)  # for a busy machine
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of the browser, with nothing remembered."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(90_000)
    yield page
    context.close()


@pytest.fixture(scope="session")
def served_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs and checkpoints of the one server that most walks share."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(ROOT / "checkpoints", folder / "checkpoints")
    return folder


@pytest.fixture(scope="session")
def server(served_folder: Path) -> Iterator[str]:
    """Address of that server."""
    with serve(served_folder) as address:
        yield address


class serve:
    """A running `streamlit run app.py` with its own folders; a context manager."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.address = f"http://localhost:{self.port}"
        self.environment = environment

    def __enter__(self) -> str:
        folders = {
            "DVERGE_RUNS": str(self.folder / "runs"),
            "DVERGE_CHECKPOINTS": str(self.folder / "checkpoints"),
        }
        options = ["--server.headless=true", f"--server.port={self.port}"]
        self.log = (self.folder / "server.log").open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "app.py", *options],
            cwd=ROOT,
            env=os.environ | folders | self.environment,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        wait_for(f"{self.address}/_stcore/health", self.process)
        return self.address

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return int(free.getsockname()[1])


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
