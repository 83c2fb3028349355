"""Outcomes of queries and attacks, image by image, against foolbox and against plain loops."""

from __future__ import annotations

from functools import partial

import foolbox
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from foolbox.criteria import Misclassification
from torch import Tensor, nn

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
from dverge.evaluation.counting import RobustCount
from dverge.evaluation.measurements import (
    Batch,
    Clean,
    Measurement,
    Noise,
    ProjectedGradient,
    ReportAttack,
    ZeroGradient,
    without_gradient,
)
from dverge.evaluation.predictions import answers
from dverge.models import Ensemble, compiled
from dverge.results import Result
from tests.evaluation.plain import attacked, correct, models

LINF, L2 = Norm.LINF, Norm.L2
MODELS = ("member-1", "member-2", "member-3", "mixture")


@pytest.fixture(scope="module")
def some() -> ImageSet:
    return load(Split.SAMPLE).balanced(24)


def batch_of(images: ImageSet) -> Batch:
    return Batch(images.pixels().double(), images.labels, images.indices.tolist(), [])


def results_of(
    measurement: Measurement, ensemble: Ensemble, images: ImageSet, size: int = 8
) -> dict[tuple[str, str], Result]:
    """The results of a whole measurement in float64, by model and victim."""
    batch = batch_of(images)
    count = RobustCount(measurement, batch.labels, answers(ensemble, batch.pixels))
    while not count.done:
        victim, restart, at = count.next(size)
        part = Batch(batch.pixels[at], batch.labels[at], images.indices[at].tolist(), [])
        count.add(at, measurement.answers(ensemble, part, victim, restart), 0.0)
    results = count.results(Split.SAMPLE)
    assert all(result.n == len(images) for result in results)
    return {(result.model, result.parameters.get("victim", "")): result for result in results}


# --- queries ---


def test_clean_accuracy_is_a_plain_loops(trained: Ensemble, some: ImageSet) -> None:
    results = results_of(Clean(), trained, some)
    expected = correct(trained, some.pixels().double(), some.labels)
    assert 0 < expected.double().mean() < 1
    for name, model, each in zip(MODELS, models(trained), expected, strict=True):
        assert results[name, ""].right().equal(each)
        assert results[name, ""].predicted().equal(model(some.pixels().double()).argmax(1))
    members = [results[name, ""].accuracy for name in MODELS[:3]]
    assert results["random-member", ""].accuracy == pytest.approx(np.mean(members))


@pytest.mark.parametrize("eps", [8 / 255, 0.25])
def test_noise_moves_every_pixel_by_eps_up_or_down(some: ImageSet, eps: float) -> None:
    batch = batch_of(some)
    noisy = Noise(eps, seed=1).shown(batch, 0)
    up, down = (batch.pixels + s * eps for s in (1, -1))
    is_up = (noisy - up.clamp(0, 1)).abs() < 1e-12
    is_down = (noisy - down.clamp(0, 1)).abs() < 1e-12
    assert (is_up | is_down).all()
    inner = (up <= 1) & (down >= 0)
    share = is_up[inner].double().mean().item()
    assert abs(share - 0.5) < 4 * 0.5 / inner.sum().item() ** 0.5
    assert len(is_up.flatten(1).unique(dim=0)) == 24
    one = Batch(batch.pixels[4:5], batch.labels[4:5], batch.numbers[4:5], [])
    assert Noise(eps, seed=1).shown(one, 0).equal(noisy[4:5])
    assert not Noise(eps, seed=2).shown(batch, 0).equal(noisy)


def test_noise_counts_images_that_are_correct_before_and_after(
    trained: Ensemble, some: ImageSet
) -> None:
    results = results_of(Noise(0.15), trained, some, size=24)
    before = correct(trained, some.pixels().double(), some.labels)
    after = correct(trained, Noise(0.15).shown(batch_of(some), 0), some.labels)
    assert (after != before).any()
    for i, name in enumerate(MODELS):
        assert results[name, ""].right().equal(before[i] & after[i])
    share = torch.minimum(before[:-1].double().mean(0), after[:-1].double().mean(0))
    assert results["random-member", ""].accuracy == pytest.approx(100 * share.mean().item())


