"""A view's script is run, and prints what the view shows."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from PIL import Image

from dverge import checkpoints
from dverge.attacks import (
    MIXTURE,
    AnyConfig,
    AttackConfig,
    Norm,
    StrongConfig,
    Through,
    Victim,
    fgsm,
    pgd,
)
from dverge.data import CLASSES, Split, load, read_picture
from dverge.exploration.examine import Examination, examine, model_names
from dverge.exploration.snippet import snippet
from dverge.models import compiled

NAME = "vanilla-3xconv-s0"
CASES = [
    (pgd(Norm.LINF, 8 / 255), MIXTURE, None),
    (fgsm(0.03), Victim(1), None),
    (pgd(Norm.L2, 0.5, steps=3, restarts=2, seed=4), Victim(0), None),
    (AttackConfig(Norm.LINF, 0.1, 0.03, 5, targeted=True, best_iterate=True), MIXTURE, 7),
    (pgd(Norm.LINF, 8 / 255), Victim(through=Through.LOGIT), None),
    (StrongConfig(Norm.L2, 0.25, seed=2), MIXTURE, None),
    (StrongConfig(Norm.LINF, 8 / 255), Victim(1), None),
]


def printed(code: str) -> list[str]:
    out = io.StringIO()
    with redirect_stdout(out):
        exec(compile(code, "snippet", "exec"), {})
    return out.getvalue().splitlines()


def expected_lines(outcome: Examination) -> list[str]:
    models = zip(model_names(3), outcome.after, outcome.verdicts, strict=True)
    return [f"{name}: {CLASSES[int(p.argmax())]} {p.max():.1%}, {v}" for name, p, v in models]


@pytest.mark.parametrize(("config", "victim", "target"), CASES)
def test_it_prints_the_examination(config: AnyConfig, victim: Victim, target: int | None) -> None:
    images = load(Split.SAMPLE)
    label, number = int(images.labels[4]), int(images.indices[4])
    ensemble = checkpoints.load(NAME)
    if isinstance(config, StrongConfig):  # by the kernels that the tables are computed by
        ensemble = compiled(ensemble)
    outcome = examine(ensemble, images.pixels(4), label, config, victim, target, number)
    code = snippet(NAME, label, config, victim, target, (Split.SAMPLE, number))
    assert printed(code) == expected_lines(outcome)
    assert max(map(len, code.splitlines())) <= 100


def test_the_users_own_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (40, 50), (200, 30, 90)).save(tmp_path / "your-picture.png")
    monkeypatch.setenv("DVERGE_CHECKPOINTS", str(Path(__file__).parents[2] / "checkpoints"))
    monkeypatch.chdir(tmp_path)
    pixels = read_picture((tmp_path / "your-picture.png").read_bytes())
    outcome = examine(checkpoints.load(NAME), pixels, 9, fgsm(0.03))
    assert printed(snippet(NAME, 9, fgsm(0.03), MIXTURE)) == expected_lines(outcome)


def test_a_name_with_quotes_is_written_as_python() -> None:
    code = snippet('a"b', 0, fgsm(0.03), MIXTURE, None, (Split.TEST, 1))
    assert 'checkpoints.load("a\\"b")' in code
    compile(code, "snippet", "exec")
