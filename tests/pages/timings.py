"""How long a person waits, in a real browser: python -m tests.pages.timings [REPEATS].

It starts its own server on the shipped checkpoints and visits each page once to warm it up. Each
figure is the median, with the lowest and highest, from the key press or the address until what is
new is visible. It is a measurement and no test: whatever else the machine does counts, too.
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

from playwright.sync_api import Locator, Page, expect, sync_playwright

from pages.widgets.shared.navigation import PAGES
from tests.pages.conftest import BROWSERS, FLAGS, ROOT, serve
from tests.pages.walk import settle

TWO = "ensembles=vanilla-3xconv-s0&ensembles=dverge-3xconv-s0"
HEADINGS = {"home": "How robust is an ensemble?", "tour": "Three networks, one answer"}
PATIENCE = 90_000  # ms
NUMBERS = (9, 13, 21, 25, 36, 48, 55, 72, 81, 90)  # of the images that are entered
CHANGES = (  # title, address, number box, and the caption that names the image once it is drawn
    ("attack, PGD of 10 steps, two ensembles", "lab", "Test image", "^Test image {},"),
    ("distilled features, 15 on each of two", "distilled", "Source", "^Source: test image {},"),
    ("decision regions, 61 × 61, eight maps", "regions", "Test image", "Test image {},"),
)


def seconds(act: Callable[[], object], result: Locator) -> float:
    """From just before an act until its result is visible."""
    began = time.perf_counter()
    act()
    expect(result).to_be_visible(timeout=PATIENCE)
    return time.perf_counter() - began


def report(title: str, times: list[float]) -> None:
    """Print one line."""
    median, low, high = statistics.median(times), min(times), max(times)
    print(f"{title:46} {median:5.2f} s  ({low:.2f} to {high:.2f}, {len(times)} times)", flush=True)


def opening(page: Page, address: str, heading: Locator) -> float:
    """From the typed address to the page's heading."""
    page.goto("about:blank")
    return seconds(lambda: page.goto(address, wait_until="commit"), heading)


def changing(page: Page, box: str, number: int, caption: str) -> float:
    """From Enter in a number box to what is new."""
    field = page.get_by_role("spinbutton", name=box)
    field.fill(str(number))
    time.sleep(0.3)
    return seconds(
        lambda: field.press("Enter"), page.get_by_text(re.compile(caption.format(number)))
    )


def measure(page: Page, server: str, repeats: int) -> None:
    """Measure and print everything."""
    menu = page.get_by_test_id("stTopNav").get_by_role("link")
    pages = []
    for i, (script, title, *_) in enumerate(PAGES):
        heading = page.get_by_role("heading", name=HEADINGS.get(script, title), exact=True)
        pages.append((title, f"{server}/{script if i else ''}", heading, menu.nth(i)))
    for _, address, heading, _ in pages:
        opening(page, address, heading)  # warms the server
        settle(page)
    for _, address, heading, _ in pages:
        times = [opening(page, address, heading) for _ in range(repeats)]
        report(f"{address.removeprefix(server)}, opened by its address", times)
    for title, _, heading, link in [*pages[1:], pages[0]]:
        report(f"{title}, from the menu", [seconds(link.click, heading)])
        settle(page)
    for title, script, box, caption in CHANGES:
        page.goto(f"{server}/{script}?{TWO}")
        expect(page.get_by_text(re.compile(caption.format(r"\d+")))).to_be_visible(timeout=PATIENCE)
        report(title, [changing(page, box, number, caption) for number in NUMBERS])


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    executable = next(path for name in BROWSERS if (path := shutil.which(name)))
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"{os.cpu_count()} cores; load average {load} before it began.")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        shutil.copytree(ROOT / "checkpoints", Path(folder) / "checkpoints")
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        with serve(Path(folder)) as server:
            measure(page, server, repeats)
        browser.close()


if __name__ == "__main__":
    main()
