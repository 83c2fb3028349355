"""Outcomes of measurements, image for image, against foolbox and against plain loops."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import foolbox
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from foolbox.criteria import Misclassification
from torch import Tensor, nn

from dverge import checkpoints
from dverge.attacks import (
    MIXTURE,
    Attack,
    AttackConfig,
    Norm,
    Through,
    Victim,
    fgsm,
    image_starts,
    pgd,
)
from dverge.data import ImageSet, Split, load
from dverge.evaluation.measurements import (
    Batch,
    Clean,
    Gradient,
    Measurement,
    Noise,
    Report,
    ZeroGradient,
)
from dverge.evaluation.tally import Tally
from dverge.models import Conv, Ensemble, compiled
from dverge.results import Result

LINF, L2 = Norm.LINF, Norm.L2
SHIPPED = Path(__file__).parents[2] / "checkpoints" / "vanilla-3xconv-s0"


@pytest.fixture(scope="module")
def trained() -> Ensemble:
    """The shipped ensemble in float64: right on some images, and robust on fewer."""
    return checkpoints.load(SHIPPED).double()


@pytest.fixture(scope="module")
def some() -> ImageSet:
    return load(Split.SAMPLE).balanced(24)


def pixels_of(images: ImageSet) -> Tensor:
    return images.pixels().double()


class Mixture(nn.Module):
    """By its formula."""

    def __init__(self, members: nn.ModuleList) -> None:
        super().__init__()
        self.members = members

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([member(images).softmax(1) for member in self.members]).mean(0).log()


def models(ensemble: Ensemble) -> list[nn.Module]:
    return [*ensemble.members, Mixture(ensemble.members).eval()]


def right(ensemble: Ensemble, x: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.stack([model(x).argmax(1) == labels for model in models(ensemble)])


def rows_of(
    measurement: Measurement, ensemble: Ensemble, images: ImageSet, size: int = 8
) -> dict[tuple[str, str], Result]:
    """What a tally of the measurement comes to in float64, by model and victim."""
    x, labels = pixels_of(images), images.labels
    tally = Tally(measurement, right(ensemble, x, labels))
    while not tally.done:
        victim, restart, at = tally.next(size)
        batch = Batch(x[at], labels[at], images.indices[at].tolist(), tally.warnings)
        tally.add(at, measurement.right(ensemble, batch, victim, restart), 0.0)
    rows = tally.rows(Split.SAMPLE)
    assert all(row.n == len(images) for row in rows)
    return {(row.model, row.parameters.get("victim", "")): row for row in rows}


def whole(images: ImageSet) -> Batch:
    return Batch(pixels_of(images), images.labels, images.indices.tolist(), [])


# --- clean ---


def test_clean_rows_are_a_plain_loops(trained: Ensemble, some: ImageSet) -> None:
    rows = rows_of(Clean(), trained, some)
    due = right(trained, pixels_of(some), some.labels)
    names = ["member-1", "member-2", "member-3", "mixture"]
    for name, each in zip(names, due, strict=True):
        assert rows[name, ""].right().equal(each)
        assert rows[name, ""].accuracy == pytest.approx(100 * each.double().mean().item())
    members = [rows[name, ""].accuracy for name in names[:3]]
    assert rows["random-member", ""].accuracy == pytest.approx(np.mean(members))
    assert 0 < due.double().mean() < 1


@pytest.mark.parametrize(("draws", "size", "seed"), [(10, 12, 0), (10, 12, 1), (3, 23, 7)])
def test_the_mean_over_draws(
    trained: Ensemble, some: ImageSet, draws: int, size: int, seed: int
) -> None:
    """Drawn one after the other without putting back; the bits are of all images."""
    rows = rows_of(Clean(draws, size, seed), trained, some)
    due = right(trained, pixels_of(some), some.labels)
    generator = torch.Generator().manual_seed(seed)
    chosen = [torch.randperm(24, generator=generator).tolist()[:size] for _ in range(draws)]
    for name, each in zip(("member-1", "member-2", "member-3", "mixture"), due, strict=True):
        means = [sum(each[i].item() for i in draw) / size for draw in chosen]
        assert rows[name, ""].accuracy == pytest.approx(100 * np.mean(means))
        assert rows[name, ""].right().equal(each)
        assert rows[name, ""].parameters == {"draws": draws, "draw_size": size, "seed": seed}
    plain = rows_of(Clean(), trained, some)
    assert any(row.accuracy != pytest.approx(plain[key].accuracy) for key, row in rows.items())


def test_draws_of_more_than_there_are_are_of_all(trained: Ensemble, some: ImageSet) -> None:
    drawn, plain = (rows_of(each, trained, some) for each in (Clean(4, 256, 0), Clean()))
    for key, row in drawn.items():
        assert row.accuracy == pytest.approx(plain[key].accuracy)
        assert row.n == 24


# --- gradients, without chance: foolbox ---


def by_foolbox(model: nn.Module, x: Tensor, labels: Tensor, config: AttackConfig) -> Tensor:
    """foolbox's raw result, before it clips it about the image."""
    kind = {LINF: foolbox.attacks.LinfPGD, L2: foolbox.attacks.L2PGD}[config.norm]
    oracle = kind(abs_stepsize=config.step_size, steps=config.steps, random_start=False)
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    found: Tensor = oracle.run(wrapped, x, Misclassification(labels), epsilon=config.eps)
    return found


