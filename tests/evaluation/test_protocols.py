"""The report's protocol against an independent script, and the content of the protocols."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dverge.attacks import AttackConfig, Norm, Through
from dverge.attacks.strong import Way
from dverge.data import Split, full_data_available, load
from dverge.errors import ConfigError
from dverge.evaluation.autoattack import Square
from dverge.evaluation.blackbox import BlackBox
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.measurements import (
    Clean,
    Measurement,
    Noise,
    ProjectedGradient,
    ZeroGradient,
)
from dverge.evaluation.protocols import PLANS, EvaluationConfig, Protocol
from dverge.evaluation.strong import StrongAttack
from dverge.weights import import_weights

SHIPPED = Path(__file__).parents[2] / "checkpoints"

# --- the report's protocol as a script that uses nothing of the library ---


class PlainConv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(x.view(-1, 400)))
        return self.fc3(F.relu(self.fc2(x)))


Loss = Callable[[Tensor, Tensor], Tensor]


def log_of_mean(members: list[PlainConv], x: Tensor) -> Tensor:
    return torch.log(torch.mean(torch.stack([F.softmax(m(x), dim=1) for m in members]), dim=0))


def fgsm(loss: Loss, x: Tensor, y: Tensor) -> Tensor:
    x.requires_grad_(True)
    (g,) = torch.autograd.grad(loss(x, y), x)
    return torch.clamp(x.detach() + 0.03 * g.sign(), 0, 1)


def pgd_linf(loss: Loss, x: Tensor, y: Tensor) -> Tensor:
    for _ in range(5):
        x.requires_grad_(True)
        (g,) = torch.autograd.grad(loss(x, y), x)
        moved = x.detach() + 0.007 * g.sign()
        moved = torch.max(torch.min(moved, x.detach() + 0.03), x.detach() - 0.03)
        x = torch.clamp(moved, 0, 1)
    return x


def pgd_l2(loss: Loss, x: Tensor, y: Tensor) -> Tensor:
    for _ in range(5):
        x.requires_grad_(True)
        (g,) = torch.autograd.grad(loss(x, y), x)
        step = g / g.view(len(g), -1).norm(dim=1).view(-1, 1, 1, 1)
        x = torch.clamp(x.detach() + 0.03 * step, 0, 1)
    return x


def by_script(files: list[Path], x: Tensor, y: Tensor) -> dict[tuple[str, str], Tensor]:
    """Which images each model gets right, by model and attack."""
    members = []
    for file in files:
        member = PlainConv()
        member.load_state_dict(torch.load(file, weights_only=True))
        members.append(member.eval())
    names = [f"member-{i + 1}" for i in range(len(members))]
    losses: dict[str, Loss] = {
        name: lambda x, y, m=member: F.cross_entropy(m(x), y)  # type: ignore[misc]
        for name, member in zip(names, members, strict=True)
    }
    losses["mixture"] = lambda x, y: F.nll_loss(log_of_mean(members, x), y)
    models: dict[str, Callable[[Tensor], Tensor]] = dict(zip(names, members, strict=True))
    models["mixture"] = lambda x: log_of_mean(members, x)
    attacks = {"fgsm": fgsm, "pgd-linf": pgd_linf, "pgd-l2": pgd_l2}
    correct: dict[tuple[str, str], list[Tensor]] = {}
    for i in range(0, len(x), 128):
        part, labels = x[i : i + 128], y[i : i + 128]
        for name, loss in losses.items():
            changed = {attack: run(loss, part.clone(), labels) for attack, run in attacks.items()}
            for attack, images in {"clean": part, **changed}.items():
                with torch.no_grad():
                    answers = models[name](images).argmax(1)
                correct.setdefault((name, attack), []).append(answers == labels)
    return {key: torch.cat(parts) for key, parts in correct.items()}


full_data = pytest.mark.skipif(not full_data_available(), reason="needs all of CIFAR-10")


@pytest.mark.parametrize("name", ["vanilla-3xconv-s0", "dverge-3xconv-s0"])
@pytest.mark.parametrize(
    ("split", "count"),
    [
        (Split.SAMPLE, 130),
        pytest.param(
            Split.VALIDATION, 384, marks=[pytest.mark.slow, pytest.mark.full_data, full_data]
        ),
    ],
)
def test_the_reports_protocol_is_the_script(
    tmp_path: Path, name: str, split: Split, count: int
) -> None:
    """Image by image, from plain state dicts; another order of a sum may turn a single near tie.

    DVERGE's submodels are so sure of themselves that it matters how the mixture's logarithm is
    taken: in float32 the report's way loses some gradients that a stable one has.
    """
    files = []
    for i in (1, 2, 3):
        weights = safetensors.torch.load_file(SHIPPED / name / f"member-{i}.safetensors")
        files.append(tmp_path / f"theirs-{i}.pth")
        torch.save(weights, files[-1])
    import_weights(files, "theirs", tmp_path / "root")
    config = EvaluationConfig(("theirs",), Protocol.REPORT, split, count, seed=5, device="cpu")
    evaluation = Evaluation(config, root=tmp_path / "root")
    results = [each for finished in evaluation.run() for each in finished or []]
    assert evaluation.failures == []
    images = load(split).balanced(count)
    expected = by_script(files, images.images.float() / 255, images.labels)
    found = {(each.model, each.attack): each for each in results}
    assert found.keys() == expected.keys() | {("random-member", "clean")}
    assert len(results) == len(found) == 17
    assert {each.data for each in results} == {images.digest}
    for (model, attack), correct in expected.items():
        result = found[model, attack]
        assert result.n == count and result.split == split
        assert (result.right() != correct).sum() <= 1, (model, attack)
        assert result.accuracy == pytest.approx(100 * result.right().sum().item() / count)
        assert result.parameters.get("victim", model) == model
    assert len({found[key].accuracy for key in expected}) > 10  # else they could be mixed up unseen
    clean = [found[f"member-{i}", "clean"].accuracy for i in (1, 2, 3)]
    assert found["random-member", "clean"].accuracy == pytest.approx(sum(clean) / 3)


# --- the content of the protocols ---


LINF, L2, EIGHT = Norm.LINF, Norm.L2, 8 / 255


def strong(*budgets: tuple[Norm, float], cumulative: bool = False) -> list[Measurement]:
    return [StrongAttack(norm, eps, 0, cumulative) for norm, eps in budgets]


def pgd_of(eps: float, steps: int, restarts: int = 1) -> ProjectedGradient:
    config = AttackConfig(LINF, eps, 2.5 * eps / steps, steps, random_start=True, restarts=restarts)
    return ProjectedGradient("pgd-linf", config, thorough=restarts > 1)


def one_step(eps: float) -> ProjectedGradient:
    return ProjectedGradient("fgsm", AttackConfig(LINF, eps, eps, 1), thorough=True)


CONTENT: dict[Protocol, list[Measurement]] = {
    Protocol.STANDARD: [
        one_step(0.03),
        pgd_of(EIGHT, 50, restarts=3),
        *strong((LINF, 0.03), (LINF, EIGHT), (L2, 0.5)),
    ],
    Protocol.HEADLINE: strong((LINF, EIGHT)),
    Protocol.BLACK_BOX: [BlackBox(0.03), BlackBox(EIGHT)],
    Protocol.CURVE: strong(
        *((LINF, e) for e in (0.005, 0.01, 0.02, EIGHT, 0.04, 0.05, 0.07)),
        cumulative=True,
    ),
    Protocol.SANITY: [
        Noise(EIGHT),
        ZeroGradient(),
        one_step(EIGHT),
        *(pgd_of(EIGHT, steps) for steps in (1, 5, 10, 50)),
        *strong(*((LINF, eps) for eps in (2 / 255, 4 / 255, EIGHT, 16 / 255, 0.25))),
        Square(EIGHT),
    ],
}


@pytest.mark.parametrize("protocol", CONTENT)
def test_the_content_of_a_protocol(protocol: Protocol) -> None:
    assert EvaluationConfig(("one",), protocol).known_measurements() == [
        Clean(),
        *CONTENT[protocol],
    ]


def test_the_headlines_rows_are_those_of_the_standard_protocol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answer by answer on the same images; with short attacks."""
    few = (Way(Through.PROBABILITY, 0, 6), Way(Through.TEMPERED, 2, 4))
    for ways in ("MEMBER_WAYS", "MIXTURE_WAYS"):
        monkeypatch.setattr(f"dverge.attacks.strong.{ways}", few)
    short = [each for each in CONTENT[Protocol.STANDARD] if each.attack != "pgd-linf"]
    plan = replace(PLANS[Protocol.STANDARD], measurements=lambda seed: [Clean(), *short])
    monkeypatch.setitem(PLANS, Protocol.STANDARD, plan)
    shutil.copytree(SHIPPED / "vanilla-3xconv-s0", tmp_path / "one")
    found: dict[Protocol, dict[str, Any]] = {}
    for protocol in (Protocol.HEADLINE, Protocol.STANDARD):
        config = EvaluationConfig(("one",), protocol, Split.SAMPLE, 7, device="cpu")
        rows = [row for rows in Evaluation(config, root=tmp_path).run() for row in rows or []]
        found[protocol] = {
            json.dumps([row.model, row.attack, row.parameters]): (row.right(), row.predicted())
            for row in rows
        }
    headline, standard = found.values()
    assert len(headline) == 5 + 6
    for name, kept in headline.items():
        assert all(a.equal(b) for a, b in zip(kept, standard[name], strict=True)), name


