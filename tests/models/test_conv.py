"""The report's network against its description, written out with torch.nn.functional."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dverge.errors import ConfigError
from dverge.models import Conv, seeded_conv


def textbook(network: Conv, images: Tensor) -> list[Tensor]:
    """Features of layers 1–5 before their ReLU, in the textbook order: ReLU, then pooling."""
    w = network.state_dict()
    first = F.conv2d(images, w["conv1.weight"], w["conv1.bias"])
    x = F.max_pool2d(F.relu(first), kernel_size=2, stride=2)
    second = F.conv2d(x, w["conv2.weight"], w["conv2.bias"])
    x = F.max_pool2d(F.relu(second), kernel_size=2, stride=2).reshape(len(images), 400)
    third = x @ w["fc1.weight"].T + w["fc1.bias"]
    fourth = F.relu(third) @ w["fc2.weight"].T + w["fc2.bias"]
    return [first, second, third, fourth, F.relu(fourth) @ w["fc3.weight"].T + w["fc3.bias"]]


def test_parameters() -> None:
    shapes = {name: tuple(value.shape) for name, value in Conv().state_dict().items()}
    assert shapes == {
        "conv1.weight": (6, 3, 5, 5),
        "conv1.bias": (6,),
        "conv2.weight": (16, 6, 5, 5),
        "conv2.bias": (16,),
        "fc1.weight": (120, 400),
        "fc1.bias": (120,),
        "fc2.weight": (84, 120),
        "fc2.bias": (84,),
        "fc3.weight": (10, 84),
        "fc3.bias": (10,),
    }
    assert sum(parameter.numel() for parameter in Conv().parameters()) == 62_006


@pytest.mark.parametrize(
    ("layer", "shape"), [(1, (6, 28, 28)), (2, (16, 10, 10)), (3, (120,)), (4, (84,)), (5, (10,))]
)
def test_features_are_the_textbooks(images: Tensor, layer: int, shape: tuple[int, ...]) -> None:
    network, images = seeded_conv(0).double(), images.double()
    features = network.features(images, layer)
    assert features.shape == (8, *shape)
    torch.testing.assert_close(features, textbook(network, images)[layer - 1])
    assert features.min() < 0  # before the ReLU


def test_gradients_are_the_textbooks(images: Tensor) -> None:
    network, x = seeded_conv(0).double(), images.double().requires_grad_()
    (gradient,) = torch.autograd.grad(network(x).square().sum(), x)
    (expected,) = torch.autograd.grad(textbook(network, x)[-1].square().sum(), x)
    torch.testing.assert_close(gradient, expected)


def test_the_output_is_the_last_layer_in_both_modes(images: Tensor) -> None:
    network = seeded_conv(0)
    assert network.train()(images).equal(network.features(images, 5))
    assert network.eval()(images).equal(network.features(images, 5))


@pytest.mark.parametrize("layer", [0, 6, -1, 2.0, "1", None])
def test_other_layers_are_refused(images: Tensor, layer: int) -> None:
    with pytest.raises(ConfigError, match=r"layer is .*; it must be a whole number from 1 to 5"):
        Conv().features(images, layer)


def same(first: Conv, second: Conv) -> bool:
    values = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(one.equal(other) for one, other in values)


def test_a_seeded_conv_is_what_torch_makes_of_the_seed() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        expected = Conv()
    torch.manual_seed(123)
    state = torch.get_rng_state()
    network = seeded_conv(11)
    assert torch.get_rng_state().equal(state)  # the global generator is not used
    assert same(network, expected)
    assert not same(seeded_conv(6), expected)
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_gpus_generator_is_not_used() -> None:
    before = torch.cuda.get_rng_state()
    seeded_conv(5)
    assert torch.cuda.get_rng_state().equal(before)


def test_other_threads_do_not_change_a_seeded_conv() -> None:
    """Runs and pages share a process, and so one global generator."""
    expected = [seeded_conv(seed) for seed in range(4)]

    def make_many(seed: int) -> bool:
        return all(same(seeded_conv(seed), expected[seed]) for _ in range(30))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(make_many, range(4)))
