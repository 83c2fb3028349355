"""How long a person waits, in a real browser: python -m tests.pages.timings [TRIES].

A server of its own, warmed by one visit of each page, on the shipped checkpoints. Each figure is
the median, with the lowest and highest, from the key press or the address until what is new can be
seen. It is a measurement, no test: what else the machine does counts in it.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from tests.pages.conftest import BROWSERS, FLAGS, ROOT, serve

TWO = "ensembles=vanilla-3xconv-s0&ensembles=dverge-3xconv-s0"
TITLES = {
    "": "How robust is an ensemble?",
    "tour": "Three networks, one answer",
    "lab": "Attack lab",
    "distilled": "Distilled features",
    "regions": "Decision regions",
    "robustness": "Robustness",
    "report": "The report",
    "train": "Train",
}
PATIENCE = 90_000  # ms
PROBES = (9, 13, 21, 25, 36, 48, 55, 72, 81, 90)


def seconds(act: Callable[[], object], seen: Callable[[], None]) -> float:
    """From just before an act until what it brings is seen."""
    began = time.perf_counter()
    act()
    seen()
    return time.perf_counter() - began


def told(what: str, tries: list[float]) -> None:
    """Print one line."""
    median, low, high = statistics.median(tries), min(tries), max(tries)
    print(f"{what:46} {median:5.2f} s  ({low:.2f} to {high:.2f}, {len(tries)} tries)", flush=True)


def opening(page: Page, server: str, address: str, title: str) -> float:
    """From the address typed in to the page's heading."""
    page.goto("about:blank")
    heading = page.get_by_role("heading", name=title, exact=True)
    return seconds(
        lambda: page.goto(f"{server}/{address}", wait_until="commit"),
        lambda: expect(heading).to_be_visible(timeout=PATIENCE),
    )


def turning(page: Page, title: str) -> float:
    """From a click in the menu to the page's heading."""
    link = (
        page.get_by_test_id("stTopNav").get_by_role("link").nth(list(TITLES.values()).index(title))
    )
    heading = page.get_by_role("heading", name=title, exact=True)
    return seconds(link.click, lambda: expect(heading).to_be_visible(timeout=PATIENCE))


def changing(page: Page, box: str, value: int, seen: Callable[[], None]) -> float:
    """From Enter in a number's box to what is new."""
    field = page.get_by_role("spinbutton", name=box)
    field.fill(str(value))
    time.sleep(0.3)
    return seconds(lambda: field.press("Enter"), seen)


def attack(page: Page, server: str) -> list[float]:
    """PGD of ten steps on a new image, two ensembles: until both verdicts are of it."""
    page.goto(f"{server}/lab?{TWO}")
    expect(page.get_by_role("status")).to_have_count(2, timeout=PATIENCE)

    def seen(number: int) -> Callable[[], None]:
        caption = page.get_by_text(re.compile(f"^Test image {number},"))
        return lambda: expect(caption).to_be_visible(timeout=PATIENCE)

    return [changing(page, "Test image", number, seen(number)) for number in PROBES]


def features(page: Page, server: str) -> list[float]:
    """A new pair, fifteen features on each of two ensembles: until the last caption is of it."""
    page.goto(f"{server}/distilled?{TWO}&target-image=429")
    expect(page.get_by_text("Source: test image")).to_be_visible(timeout=PATIENCE)

    def seen(number: int) -> Callable[[], None]:
        caption = page.get_by_text(re.compile(f"^Source: test image {number},"))
        return lambda: expect(caption).to_be_visible(timeout=PATIENCE)

    return [changing(page, "Source", number, seen(number)) for number in PROBES]


def regions(page: Page, server: str) -> list[float]:
    """A new image, 61 × 61 points, eight maps: until the caption below them is of it."""
    page.goto(f"{server}/regions?{TWO}")
    expect(page.get_by_text("Test image 5,")).to_be_visible(timeout=PATIENCE)

    def seen(number: int) -> Callable[[], None]:
        caption = page.get_by_text(re.compile(f"Test image {number},"))
        return lambda: expect(caption).to_be_visible(timeout=PATIENCE)

    return [changing(page, "Test image", number, seen(number)) for number in PROBES]


def measure(page: Page, server: str, tries: int) -> None:
    for address, title in TITLES.items():
        opening(page, server, address, title)  # warms the server
        expect(page.get_by_test_id("stStatusWidget")).to_have_count(0, timeout=PATIENCE)
    for address, title in TITLES.items():
        times = [opening(page, server, address, title) for _ in range(tries)]
        told(f"/{address}, opened by its address", times)
    for title in [*TITLES.values()][1:] + [*TITLES.values()][:1]:
        told(f"{title}, from the menu", [turning(page, title)])
        expect(page.get_by_test_id("stStatusWidget")).to_have_count(0, timeout=PATIENCE)
    told("attack, PGD of 10 steps, two ensembles", attack(page, server))
    told("distilled features, 15 on each of two", features(page, server))
    told("decision regions, 61 × 61, eight maps", regions(page, server))


def main() -> None:
    tries = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    executable = next(path for name in BROWSERS if (path := shutil.which(name)))
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"{os.cpu_count()} cores; load average {load} before it began.")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        shutil.copytree(ROOT / "checkpoints", Path(folder) / "checkpoints")
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        with serve(Path(folder)) as server:
            measure(page, server, tries)
        browser.close()


if __name__ == "__main__":
    main()