@pytest.mark.parametrize("protocol", Protocol)
def test_measurements_differ_start_with_clean_accuracy_and_take_the_seed(
    protocol: Protocol,
) -> None:
    """Attack and parameters, as plain JSON, identify kept results."""
    measurements = EvaluationConfig(("one",), protocol, seed=77).known_measurements()
    assert measurements[0].attack == "clean"
    names = [json.dumps([m.attack, m.parameters()], sort_keys=True) for m in measurements]
    assert len(set(names)) == len(names)
    for each in measurements:
        assert json.loads(json.dumps(each.parameters())) == each.parameters()
        assert each.parameters().get("seed", 77) == 77
        assert each.cost() > 0 and each.batch_size(torch.device("cpu")) > 0
        if isinstance(each, ProjectedGradient) and each.config.random_start:
            assert each.config.seed == 77
        else:
            assert getattr(each, "seed", 77) == 77


@pytest.mark.parametrize(
    ("protocol", "settings", "split", "images"),
    [
        (Protocol.STANDARD, {}, Split.TEST, None),
        (Protocol.REPORT, {}, Split.VALIDATION, None),
        (Protocol.CURVE, {}, Split.TEST, 1000),
        (Protocol.SANITY, {}, Split.TEST, 500),
        (Protocol.HEADLINE, {}, Split.TEST, None),
        (Protocol.AUTOATTACK, {}, Split.TEST, 1000),
        (Protocol.AUTOATTACK_MEMBERS, {}, Split.TEST, 1000),
        (Protocol.BLACK_BOX, {}, Split.TEST, 1000),
        (Protocol.CURVE, {"images": 7}, Split.TEST, 7),
        (Protocol.CURVE, {"images": None}, Split.TEST, None),
        (Protocol.CURVE, {"split": Split.SAMPLE}, Split.SAMPLE, None),
        (Protocol.REPORT, {"split": "sample", "images": 5}, Split.SAMPLE, 5),
    ],
)
def test_defaults_of_a_protocol(
    protocol: Protocol, settings: dict[str, Any], split: Split, images: int | None
) -> None:
    for name in (protocol, str(protocol)):
        config = EvaluationConfig.of(("one", "two"), name, **settings)  # type: ignore[arg-type]
        assert config == EvaluationConfig(("one", "two"), protocol, split, images)
        assert isinstance(config.split, Split) and isinstance(config.protocol, Protocol)
    assert EvaluationConfig(("one",)).protocol is Protocol.STANDARD


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"checkpoints": ()}, "checkpoints is ''; it must be at least one checkpoint"),
        (
            {"protocol": "best"},
            "protocol is 'best'; it must be one of standard, headline, report",
        ),
        ({"split": "all"}, "split is 'all'; it must be one of"),
        ({"split": "train"}, "split is 'train'; it must be test, validation or sample"),
        ({"images": 0}, "images is 0; it must be a whole number from 1 to 10,000"),
        ({"images": -5}, "images is -5"),
        ({"images": 10_001}, "images is 10001"),
        ({"images": 2.5}, "images is 2.5"),
        ({"images": True}, "images is True"),
        ({"seed": -1}, "seed is -1; it must be a whole number from 0"),
        ({"seed": 2**31}, "seed is 2147483648"),
        ({"seed": None}, "seed is None"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EvaluationConfig(**{"checkpoints": ("one",), **settings})
    if "protocol" in settings:
        with pytest.raises(ConfigError, match=message):
            EvaluationConfig.of(("one",), **settings)


def test_a_config_is_read_back_from_json() -> None:
    config = EvaluationConfig(("a", "b"), Protocol.CURVE, Split.SAMPLE, 30, 4, "cpu")
    assert EvaluationConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"checkpoints": None},
        {"checkpoints": ["a"], "extra": 1},
        {"checkpoints": ["a"], "protocol": "x"},
        {"checkpoints": ["a"], "images": "many"},
    ],
)
def test_values_that_are_no_config_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"(config|protocol|images) is "):
        EvaluationConfig.from_dict(values)
