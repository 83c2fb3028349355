"""What cannot be used is listed on the pages with its reason, and can be set aside or deleted."""

from __future__ import annotations

from pathlib import Path

from streamlit.testing.v1 import AppTest

from dverge.runs import RunFolder, RunState, Status
from tests.runs.small import CONFIG

ROOT = Path(__file__).parents[2]


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_damaged_files_are_set_aside_or_deleted(folders: Path) -> None:
    """A card, a history, a result file, a run and a run's metrics, on the page that shows all."""
    runs, root = folders / "runs", folders / "checkpoints"
    broken, kept = (RunFolder.create(runs, n, "vanilla", CONFIG.to_dict()) for n in ("x", "kept"))
    kept.write_status(Status(RunState.PAUSED))
    (result,) = (root / "dverge-3xconv-s0" / "evaluations").glob("report-*")
    card = root / "vanilla-3xconv-s1" / "card.json"
    history = root / "vanilla-3xconv-s0" / "history.jsonl"
    metrics = kept.path / "metrics.jsonl"
    for path in (broken.path / "status.json", card, result):
        path.write_text('{"nested": ' + "[" * 100_000)
    for path in (history, metrics):
        path.write_text("{}\n")

    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    assert not app.exception and not app.error
    assert [each.value.split()[0] for each in app.warning] == [
        "vanilla-3xconv-s1",
        result.name,
        history.name,
    ]
    app.switch_page("pages/train.py").run()
    assert not app.exception and not app.error
    items = [broken.path, metrics, card.parent, result, history]
    for item, warning in zip(items, app.warning, strict=True):
        assert warning.value.startswith(f"{item.name} is left out. ")
        assert str(item) in warning.value and "cannot be used (" in warning.value
    assert "kept" in app.dataframe[0].value["Name"].tolist()

    for item in (broken.path, result, metrics):
        app.button(key=f"Set aside-{item}").click().run()
        assert not app.exception and not app.error
        assert f".{item.name}.set-aside-1" in hidden(item.parent)
    for item in (card.parent, history):
        app.button(key=f"Delete permanently-{item}").click().run()
        assert not app.exception and not app.error
        assert not item.exists()
    assert hidden(root) == [] and not app.warning
    assert "kept" in app.dataframe[0].value["Name"].tolist()


def test_a_run_that_another_process_works_on_is_left_alone(folders: Path) -> None:
    folder = RunFolder.create(folders / "runs", "busy", "vanilla", CONFIG.to_dict())
    (folder.path / "run.json").write_text("{}")
    lock = folder.hold()
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    app.switch_page("pages/train.py").run()
    app.button(key=f"Set aside-{folder.path}").click().run()
    assert "is in use by another process" in app.error[0].value
    assert folder.path.exists() and not app.exception
    lock.release()
