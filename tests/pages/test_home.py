"""Home in process."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).parents[2]


def open_home() -> AppTest:
    return AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()


def html_of(app: AppTest) -> str:
    return "".join(element.proto.body for element in app.get("html"))


def text_of(app: AppTest) -> str:
    return "\n".join(element.value for element in [*app.markdown, *app.caption])


def test_draws_an_attack_on_arrival(app: AppTest) -> None:
    assert not app.exception
    html = html_of(app)
    assert "submodels fooled" in html
    assert html.count("<img ") == 3
    assert html.count("<tr") == 1 + 3 + 1  # heads, submodels, mixture


def test_names_the_bundled_sample_and_offers_the_full_data(sample_only: Path) -> None:
    app = open_home()
    assert not app.exception
    assert "bundled sample, 1,000 test images" in text_of(app)
    assert [button.label for button in app.button] == ["Get CIFAR-10"]


def test_without_checkpoints_says_what_to_do(folders: Path) -> None:
    shutil.rmtree(folders / "checkpoints")
    app = open_home()
    assert not app.exception
    assert "No checkpoint yet" in app.info[0].value


def test_a_card_with_foreign_results_does_not_take_the_page_down(folders: Path) -> None:
    good = folders / "checkpoints" / "vanilla-3xconv-s0"
    shutil.copytree(good, folders / "checkpoints" / "odd")
    card = json.loads((good / "card.json").read_text())
    (folders / "checkpoints" / "odd" / "card.json").write_text(json.dumps({**card, "results": [1]}))
    app = open_home()
    assert not app.exception and not app.error
    assert "submodels fooled" in html_of(app)
    assert "odd" in app.warning[0].value


def test_broken_checkpoints_do_not_take_the_others_down(folders: Path) -> None:
    (folders / "checkpoints" / "foreign").mkdir()
    app = open_home()
    assert not app.exception
    assert "submodels fooled" in html_of(app)
    assert "foreign" in app.warning[0].value
