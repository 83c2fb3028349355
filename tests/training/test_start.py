"""The checkpoint that a training goes on from: found, checked, and the same as when it was set."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dverge import checkpoints
from dverge.checkpoints import CheckpointInfo
from dverge.errors import CheckpointError, ConfigError
from dverge.models import Ensemble, seeded_conv
from dverge.training import (
    AdvtConfig,
    DvergeAdvtConfig,
    DvergeConfig,
    Method,
    StartedConfig,
    load_start,
    with_fixed_start,
)
from tests.training.small import MakeTraining, tiny_config

STARTED = [DvergeConfig, DvergeAdvtConfig, AdvtConfig]


@pytest.fixture
def trained() -> Ensemble:
    return Ensemble([seeded_conv(seed) for seed in (40, 41, 42)])


@pytest.fixture
def info(trained: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CheckpointInfo:
    """A checkpoint of three members in the default folder."""
    monkeypatch.setenv("DVERGE_CHECKPOINTS", str(tmp_path / "checkpoints"))
    return checkpoints.save("good", trained, method="vanilla")


def rewrite_card(info: CheckpointInfo, **changes: Any) -> None:
    path = info.folder / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def replace_by(info: CheckpointInfo, ensemble: Ensemble) -> None:
    info.folder.rename(info.folder.with_name("old"))
    checkpoints.save("good", ensemble, method="vanilla")


def same(first: Ensemble, second: Ensemble) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


@pytest.mark.parametrize("kind", STARTED)
def test_it_is_the_checkpoint(
    kind: type[StartedConfig], info: CheckpointInfo, trained: Ensemble
) -> None:
    for where in ("good", str(info.folder)):
        found = load_start(kind(start=where))
        assert found is not None and same(found, trained)


def test_it_is_looked_for_in_the_given_folder_first(
    info: CheckpointInfo, tmp_path: Path, trained: Ensemble
) -> None:
    other = Ensemble([seeded_conv(seed) for seed in (50, 51, 52)])
    checkpoints.save("good", other, method="vanilla", root=tmp_path / "elsewhere")
    found = load_start(DvergeConfig(start="good"), tmp_path / "elsewhere")
    assert found is not None and same(found, other)


@pytest.mark.parametrize("config", [tiny_config(method) for method in Method])
def test_fresh_members_need_none(config: Any, info: CheckpointInfo) -> None:
    assert load_start(config) is None
    assert with_fixed_start(config) is config


def test_the_digest_is_of_the_weights(info: CheckpointInfo, trained: Ensemble) -> None:
    config = with_fixed_start(DvergeConfig(start="good", seed=3))
    assert config == DvergeConfig(start="good", seed=3, start_digest=info.digest)
    assert with_fixed_start(config) == config
    checkpoints.save("twin", trained, method="dverge")  # other card, equal weights
    found = load_start(replace(config, start="twin"))
    assert found is not None and same(found, trained)


def test_another_checkpoint_of_that_name_is_refused(info: CheckpointInfo) -> None:
    config = with_fixed_start(DvergeConfig(start="good"))
    replace_by(info, Ensemble([seeded_conv(seed) for seed in range(3)]))
    for use in (load_start, with_fixed_start):
        with pytest.raises(CheckpointError, match="checkpoint 'good' has other weights than when"):
            use(config)
    anew = with_fixed_start(replace(config, start_digest=""))
    assert anew.start_digest not in ("", config.start_digest)


def cut(info: CheckpointInfo) -> None:
    path = info.folder / "member-2.safetensors"
    path.write_bytes(path.read_bytes()[:-4])


DAMAGE: dict[str, tuple[Any, str]] = {
    "no card": (lambda info: (info.folder / "card.json").unlink(), "it has no card.json"),
    "no JSON": (lambda info: (info.folder / "card.json").write_text("{"), "cannot be read"),
    "cut": (cut, "member-2.safetensors does not match the SHA-256 in its card"),
    "a member missing": (
        lambda info: (info.folder / "member-3.safetensors").unlink(),
        "member-3.safetensors is missing",
    ),
    "another architecture": (
        lambda info: rewrite_card(info, architecture="resnet20"),
        "its architecture is 'resnet20', not 'conv'",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_broken_one_is_refused(case: str, info: CheckpointInfo) -> None:
    """Also where the damage is in a member that is not needed."""
    damage, message = DAMAGE[case]
    damage(info)
    for use in (load_start, with_fixed_start):
        with pytest.raises(CheckpointError, match=message):
            use(DvergeConfig(start="good", members=2))


def test_one_that_is_not_there_is_refused(info: CheckpointInfo) -> None:
    message = "there is no checkpoint 'nowhere'; those there are: good"
    for use in (load_start, with_fixed_start):
        with pytest.raises(CheckpointError, match=message):
            use(DvergeConfig(start="nowhere"))


def test_too_few_members_are_refused(info: CheckpointInfo) -> None:
    message = (
        "members is 4; checkpoint 'good' to start from has 3. Ask for fewer, or start from another."
    )
    for use in (load_start, with_fixed_start):
        with pytest.raises(ConfigError, match=message):
            use(DvergeConfig(start="good", members=4))


def test_a_training_refuses_too_few_members_too(training: MakeTraining, trained: Ensemble) -> None:
    with pytest.raises(ConfigError, match="members is 4; the checkpoint to start from has 3"):
        training(Method.DVERGE, trained, members=4)


@pytest.mark.parametrize("members", [2, 3])
def test_a_training_takes_the_first_members_and_leaves_the_checkpoint_alone(
    members: int, training: MakeTraining, trained: Ensemble
) -> None:
    before = [value.clone() for value in trained.state_dict().values()]
    started = training(Method.DVERGE, trained, members=members)
    assert same(started.ensemble(), Ensemble(list(trained.members)[:members]))
    list(started.run())
    changed = zip(started.members, trained.members, strict=False)
    for member, given in changed:
        pairs = zip(member.parameters(), given.parameters(), strict=True)
        assert not any(torch.equal(one, other) for one, other in pairs)
    assert all(a.equal(b) for a, b in zip(before, trained.state_dict().values(), strict=True))
    assert all(parameter.requires_grad for parameter in trained.parameters())


def test_a_start_given_by_path_is_kept_by_name_or_full_path(
    info: CheckpointInfo, trained: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run may be gone on with from another working directory."""
    elsewhere = checkpoints.save("good", trained, method="vanilla", root=tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    inside = with_fixed_start(DvergeConfig(start="checkpoints/good"))
    assert (inside.start, inside.start_digest) == ("good", info.digest)
    outside = with_fixed_start(DvergeConfig(start="elsewhere/good"))
    assert outside.start == str(elsewhere.folder.absolute())