class Threshold(nn.Module):
    """Has a gradient only in images whose first pixel is above one half."""

    def forward(self, images: Tensor) -> Tensor:
        high = F.relu(images[:, 0, 0, 0] - 0.5)
        return torch.stack([high * (k + 1) for k in range(10)], 1)


def test_images_without_a_gradient_are_counted(trained: Ensemble, some: ImageSet) -> None:
    low = some.pixels().double()[:, 0, 0, 0] <= 0.5
    assert low.any() and not low.all()
    flat, mixed = Ensemble([Threshold()] * 2), Ensemble([Threshold(), trained.members[0]])
    batch = batch_of(some)
    assert without_gradient(flat, batch.pixels, batch.labels).equal(low.repeat(3, 1))
    results = results_of(ZeroGradient(), mixed, some)
    none = torch.zeros_like(low)
    for name, expected in (("member-1", low), ("member-2", none), ("mixture", none)):
        assert results[name, ""].right().equal(expected)


# --- attacks without chance, against foolbox ---


def foolbox_images(model: nn.Module, x: Tensor, labels: Tensor, config: AttackConfig) -> Tensor:
    """foolbox's raw images, before it clips them about the original."""
    kind = {LINF: foolbox.attacks.LinfPGD, L2: foolbox.attacks.L2PGD}[config.norm]
    oracle = kind(abs_stepsize=config.step_size, steps=config.steps, random_start=False)
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    images: Tensor = oracle.run(wrapped, x, Misclassification(labels), epsilon=config.eps)
    return images


PLAIN = {
    "fgsm": fgsm(0.005),
    "pgd-linf": AttackConfig(LINF, 0.006, 0.0015, 10),
    "pgd-l2": AttackConfig(L2, 0.15, 0.05, 10),
    "pgd-l2 far": AttackConfig(L2, 0.5, 0.4, 4),
}


@pytest.mark.parametrize("name", PLAIN)
def test_images_and_results_are_foolboxs(trained: Ensemble, some: ImageSet, name: str) -> None:
    batch, config = batch_of(some), PLAIN[name]
    attack = ProjectedGradient(name.split()[0], config)
    before, after = correct(trained, batch.pixels, batch.labels), []
    for victim, model in zip([*map(Victim, range(3)), MIXTURE], models(trained), strict=True):
        images = foolbox_images(model, batch.pixels, batch.labels, config)
        torch.testing.assert_close(
            attack.changed(trained, batch, victim, 0), images, rtol=0, atol=1e-9
        )
        after.append(correct(trained, images, batch.labels))
    results = results_of(attack, trained, some)
    for i in range(3):
        expected = before[i] & after[i][i]
        assert results[MODELS[i], MODELS[i]].right().equal(expected)
    robust = torch.stack([before[-1] & each[-1] for each in after])
    assert results["mixture", "mixture"].right().equal(robust[3])
    assert results["mixture", "members"].right().equal(robust[:3].all(0))
    assert results["mixture", "worst"].right().equal(robust.all(0))
    # An image keeps its clean share where the victim and the mixture are wrong: no attack.
    shares = [before[:-1].double().mean(0)]
    for i, each in enumerate(after):
        reached = before[i] | before[-1]
        shares.append(torch.where(reached, each[:-1].double().mean(0), shares[0]))
    expected_share = 100 * torch.stack(shares).min(0).values.mean().item()
    assert results["random-member", "worst"].accuracy == pytest.approx(expected_share)
    assert len(results) == 7 and len({result.accuracy for result in results.values()}) > 3
    assert results["mixture", "worst"].accuracy < 100 * before[-1].double().mean()
    assert all(result.attack == attack.attack for result in results.values())


def test_the_report_counts_images_that_were_wrong_before(trained: Ensemble, some: ImageSet) -> None:
    batch = batch_of(some)
    results = results_of(ReportAttack(Attack.FGSM), trained, some)
    assert len(results) == 4
    for i, (name, model) in enumerate(zip(MODELS, models(trained), strict=True)):
        images = foolbox_images(model, batch.pixels, batch.labels, fgsm(0.03))
        assert results[name, name].right().equal(correct(trained, images, batch.labels)[i])


