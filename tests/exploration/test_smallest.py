"""The smallest eps of linear models, whose distance to the boundary is a formula."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from dverge import checkpoints
from dverge.attacks import MIXTURE, AttackConfig, Norm, Through, Victim, attack, fgsm, pgd
from dverge.charts.pictures import to_picture, to_png
from dverge.data import CLASSES, Split, load, read_picture
from dverge.errors import ConfigError
from dverge.exploration.smallest import HALVINGS, LARGEST, smallest_eps
from dverge.models import Ensemble


class Linear(nn.Module):
    """Class 0 against class 1 by the sign of ⟨w, x⟩ - bias; no other class is ever predicted."""

    weights: Tensor

    def __init__(self, weights: Tensor, bias: float) -> None:
        super().__init__()
        self.register_buffer("weights", weights)
        self.bias = bias

    def forward(self, images: Tensor) -> Tensor:
        margin = (images * self.weights).flatten(1).sum(1) - self.bias
        low = torch.full((len(images), 8), -100.0)
        return torch.cat([torch.stack([margin, -margin], 1), low], 1)


GREY = torch.full((1, 3, 32, 32), 0.5)
WEIGHTS = torch.randn((1, 3, 32, 32), generator=torch.Generator().manual_seed(1))


def member(margin: float, weights: Tensor = WEIGHTS) -> Linear:
    """Predicts class 0 on the grey image by this margin."""
    return Linear(weights, float((GREY * weights).sum()) - margin)


PGD = pgd(Norm.LINF, 0.004, random_start=False)
ALL = pytest.mark.parametrize(
    "config", [fgsm(0.01), PGD, pgd(Norm.L2, 0.5, steps=20)], ids=["fgsm", "pgd-linf", "pgd-l2"]
)


@ALL
@pytest.mark.parametrize("margin", [2.0, 9.0, 12.0])
def test_is_the_distance_to_a_linear_boundary(config: AttackConfig, margin: float) -> None:
    dual = WEIGHTS.abs().sum() if config.norm is Norm.LINF else WEIGHTS.norm()
    distance = margin / float(dual)
    result, mixture = smallest_eps(Ensemble([member(margin)]), GREY, 0, config)
    assert result.eps is not None
    assert distance <= result.eps * 1.0001
    assert result.eps <= distance * 1.05 + 2**-HALVINGS * max(config.eps, 2 * distance)
    assert result.tried < result.eps
    gap = 2**-HALVINGS * max(config.eps, result.tried)
    assert result.eps - result.tried <= gap * 1.001
    assert mixture.eps == result.eps  # of one member


@ALL
def test_the_attack_succeeds_at_eps_and_fails_below(config: AttackConfig) -> None:
    ensemble = Ensemble([member(3.0), member(9.5, WEIGHTS.flip(3)), member(8.0, -WEIGHTS)])
    results = smallest_eps(ensemble, GREY, 0, config)
    assert [each.model for each in results] == ["member-1", "member-2", "member-3", "mixture"]
    for each, victim in zip(results, [Victim(0), Victim(1), Victim(2), MIXTURE], strict=True):
        assert each.eps is not None
        for eps, succeeds in ((each.eps, True), (each.tried, False)):
            step = config.step_size * eps / config.eps
            settings = replace(config, eps=eps, step_size=step)
            result = attack(ensemble, GREY, torch.tensor([0]), settings, victim)
            assert bool(result.success) is succeeds
            if succeeds:
                assert result.images.equal(each.image)


def test_a_model_that_is_wrong_before_needs_nothing() -> None:
    (result, _) = smallest_eps(Ensemble([member(-1.0)]), GREY, 0, fgsm(0.01))
    assert (result.model, result.eps) == ("member-1", 0.0)
    assert result.image.equal(GREY)


@ALL
def test_a_model_that_withstands_every_budget(config: AttackConfig) -> None:
    (result, _) = smallest_eps(Ensemble([member(1e6)]), GREY, 0, config)
    assert result.eps is None
    assert result.tried == LARGEST[config.norm]


def test_a_targeted_search() -> None:
    config = replace(PGD, targeted=True)
    ensemble = Ensemble([member(5.0)])
    (towards, _) = smallest_eps(ensemble, GREY, 0, config, target=1)
    (away, _) = smallest_eps(ensemble, GREY, 0, PGD)
    assert towards.eps == pytest.approx(away.eps, rel=0.05)
    (never, _) = smallest_eps(ensemble, GREY, 0, config, target=7)
    assert never.eps is None


def test_a_targeted_search_ends_where_the_target_is_reached() -> None:
    """A frog that the mixture takes for a deer is no airplane yet."""
    vanilla, images = checkpoints.load("vanilla-3xconv-s0"), load(Split.SAMPLE)
    at, attack_on = images.indices.tolist().index(4), pgd(Norm.LINF, 8 / 255, targeted=True)
    pixels, frog = images.pixels(at), int(images.labels[at])
    with torch.no_grad():
        deer = int(vanilla(pixels).argmax())
    assert (CLASSES[frog], CLASSES[deer]) == ("frog", "deer")
    *_, mixture = smallest_eps(vanilla, pixels, frog, attack_on, CLASSES.index("airplane"))
    assert mixture.eps is not None and 255 * mixture.eps == pytest.approx(17.5, abs=0.2)
    with torch.no_grad():
        assert CLASSES[int(vanilla(mixture.image).argmax())] == "airplane"
    *_, already = smallest_eps(vanilla, pixels, frog, attack_on, deer)
    assert already.eps == 0 and already.target == deer and already.survives is None
    *_, untargeted = smallest_eps(vanilla, pixels, frog, pgd(Norm.LINF, 8 / 255))
    assert untargeted.eps == 0 and untargeted.target is None


@pytest.mark.parametrize("seed", range(6))
def test_whether_it_survives_rounding_is_what_a_png_file_says(seed: int) -> None:
    weights = torch.randn((1, 3, 32, 32), generator=torch.Generator().manual_seed(seed))
    image = torch.full_like(GREY, 128 / 255)  # has 8 bits itself
    margin = float((image * weights).sum()) - 4.0
    ensemble = Ensemble([Linear(weights, margin)])
    (result, _) = smallest_eps(ensemble, image, 0, PGD)
    file = read_picture(to_png(to_picture(result.image)))
    assert (file - result.image).abs().max() <= 0.5 / 255 + 1e-6
    with torch.no_grad():
        assert int(ensemble(result.image).argmax()) == 1
        assert result.survives is (int(ensemble(file).argmax()) == 1)


def test_the_mixture_is_attacked_as_asked() -> None:
    ensemble = Ensemble([member(3.0), member(9.5, WEIGHTS.flip(3))])
    mean_logit = Victim(through=Through.LOGIT)
    *_, result = smallest_eps(ensemble, GREY, 0, PGD, mixture=mean_logit)
    assert result.model == "mixture" and result.eps is not None
    step = PGD.step_size * result.eps / PGD.eps
    settings = replace(PGD, eps=result.eps, step_size=step)
    found = attack(ensemble, GREY, torch.tensor([0]), settings, mean_logit)
    assert found.images.equal(result.image)


def test_no_budget_to_begin_with_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"eps is 0\.0; it must be above 0"):
        smallest_eps(Ensemble([member(1.0)]), GREY, 0, fgsm(0.0))