PLAIN = {
    "fgsm": fgsm(0.005),
    "pgd-linf": AttackConfig(LINF, 0.006, 0.0015, 10),
    "pgd-l2": AttackConfig(L2, 0.15, 0.05, 10),
    "pgd-l2 far": AttackConfig(L2, 0.5, 0.4, 4),
}


@pytest.mark.parametrize("name", PLAIN)
def test_outcomes_are_foolboxs(trained: Ensemble, some: ImageSet, name: str) -> None:
    config, x, labels = PLAIN[name], pixels_of(some), some.labels
    rows = rows_of(Gradient(name.split()[0], config), trained, some)
    clean = right(trained, x, labels)
    after = [right(trained, by_foolbox(m, x, labels, config), labels) for m in models(trained)]
    for i in range(3):
        assert rows[f"member-{i + 1}", f"member-{i + 1}"].right().equal(clean[i] & after[i][i])
    held = [clean[-1] & each[-1] for each in after]
    assert rows["mixture", "mixture"].right().equal(held[3])
    assert rows["mixture", "members"].right().equal(held[0] & held[1] & held[2])
    assert rows["mixture", "worst"].right().equal(held[0] & held[1] & held[2] & held[3])
    # What no model stands on that the attack is for is not attacked, and keeps its clean share.
    shares = [clean[:-1].double().mean(0)]
    for i, each in enumerate(after):
        attacked = clean[i] | clean[-1]
        shares.append(torch.where(attacked, each[:-1].double().mean(0), shares[0]))
    due = 100 * torch.stack(shares).min(0).values.mean().item()
    assert rows["random-member", "worst"].accuracy == pytest.approx(due)
    found = {key: row.accuracy for key, row in rows.items()}
    assert len(found) == 7 and len(set(found.values())) > 3
    assert found["mixture", "worst"] < 100 * clean[-1].double().mean()
    assert all(row.attack == name.split()[0] for row in rows.values())


def test_each_try_is_foolboxs_image(trained: Ensemble, some: ImageSet) -> None:
    few = some.subset(slice(0, 6))
    for config in PLAIN.values():
        for victim, model in zip([*map(Victim, range(3)), MIXTURE], models(trained), strict=True):
            found = Gradient("pgd", config).changed(trained, whole(few), victim, 0)
            due = by_foolbox(model, pixels_of(few), few.labels, config)
            torch.testing.assert_close(found, due, rtol=0, atol=1e-9)


# --- gradients with restarts: a plain loop ---


def loss_of(ensemble: Ensemble, image: Tensor, label: int, victim: Victim) -> Tensor:
    """Of one image, by the formula of what is followed."""
    logits = torch.stack([member(image[None])[0] for member in ensemble.members])
    if victim.member is not None:
        return -logits[victim.member].softmax(0)[label].log()
    if victim.through is Through.LOGIT:
        return -logits.mean(0).softmax(0)[label].log()
    shares = logits.softmax(1)[:, label]
    return -shares.log().mean() if victim.through is Through.LOSS else -shares.mean().log()


def one_try(
    ensemble: Ensemble, image: Tensor, label: int, start: Tensor, c: AttackConfig, victim: Victim
) -> Tensor:
    x = start
    for _ in range(c.steps):
        x = x.detach().requires_grad_()
        (g,) = torch.autograd.grad(loss_of(ensemble, x, label, victim), x)
        step = g.sign() if c.norm is LINF else g / g.square().sum().sqrt()
        delta = x.detach() + c.step_size * step - image
        if c.norm is LINF:
            delta = delta.clamp(-c.eps, c.eps)
        elif (length := delta.square().sum().sqrt()) > c.eps:
            delta = delta / length * c.eps
        x = (image + delta).clip(0, 1)
    return x


