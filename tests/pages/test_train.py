"""The train page in process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dverge import checkpoints
from dverge.data import full_data_available
from dverge.training import PRESETS, Method, total_batches
from pages.widgets.shared.run_cards import duration
from pages.widgets.train import run_form
from pages.widgets.train.run_table import distinct, setting_differences
from pages.widgets.train.training_settings import field_title, value_text
from tests.pages.conftest import ROOT
from tests.pages.screen import VANILLA, errors, open_page, text

SHIPPED = [info.name for info in checkpoints.list_all(ROOT / "checkpoints")[0]]
needs_data = pytest.mark.skipif(not full_data_available(), reason="needs all of CIFAR-10")


def opened(method: Method | None = None) -> AppTest:
    app = open_page("train")
    if method is not None:
        app.segmented_control(key="new-method").set_value(method).run()
    return app


@pytest.fixture
def with_data(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped checkpoints, and the full data."""
    monkeypatch.delenv("DVERGE_DATA")
    return shipped


def test_without_the_data_it_says_what_to_do_and_lists_the_shipped_curves(shipped: Path) -> None:
    app = opened()
    assert errors(app) == [] and "Training needs all of CIFAR-10" in text(app)
    table = app.dataframe[0].value
    assert table["Name"].tolist() == SHIPPED
    assert set(table["State"]) == {"shipped"}
    assert table["Best accuracy"].between(50, 75).all()


def test_a_foreign_history_does_not_take_the_page_down(folders: Path) -> None:
    (folders / "checkpoints" / VANILLA / "history.jsonl").write_text('{"loss": 1}\n')
    app = opened()
    assert not app.exception and "history.jsonl, line 1, cannot be used (" in app.warning[0].value
    assert app.dataframe[0].value["Name"].tolist() == SHIPPED


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every batch is measured to take 12.3 ms."""
    monkeypatch.setattr(run_form, "measure_batch_seconds", lambda config, images: 0.0123)
    run_form._batch_seconds.clear()
    yield
    run_form._batch_seconds.clear()


@pytest.mark.full_data
@needs_data
@pytest.mark.parametrize("method", list(Method))
def test_each_preset_fills_the_fields_and_can_be_started(
    method: Method, with_data: Path, timed: None
) -> None:
    app = opened(method)
    for preset, config in PRESETS[method].items():
        app.segmented_control(key="new-preset").set_value(preset).run()
        assert errors(app) == []
        values = config.to_dict()
        start = "dverge-advt-3xconv-s0" if preset == "tuned" else VANILLA
        if "start" in values:
            values = {k: v for k, v in values.items() if k != "start_digest"} | {"start": start}
        assert {name: app.session_state[f"new-{name}"] for name in values} == values
        assert not app.button(key="start-run").disabled
        total = duration(0.0123 * total_batches(config))
        speed = f"12.3 ms per batch of {config.batch_size} for {config.members} submodels."
        assert f"About **{total}** on " in text(app) and speed in text(app)


@pytest.mark.full_data
@needs_data
def test_bad_settings_are_said_at_once_and_cannot_be_started(with_data: Path) -> None:
    app = opened()
    assert "About **" in text(app) and "ms per batch of 32" in text(app)  # really measured
    app.text_input(key="new-name").set_value("../up").run()
    app.button(key="start-run").click().run()
    assert "name is '../up'" in errors(app)[0].lower()
    assert not (with_data / "runs").exists()

    app.segmented_control(key="new-preset").set_value("quick").run()
    assert app.number_input(key="new-epochs").value == 5
    assert app.number_input(key="new-training_images").value == 10_000
    app.number_input(key="new-batch_size").set_value(40_000).run()
    assert errors(app) == ["Batch_size is 40000; it must be a whole number from 1 to 10,000."]
    assert app.button(key="start-run").disabled

    app = opened(Method.DVERGE)
    app.number_input(key="new-members").set_value(5).run()
    assert "checkpoint 'vanilla-3xconv-s0' to start from has 3" in errors(app)[0]
    assert app.button(key="start-run").disabled
    app.selectbox(key="new-start").set_value("fresh submodels").run()
    assert not app.error and not app.button(key="start-run").disabled


def test_settings_that_differ_are_laid_side_by_side() -> None:
    settings = {
        "one": {"Method": "DVERGE", "Epochs": "5", "Seed": "0"},
        "two": {"Method": "Vanilla", "Epochs": "5"},
    }
    assert setting_differences(settings).to_dict("index") == {
        "Method": {"one": "DVERGE", "two": "Vanilla"},
        "Seed": {"one": "0", "two": "–"},
    }
    assert setting_differences({"one": {"Seed": "1"}, "two": {"Seed": "1"}}).empty


def test_trainings_of_one_name_get_numbers() -> None:
    assert distinct(["a", "b", "a", "a"]) == ["a", "b", "a (2)", "a (3)"]


@pytest.mark.parametrize("method", list(Method))
def test_every_field_of_every_method_has_a_title_and_a_text(method: Method) -> None:
    for name, value in PRESETS[method]["report"].to_dict().items():
        if name != "start_digest":
            assert field_title(name) != name
            assert value_text(name, value)
