"""Adversarial images as exact arrays, in NumPy's .npz format; a PNG file rounds them to 8 bits."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dverge.attacks import AnyConfig
from dverge.exploration.examine import Examination
from dverge.exploration.kinds import kind_of
from dverge.exploration.smallest import SmallestEps


def examination_npz(outcome: Examination) -> bytes:
    """One attacked image.

    It holds clean and adversarial (3×32×32 float32 in [0, 1]), label and target (0–9; target is -1
    without one), attack, victim, norm, eps and seed.
    """
    return _npz(
        clean=outcome.clean[0].cpu().numpy(),
        adversarial=outcome.adversarial[0].cpu().numpy(),
        victim=str(outcome.victim),
        eps=outcome.config.eps,
        **_about(outcome.config, outcome.label, outcome.target),
    )


def smallest_npz(
    results: Mapping[str, Sequence[SmallestEps]],
    config: AnyConfig,
    label: int,
    target: int | None = None,
) -> bytes:
    """The adversarial images at the smallest eps found, K in all ensembles.

    It holds adversarial (K×3×32×32 float32 in [0, 1]), eps (K; NaN where every attack failed, 0
    where none was needed), survives_8_bits (K), ensemble and model (K names), and label, target,
    attack, norm and seed as in examination_npz.
    """
    rows = [(name, each) for name, models in results.items() for each in models]
    return _npz(
        adversarial=np.stack([each.image[0].cpu().numpy() for _, each in rows]),
        eps=[np.nan if each.eps is None else each.eps for _, each in rows],
        survives_8_bits=[bool(each.survives) for _, each in rows],
        ensemble=[name for name, _ in rows],
        model=[each.model for _, each in rows],
        **_about(config, label, target),
    )


def _about(config: AnyConfig, label: int, target: int | None) -> dict[str, Any]:
    return {
        "label": label,
        "target": -1 if target is None else target,
        "attack": str(kind_of(config)),
        "norm": str(config.norm),
        "seed": config.seed,
    }


def _npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()
