"""The train page in process."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dverge.data import full_data_available

ROOT = Path(__file__).parents[2]
needs_data = pytest.mark.skipif(not full_data_available(), reason="needs all of CIFAR-10")


def open_train() -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    return app.switch_page("pages/train.py").run()


def test_without_the_data_says_what_to_do(sample_only: Path) -> None:
    app = open_train()
    assert not app.exception
    assert "Training needs all of CIFAR-10" in app.info[0].value


def test_shipped_curves_are_listed(folders: Path) -> None:
    table = open_train().dataframe[0].value
    assert table["Name"].tolist() == ["vanilla-3xconv-s0"]
    assert table["State"].tolist() == ["shipped"]
    assert table["Best accuracy"].between(60, 75).all()


def test_a_foreign_history_does_not_take_the_page_down(folders: Path) -> None:
    (folders / "checkpoints" / "vanilla-3xconv-s0" / "history.jsonl").write_text('{"loss": 1}\n')
    app = open_train()
    assert not app.exception
    assert "a row of its history.jsonl is no epoch's figures" in app.error[0].value
    assert app.dataframe[0].value["Name"].tolist() == ["vanilla-3xconv-s0"]


@pytest.mark.full_data
@needs_data
def test_says_how_long_it_will_take(folders: Path) -> None:
    captions = [element.value for element in open_train().caption]
    assert any("About **" in text and "ms a batch of 32" in text for text in captions)


@pytest.mark.full_data
@needs_data
def test_presets_fill_the_fields(folders: Path) -> None:
    app = open_train()
    app.segmented_control(key="new-preset").set_value("quick").run()
    assert app.number_input(key="new-epochs").value == 5
    assert app.number_input(key="new-training_images").value == 10_000


@pytest.mark.full_data
@needs_data
def test_bad_settings_are_said_at_once_and_cannot_be_started(folders: Path) -> None:
    app = open_train()
    app.number_input(key="new-training_images").set_value(10_000).run()
    app.number_input(key="new-batch_size").set_value(40_000).run()
    assert not app.exception
    assert app.error[0].value == (
        "Batch_size is 40000; it must be a whole number from 1 to 10,000."
    )
    assert app.button(key="start-run").disabled


@pytest.mark.full_data
@needs_data
def test_a_bad_name_is_said(folders: Path) -> None:
    app = open_train()
    app.text_input(key="new-name").set_value("../up").run()
    app.button(key="start-run").click().run()
    assert "name is '../up'" in app.error[0].value.lower()
    assert not (folders / "runs").exists()
