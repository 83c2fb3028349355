"""Home in process."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.pages.screen import VANILLA, bodies, errors, html, open_page, text


def test_draws_an_attack_on_arrival_and_offers_the_full_data(shipped: Path) -> None:
    app = open_page("home")
    assert errors(app) == []
    assert "submodels fooled" in html(app)
    assert html(app).count("<img ") == 3
    assert html(app).count("<tr") == 1 + 3 + 1  # heads, submodels, mixture
    assert "bundled sample, 1,000 test images" in text(app)
    assert [button.label for button in app.button] == ["Get CIFAR-10"]


def test_broken_checkpoints_are_named_and_the_others_shown(folders: Path) -> None:
    root = folders / "checkpoints"
    (root / "foreign").mkdir()
    shutil.copytree(root / VANILLA, root / "odd")
    card = json.loads((root / VANILLA / "card.json").read_text())
    (root / "odd" / "card.json").write_text(json.dumps({**card, "results": [1]}))
    app = open_page("home")
    assert errors(app) == []
    assert len(bodies(app, "submodels fooled")) == 1
    assert "foreign" in text(app) and "odd" in text(app)
    shutil.rmtree(root)
    app = open_page("home")
    assert not app.exception and not bodies(app, "submodels fooled")
    assert "No checkpoint yet" in app.info[0].value
