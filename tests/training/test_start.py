"""The checkpoint that a training starts from: read, checked, and the same as when it was set up."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dverge import checkpoints
from dverge.checkpoints import CheckpointInfo
from dverge.errors import CheckpointError, ConfigError, FileError
from dverge.models import Ensemble, flat_parameters, seeded_conv
from dverge.training import (
    AdvtConfig,
    DvergeAdvtConfig,
    DvergeConfig,
    Method,
    StartedConfig,
    load_start,
    with_fixed_start,
)
from tests.training.small import MakeTraining, finish, small_config


@pytest.fixture
def trained() -> Ensemble:
    return Ensemble([seeded_conv(seed) for seed in (40, 41, 42)])


@pytest.fixture
def info(trained: Ensemble, root: Path) -> CheckpointInfo:
    """A checkpoint of three members in the default folder."""
    return checkpoints.save("good", trained, method="vanilla")


def parameters(ensemble: Ensemble | None) -> torch.Tensor:
    assert ensemble is not None
    return flat_parameters(list(ensemble.members))  # type: ignore[arg-type]  # they are Conv


@pytest.mark.parametrize("kind", [DvergeConfig, DvergeAdvtConfig, AdvtConfig])
def test_the_ensemble_is_the_checkpoints(
    kind: type[StartedConfig], info: CheckpointInfo, trained: Ensemble
) -> None:
    for start in ("good", str(info.folder)):
        assert parameters(load_start(kind(start=start))).equal(parameters(trained))


def test_another_folder_of_checkpoints_comes_first(info: CheckpointInfo, tmp_path: Path) -> None:
    other = Ensemble([seeded_conv(seed) for seed in (50, 51, 52)])
    checkpoints.save("good", other, method="vanilla", root=tmp_path / "elsewhere")
    loaded = load_start(DvergeConfig(start="good"), tmp_path / "elsewhere")
    assert parameters(loaded).equal(parameters(other))


@pytest.mark.parametrize("method", Method)
def test_new_members_need_no_checkpoint(method: Method, info: CheckpointInfo) -> None:
    config = small_config(method)
    assert load_start(config) is None
    assert with_fixed_start(config) is config


def test_the_digest_is_of_the_weights(info: CheckpointInfo, trained: Ensemble) -> None:
    config = with_fixed_start(DvergeConfig(start="good", seed=3))
    assert config == DvergeConfig(start="good", seed=3, start_digest=info.digest)
    assert with_fixed_start(config) == config
    checkpoints.save("twin", trained, method="dverge")  # another card, equal weights
    assert parameters(load_start(replace(config, start="twin"))).equal(parameters(trained))


def test_other_weights_of_that_name_are_refused(info: CheckpointInfo) -> None:
    config = with_fixed_start(DvergeConfig(start="good"))
    info.folder.rename(info.folder.with_name("old"))
    checkpoints.save("good", Ensemble([seeded_conv(i) for i in range(3)]), method="vanilla")
    for use in (load_start, with_fixed_start):
        with pytest.raises(CheckpointError, match="checkpoint 'good' has other weights than when"):
            use(config)
    again = with_fixed_start(replace(config, start_digest=""))
    assert again.start_digest not in ("", config.start_digest)


def test_no_such_checkpoint(info: CheckpointInfo) -> None:
    message = "there is no checkpoint 'nowhere'; those there are: good"
    for use in (load_start, with_fixed_start):
        with pytest.raises((CheckpointError, FileError), match=message):
            use(DvergeConfig(start="nowhere"))


def test_too_few_members(info: CheckpointInfo, training: MakeTraining, trained: Ensemble) -> None:
    message = (
        "members is 4; checkpoint 'good' to start from has 3. Ask for fewer, or start from another."
    )
    for use in (load_start, with_fixed_start):
        with pytest.raises(ConfigError, match=message):
            use(DvergeConfig(start="good", members=4))
    with pytest.raises(ConfigError, match="members is 4; the checkpoint to start from has 3"):
        training(Method.DVERGE, trained, members=4)


def change_architecture(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "architecture": "resnet20"}))


DAMAGE: list[tuple[str, Callable[[Path], object], str]] = [
    ("card.json", Path.unlink, "it has no card.json"),
    ("card.json", lambda path: path.write_text("{"), "cannot be used"),
    ("card.json", change_architecture, "architecture is 'resnet20'; it must be 'conv'"),
    ("member-3.safetensors", Path.unlink, "member-3.safetensors is missing"),
    (
        "member-2.safetensors",
        lambda path: path.write_bytes(path.read_bytes()[:-4]),
        "member-2.safetensors does not match the SHA-256 in its card",
    ),
]


@pytest.mark.parametrize(("file", "damage", "message"), DAMAGE)
def test_a_damaged_checkpoint_is_refused(
    file: str, damage: Callable[[Path], object], message: str, info: CheckpointInfo
) -> None:
    """Also where the damage is in a member that is not needed."""
    damage(info.folder / file)
    for use in (load_start, with_fixed_start):
        with pytest.raises((CheckpointError, FileError), match=message):
            use(DvergeConfig(start="good", members=2))


@pytest.mark.parametrize("members", [2, 3])
def test_a_training_copies_the_first_members(
    members: int, training: MakeTraining, trained: Ensemble
) -> None:
    before = parameters(trained)
    started = training(Method.DVERGE, trained, members=members, epochs=1)
    assert parameters(started.ensemble()).equal(before[:members])
    after = finish(started).weights
    assert ((after != before[:members]).double().mean(1) > 0.5).all()
    assert parameters(trained).equal(before)
    assert all(parameter.requires_grad for parameter in trained.parameters())


def test_a_folder_is_kept_as_name_or_full_path(
    info: CheckpointInfo, trained: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run may be resumed from another working directory."""
    elsewhere = checkpoints.save("good", trained, method="vanilla", root=tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    inside = with_fixed_start(DvergeConfig(start="checkpoints/good"))
    assert (inside.start, inside.start_digest) == ("good", info.digest)
    outside = with_fixed_start(DvergeConfig(start="elsewhere/good"))
    assert outside.start == str(elsewhere.folder.absolute())