# --- attacks with restarts, against a plain loop ---


def loss_of(ensemble: Ensemble, label: int, victim: Victim, image: Tensor) -> Tensor:
    """What an attack on the victim raises at one image, by its formula."""
    logits = torch.stack([member(image[None])[0] for member in ensemble.members])
    if victim.member is not None:
        return -logits[victim.member].softmax(0)[label].log()
    if victim.through is Through.LOGIT:
        return -logits.mean(0).softmax(0)[label].log()
    shares = logits.softmax(1)[:, label]
    return -shares.log().mean() if victim.through is Through.LOSS else -shares.mean().log()


RANDOM = {
    "pgd-linf": pgd(LINF, 0.006, steps=3, restarts=3, seed=3),
    "pgd-l2": pgd(L2, 0.15, steps=3, restarts=2),
}


@pytest.mark.parametrize("name", RANDOM)
def test_images_and_results_with_restarts_are_a_plain_loops(trained: Ensemble, name: str) -> None:
    images, config = load(Split.SAMPLE).balanced(9), RANDOM[name]
    batch = batch_of(images)
    attack = ProjectedGradient(name, config, thorough=True)
    victims = attack.victims(3)
    assert [str(v) for v in victims] == [*MODELS, "mixture-logit", "mixture-loss"]
    before = correct(trained, batch.pixels, batch.labels)
    robust = before.repeat(len(victims), 1, 1)
    for v, victim in enumerate(victims):
        for restart in range(config.restarts):
            changed = attack.changed(trained, batch, victim, restart)
            for n, number in enumerate(batch.numbers):
                image, label = batch.pixels[n], int(batch.labels[n])
                start = image_starts(image[None], [number], config, restart)[0]
                loss = partial(loss_of, trained, label, victim)
                expected = attacked(loss, image, start, config)
                torch.testing.assert_close(changed[n], expected, rtol=0, atol=1e-9)
                robust[v, :, n] &= correct(trained, expected[None], batch.labels[n : n + 1])[:, 0]
    results = results_of(attack, trained, images, size=5)
    for i, model in enumerate(MODELS[:3]):
        assert results[model, model].right().equal(robust[i, i])
    for v, victim in enumerate(victims[3:], 3):
        assert results["mixture", str(victim)].right().equal(robust[v, -1])
    assert results["mixture", "members"].right().equal(robust[:3, -1].all(0))
    assert results["mixture", "worst"].right().equal(robust[:, -1].all(0))
    assert results["mixture", "worst"].parameters == {
        "eps": config.eps,
        "step_size": config.step_size,
        "steps": 3,
        "random_start": True,
        "restarts": config.restarts,
        "seed": config.seed,
        "victim": "worst",
    }
    assert 0 < robust.double().mean() < before.double().mean()


@pytest.mark.parametrize("name", RANDOM)
def test_batches_and_the_compiled_kernels_do_not_matter(
    trained: Ensemble, some: ImageSet, name: str
) -> None:
    attack, few = ProjectedGradient(name, RANDOM[name]), some.subset(slice(0, 10))
    for victim in (Victim(1), MIXTURE, Victim(through=Through.LOSS)):
        expected = attack.changed(trained, batch_of(few), victim, 1)
        for ensemble, size in ((trained, 7), (compiled(trained), 1), (compiled(trained), 7)):
            parts = [batch_of(few.subset(slice(i, i + size))) for i in range(0, 10, size)]
            changed = torch.cat([attack.changed(ensemble, part, victim, 1) for part in parts])
            torch.testing.assert_close(changed, expected, rtol=0, atol=1e-9)
        assert not expected.isclose(attack.changed(trained, batch_of(few), victim, 0)).all()


def test_parameters_identify_the_measurement() -> None:
    assert [ReportAttack(kind).attack for kind in Attack] == ["fgsm", "pgd-linf", "pgd-l2"]
    shared = {"eps": 0.03, "steps": 5, "projected": False}
    assert ReportAttack(Attack.PGD_LINF).parameters() == {**shared, "step_size": 0.007}
    assert ReportAttack(Attack.PGD_L2).parameters() == {**shared, "step_size": 0.03}
    assert Clean().parameters() == ZeroGradient().parameters() == {}
