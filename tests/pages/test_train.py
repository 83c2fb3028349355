"""The train page in process."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dverge import checkpoints
from dverge.data import full_data_available
from dverge.training import PRESETS, Method
from pages.widgets.train.run_table import distinct, setting_differences
from pages.widgets.train.training_settings import title_of, words_of

ROOT = Path(__file__).parents[2]
SHIPPED = [info.name for info in checkpoints.list_all(ROOT / "checkpoints")[0]]
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
    assert table["Name"].tolist() == SHIPPED
    assert set(table["State"]) == {"shipped"}
    assert table["Best accuracy"].between(50, 75).all()


def test_a_foreign_history_does_not_take_the_page_down(folders: Path) -> None:
    (folders / "checkpoints" / "vanilla-3xconv-s0" / "history.jsonl").write_text('{"loss": 1}\n')
    app = open_train()
    assert not app.exception
    assert "history.jsonl, line 1, cannot be used (" in app.warning[0].value
    assert app.dataframe[0].value["Name"].tolist() == SHIPPED


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
    assert not app.exception
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


@pytest.mark.full_data
@needs_data
@pytest.mark.parametrize("method", list(Method))
def test_each_method_offers_all_of_its_settings_as_the_report_has_them(
    method: Method, folders: Path
) -> None:
    app = open_train()
    app.segmented_control(key="new-method").set_value(method).run()
    assert not app.exception and not app.error
    report = PRESETS[method]["report"].to_dict()
    report.pop("start_digest", None)
    if "start" in report:
        report["start"] = "vanilla-3xconv-s0"
    shown = {name: app.session_state[f"new-{name}"] for name in report}
    assert shown == report
    assert not app.button(key="start-run").disabled
    assert any("ms a batch of 32 for 3 submodels" in each.value for each in app.caption)


@pytest.mark.full_data
@needs_data
@pytest.mark.parametrize(
    ("method", "preset"),
    [(method, preset) for method in Method for preset in PRESETS[method] if preset != "report"],
)
def test_each_preset_can_be_started(method: Method, preset: str, folders: Path) -> None:
    app = open_train()
    app.segmented_control(key="new-method").set_value(method).run()
    app.segmented_control(key="new-preset").set_value(preset).run()
    assert not app.exception and not app.error
    for name, value in PRESETS[method][preset].to_dict().items():
        if not name.startswith("start"):
            assert app.session_state[f"new-{name}"] == value
    start = "dverge-advt-3xconv-s0" if preset == "tuned" else "vanilla-3xconv-s0"
    assert "new-start" not in app.session_state or app.session_state["new-start"] == start
    assert not app.button(key="start-run").disabled


@pytest.mark.full_data
@needs_data
def test_more_submodels_than_the_start_has_are_refused_before_anything_starts(
    folders: Path,
) -> None:
    app = open_train()
    app.segmented_control(key="new-method").set_value(Method.DVERGE).run()
    app.number_input(key="new-members").set_value(5).run()
    assert not app.exception
    assert "checkpoint 'vanilla-3xconv-s0' to start from has 3" in app.error[0].value
    assert app.button(key="start-run").disabled
    app.selectbox(key="new-start").set_value("fresh submodels").run()
    assert not app.error and not app.button(key="start-run").disabled


def test_settings_that_differ_are_laid_side_by_side() -> None:
    settings = {
        "one": {"Method": "DVERGE", "Epochs": "5", "Seed": "0"},
        "two": {"Method": "Vanilla", "Epochs": "5"},
    }
    found = setting_differences(settings)
    assert found.to_dict("index") == {
        "Method": {"one": "DVERGE", "two": "Vanilla"},
        "Seed": {"one": "0", "two": "–"},
    }
    assert setting_differences({"one": {"Seed": "1"}, "two": {"Seed": "1"}}).empty


def test_trainings_of_one_name_are_told_apart() -> None:
    assert distinct(["a", "b", "a", "a"]) == ["a", "b", "a (2)", "a (3)"]


@pytest.mark.parametrize("method", list(Method))
def test_every_field_of_every_method_has_a_title_and_words(method: Method) -> None:
    for name, value in PRESETS[method]["report"].to_dict().items():
        if name != "start_digest":
            assert title_of(name) != name
            assert words_of(name, value)
