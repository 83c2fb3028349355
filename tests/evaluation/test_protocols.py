"""The report's protocol against a script of its own, and what the protocols are made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from dverge.attacks import Norm
from dverge.data import ImageSet, Split, full_data_available, load
from dverge.errors import ConfigError
from dverge.evaluation.evaluation import Evaluation
from dverge.evaluation.measurements import Gradient, Measurement
from dverge.evaluation.protocols import EvaluationConfig, Protocol
from dverge.results import Result
from dverge.weights import import_weights

SHIPPED = Path(__file__).parents[2] / "checkpoints"

# --- the report's protocol by hand: from here to main() there is nothing of the library ---


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


def by_hand(files: list[Path], x: Tensor, y: Tensor) -> dict[tuple[str, str], Tensor]:
    """Which images each model is right on, by model and attack."""
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
    says: dict[str, Callable[[Tensor], Tensor]] = dict(zip(names, members, strict=True))
    says["mixture"] = lambda x: log_of_mean(members, x)
    attacks = {"fgsm": fgsm, "pgd-linf": pgd_linf, "pgd-l2": pgd_l2}
    found: dict[tuple[str, str], list[Tensor]] = {}
    for i in range(0, len(x), 128):
        part, labels = x[i : i + 128], y[i : i + 128]
        for name, loss in losses.items():
            changed = {attack: run(loss, part.clone(), labels) for attack, run in attacks.items()}
            for attack, images in {"clean": part, **changed}.items():
                with torch.no_grad():
                    right = says[name](images).argmax(1) == labels
                found.setdefault((name, attack), []).append(right)
    return {key: torch.cat(parts) for key, parts in found.items()}


def mean_of_draws(right: Tensor, seed: int) -> float:
    """Per cent, over 10 draws of 256."""
    generator, total = torch.Generator().manual_seed(seed), 0.0
    for _ in range(10):
        drawn = torch.randperm(len(right), generator=generator)[:256]
        total += sum(right[i].item() for i in drawn) / len(drawn)
    return 100 * total / 10


# --- and by Evaluation ---


@pytest.fixture(params=["vanilla-3xconv-s0", "dverge-3xconv-s0"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> list[Path]:
    """Plain state dicts, as somebody else would have them.

    DVERGE's submodels are so sure of themselves that it matters how the mixture's logarithm is
    taken: in float32 the report's way loses some gradients that a stable one has.
    """
    made = []
    for i in (1, 2, 3):
        weights = safetensors.torch.load_file(SHIPPED / request.param / f"member-{i}.safetensors")
        made.append(tmp_path / f"theirs-{i}.pth")
        torch.save(weights, made[-1])
    return made


def evaluated(config: EvaluationConfig, root: Path) -> list[Result]:
    evaluation = Evaluation(config, root=root)
    rows = [row for rows in evaluation.run() for row in rows or []]
    assert evaluation.failures == []
    return rows


def assert_by_hand(files: list[Path], root: Path, images: ImageSet, count: int) -> None:
    """Image for image; another order of a sum may turn a single near tie."""
    import_weights(files, "theirs", root)
    config = EvaluationConfig.of(
        ("theirs",), Protocol.REPORT, split=images.split, images=count, seed=5, device="cpu"
    )
    rows = evaluated(config, root)
    used = images.balanced(count)
    due = by_hand(files, used.images.float() / 255, used.labels)
    found = {(r.model, r.attack): r for r in rows}
    assert found.keys() == due.keys() | {("random-member", "clean")}
    assert len(rows) == len(found) == 17
    accuracies = []
    for key, right in due.items():
        figure = found[key]
        assert figure.n == len(used) and figure.split == images.split
        assert (figure.right() != right).sum() <= 1, key
        if key[1] == "clean":
            drawn = mean_of_draws(figure.right(), seed=5)
            assert figure.accuracy == pytest.approx(drawn)
        else:
            assert figure.accuracy == pytest.approx(100 * figure.right().sum().item() / len(used))
            assert figure.parameters["victim"] == key[0]
        accuracies.append(figure.accuracy)
    assert len(set(accuracies)) > 10  # else rows could be mixed up unseen
    clean = [found[name, "clean"].accuracy for name in ("member-1", "member-2", "member-3")]
    assert found["random-member", "clean"].accuracy == pytest.approx(sum(clean) / 3)
    assert {row.data for row in rows} == {used.digest}


def test_the_reports_protocol_is_the_script(files: list[Path], tmp_path: Path) -> None:
    assert_by_hand(files, tmp_path / "checkpoints", load(Split.SAMPLE), 130)


@pytest.mark.full_data
@pytest.mark.skipif(not full_data_available(), reason="needs all of CIFAR-10")
def test_the_reports_protocol_on_its_own_images(files: list[Path], tmp_path: Path) -> None:
    assert_by_hand(files, tmp_path / "checkpoints", load(Split.VALIDATION), 384)


# --- what the protocols are made of ---


def config_of(protocol: Protocol, **given: Any) -> EvaluationConfig:
    return EvaluationConfig.of(("one",), protocol, **given)


def gradients(protocol: Protocol) -> list[Gradient]:
    return [m for m in config_of(protocol).measurements() if isinstance(m, Gradient)]


def test_the_standard_protocol() -> None:
    found = [
        (m.attack, m.config.norm, m.config.eps, m.config.steps, m.config.random_start)
        for m in gradients(Protocol.STANDARD)
    ]
    linf, eight = Norm.LINF, 8 / 255
    assert found == [
        ("fgsm", linf, 0.03, 1, False),
        ("pgd-linf", linf, 0.03, 10, True),
        ("pgd-linf", linf, 0.03, 50, True),
        ("pgd-linf", linf, eight, 10, True),
        ("pgd-linf", linf, eight, 50, True),
        ("pgd-l2", Norm.L2, 0.5, 50, True),
    ]
    for each in gradients(Protocol.STANDARD):
        assert each.pessimistic and each.thorough and not each.exact
        assert (each.restarts > 1) is (each.attack != "fgsm")
        size = each.config.step_size
        assert size == pytest.approx(
            each.config.eps * (2.5 / each.config.steps if size < 0.03 else 1)
        )


def test_the_curve_rises_over_eps() -> None:
    eps = [m.config.eps for m in gradients(Protocol.CURVE)]
    assert eps == sorted(set(eps)) and len(eps) > 5
    assert {m.attack for m in gradients(Protocol.CURVE)} == {"pgd-linf"}


@pytest.mark.parametrize("protocol", [p for p in Protocol if p is not Protocol.AUTOATTACK])
def test_measurements_differ_and_begin_without_an_attack(protocol: Protocol) -> None:
    """Finished ones are known by attack and parameters."""
    measurements: list[Measurement] = config_of(protocol).measurements()
    assert measurements[0].attack == "clean"
    names = [json.dumps([m.attack, m.parameters()], sort_keys=True) for m in measurements]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("protocol", [p for p in Protocol if p is not Protocol.AUTOATTACK])
def test_the_seed_is_of_all_that_is_drawn(protocol: Protocol) -> None:
    for measurement in config_of(protocol, seed=77).measurements():
        assert measurement.parameters().get("seed", 77) == 77
        if isinstance(measurement, Gradient) and measurement.config.random_start:
            assert measurement.config.seed == 77


@pytest.mark.parametrize(
    ("protocol", "given", "split", "images"),
    [
        (Protocol.STANDARD, {}, Split.TEST, None),
        (Protocol.REPORT, {}, Split.VALIDATION, None),
        (Protocol.CURVE, {}, Split.TEST, 1000),
        (Protocol.SANITY, {}, Split.TEST, 500),
        (Protocol.AUTOATTACK, {}, Split.TEST, 1000),
        (Protocol.CURVE, {"images": 7}, Split.TEST, 7),
        (Protocol.CURVE, {"images": None}, Split.TEST, None),
        (Protocol.CURVE, {"split": Split.SAMPLE}, Split.SAMPLE, None),
        (Protocol.REPORT, {"split": "sample", "images": 5}, Split.SAMPLE, 5),
    ],
)
def test_defaults_of_a_protocol(
    protocol: Protocol, given: dict[str, Any], split: Split, images: int | None
) -> None:
    for name in (protocol, str(protocol)):
        config = EvaluationConfig.of(("one", "two"), name, **given)  # type: ignore[arg-type]
        assert config == EvaluationConfig(("one", "two"), protocol, split, images)
        assert isinstance(config.split, Split) and isinstance(config.protocol, Protocol)


def test_standard_is_the_default() -> None:
    assert EvaluationConfig(("one",)).protocol is Protocol.STANDARD


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"checkpoints": ()}, "checkpoints is ''; it must be at least one checkpoint"),
        ({"protocol": "best"}, "protocol is 'best'; it must be one of standard, report, auto"),
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
def test_settings_that_will_not_do(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EvaluationConfig(**{"checkpoints": ("one",), **given})
    if "protocol" in given:
        with pytest.raises(ConfigError, match=message):
            EvaluationConfig.of(("one",), **given)


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
def test_a_config_that_is_none(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"(config|protocol|images) is "):
        EvaluationConfig.from_dict(values)