RANDOM = {
    "pgd-linf": pgd(LINF, 0.006, steps=3, restarts=3, seed=3),
    "pgd-l2": pgd(L2, 0.15, steps=3, restarts=2),
}


@pytest.mark.parametrize("name", RANDOM)
def test_outcomes_with_restarts_are_a_plain_loops(trained: Ensemble, name: str) -> None:
    images, config = load(Split.SAMPLE).balanced(9), RANDOM[name]
    x, labels = pixels_of(images), images.labels
    measurement = Gradient(name, config, thorough=True)
    victims = measurement.victims(3)
    assert [str(v) for v in victims] == [
        *("member-1", "member-2", "member-3", "mixture", "mixture-logit", "mixture-loss")
    ]
    clean = right(trained, x, labels)
    held = clean.repeat(len(victims), 1, 1)
    for v, victim in enumerate(victims):
        for restart in range(config.restarts):
            for n, number in enumerate(images.indices.tolist()):
                start = image_starts(x[n][None], [number], config, restart)[0]
                found = one_try(trained, x[n], int(labels[n]), start, config, victim)
                held[v, :, n] &= right(trained, found[None], labels[n : n + 1])[:, 0]
    rows = rows_of(measurement, trained, images, size=5)
    for i in range(3):
        assert rows[f"member-{i + 1}", f"member-{i + 1}"].right().equal(held[i, i])
    for v, victim in enumerate(victims[3:], 3):
        assert rows["mixture", str(victim)].right().equal(held[v, -1])
    assert rows["mixture", "members"].right().equal(held[:3, -1].all(0))
    assert rows["mixture", "worst"].right().equal(held[:, -1].all(0))
    assert rows["mixture", "worst"].parameters == {
        "eps": config.eps,
        "step_size": config.step_size,
        "steps": 3,
        "random_start": True,
        "restarts": config.restarts,
        "seed": config.seed,
        "victim": "worst",
    }
    assert 0 < held.double().mean() < clean.double().mean()


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("victim", [Victim(1), Victim(through=Through.LOGIT)], ids=str)
def test_each_try_from_a_random_start_is_a_plain_loops(
    trained: Ensemble, some: ImageSet, name: str, victim: Victim
) -> None:
    """In a ball about the image, not about the start."""
    batch, config = whole(some.subset(slice(0, 4))), RANDOM[name]
    found = Gradient(name, config).changed(trained, batch, victim, 1)
    for n, number in enumerate(batch.numbers):
        start = image_starts(batch.pixels[n][None], [number], config, 1)[0]
        label = int(batch.labels[n])
        due = one_try(trained, batch.pixels[n], label, start, config, victim)
        torch.testing.assert_close(found[n], due, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("victim", [Victim(1), MIXTURE, Victim(through=Through.LOSS)], ids=str)
def test_batches_and_the_compiled_kernels_change_nothing(
    trained: Ensemble, some: ImageSet, name: str, victim: Victim
) -> None:
    measurement, few = Gradient(name, RANDOM[name]), some.subset(slice(0, 10))
    due = measurement.changed(trained, whole(few), victim, 1)
    for ensemble in (trained, compiled(trained)):
        for size in (1, 7):
            parts = [whole(few.subset(slice(i, i + size))) for i in range(0, 10, size)]
            found = torch.cat([measurement.changed(ensemble, part, victim, 1) for part in parts])
            torch.testing.assert_close(found, due, rtol=0, atol=1e-9)
    assert not due.isclose(measurement.changed(trained, whole(few), victim, 0)).all()


# --- the others ---


def test_the_reports_are_plain_too_but_not_pessimistic(trained: Ensemble, some: ImageSet) -> None:
    x, labels = pixels_of(some), some.labels
    rows = rows_of(Report(Attack.FGSM), trained, some)
    after = [right(trained, by_foolbox(m, x, labels, fgsm(0.03)), labels) for m in models(trained)]
    assert len(rows) == 4
    for i in range(3):
        assert rows[f"member-{i + 1}", f"member-{i + 1}"].right().equal(after[i][i])
    assert rows["mixture", "mixture"].right().equal(after[3][3])


@pytest.mark.parametrize("eps", [8 / 255, 0.25])
def test_noise_moves_every_pixel_by_eps_up_or_down(some: ImageSet, eps: float) -> None:
    noise, batch = Noise(eps, seed=1), whole(some)
    ensemble = Ensemble([Conv()])
    found = noise.changed(ensemble, batch, MIXTURE, 0)
    up, down = (batch.pixels + s * eps for s in (1, -1))
    is_up = (found - up.clamp(0, 1)).abs() < 1e-12
    is_down = (found - down.clamp(0, 1)).abs() < 1e-12
    assert (is_up | is_down).all()
    inner = (up <= 1) & (down >= 0)
    share = is_up[inner].double().mean().item()
    assert abs(share - 0.5) < 4 * 0.5 / inner.sum().item() ** 0.5
    by_image = is_up.double().flatten(1)
    assert len(by_image.unique(dim=0)) == 24
    assert found.equal(noise.changed(ensemble, batch, MIXTURE, 0))
    one = Batch(batch.pixels[4:5], batch.labels[4:5], batch.numbers[4:5], [])
    assert noise.changed(ensemble, one, MIXTURE, 0).equal(found[4:5])
    assert not found.equal(Noise(eps, seed=2).changed(ensemble, batch, MIXTURE, 0))


def test_rows_under_noise_are_of_all_models(trained: Ensemble, some: ImageSet) -> None:
    x, labels = pixels_of(some), some.labels
    rows = rows_of(Noise(0.15), trained, some, size=24)
    clean = right(trained, x, labels)
    after = right(trained, Noise(0.15).changed(trained, whole(some), MIXTURE, 0), labels)
    for i, name in enumerate(("member-1", "member-2", "member-3", "mixture")):
        assert rows[name, ""].right().equal(clean[i] & after[i])
    assert (after != clean).any()
    share = torch.minimum(clean[:-1].double().mean(0), after[:-1].double().mean(0))
    assert rows["random-member", ""].accuracy == pytest.approx(100 * share.mean().item())


class Threshold(nn.Module):
    """Has a gradient only in images whose first pixel is above one half."""

    def forward(self, images: Tensor) -> Tensor:
        high = F.relu(images[:, 0, 0, 0] - 0.5)
        return torch.stack([high * (k + 1) for k in range(10)], 1)


def test_where_there_is_no_gradient(trained: Ensemble, some: ImageSet) -> None:
    low = pixels_of(some)[:, 0, 0, 0] <= 0.5
    assert low.any() and not low.all()
    flat = Ensemble([Threshold(), Threshold()])
    found = ZeroGradient().right(flat, whole(some), MIXTURE, 0)
    assert found.equal(low.repeat(3, 1))
    mixed = Ensemble([Threshold(), trained.members[0]])
    found = ZeroGradient().right(mixed, whole(some), MIXTURE, 0)
    none = torch.zeros_like(low)
    assert found.equal(torch.stack([low, none, none]))
    rows = rows_of(ZeroGradient(), mixed, some)
    assert rows["member-1", ""].right().equal(low)
    assert rows["mixture", ""].accuracy == 0


MEASUREMENTS: list[Callable[[], Measurement]] = [
    Clean,
    lambda: Clean(10, 256, 0),
    lambda: Gradient("fgsm", fgsm(0.03), thorough=True),
    lambda: Gradient("pgd-l2", pgd(L2, 0.5, restarts=5)),
    lambda: Report(Attack.FGSM),
    lambda: Report(Attack.PGD_LINF),
    lambda: Report(Attack.PGD_L2),
    lambda: Noise(8 / 255),
    ZeroGradient,
]


@pytest.mark.parametrize("make", MEASUREMENTS)
def test_parameters_are_plain_json(make: Callable[[], Measurement]) -> None:
    parameters = make().parameters()
    assert json.loads(json.dumps(parameters)) == parameters
    assert make().cost() > 0
    assert make().batch_size(torch.device("cpu")) > 0


def test_the_reports_parameters_say_what_they_are() -> None:
    assert Report(Attack.PGD_LINF).attack == "pgd-linf"
    assert Report(Attack.PGD_L2).attack == "pgd-l2"
    shared = {"eps": 0.03, "steps": 5, "projected": False}
    assert Report(Attack.PGD_LINF).parameters() == {**shared, "step_size": 0.007}
    assert Report(Attack.PGD_L2).parameters() == {**shared, "step_size": 0.03}
