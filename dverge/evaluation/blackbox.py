"""Black box: adversarial images made on other ensembles, shown to one that the attacker lacks.

The attacker trains surrogates on the same data and knows nothing else (Papernot et al. 2017). Such
transfer is what DVERGE was made to hinder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from torch import Tensor

from dverge import checkpoints
from dverge.attacks import MIXTURE, AttackConfig, Norm, Victim, pgd
from dverge.checkpoints import CheckpointInfo
from dverge.errors import CheckpointError
from dverge.evaluation.measurements import Batch, Measurement, ProjectedGradient, Query
from dverge.models import Ensemble, compiled

SURROGATES = tuple(
    f"{method}-3xconv-s{seed}" for seed in (0, 1) for method in ("vanilla", "dverge", "dverge-advt")
)
STEPS = 10
MOST_KEPT = 2**29  # bytes of adversarial images that a measurement keeps for further ensembles
WAYS = tuple(product((0.0, 1.0), (*map(Victim, range(3)), MIXTURE)))
"""The momentum and the victim of each attack on a surrogate of three members; PGD has none."""


@dataclass(frozen=True)
class BlackBox(Query):
    """PGD and momentum FGSM (Dong et al. 2018) on each member and the mixture of each surrogate.

    A surrogate is a shipped ensemble of another lineage: another seed, and no training in common.
    An image counts if it is right before and on every one of the transferred images.

    Attributes:
        eps: the L-inf budget.
        seed: of the random starts.
        surrogates: the checkpoints; those of SURROGATES that fit, see `against`.
    """

    eps: float
    seed: int = 0
    surrogates: tuple[CheckpointInfo, ...] = ()
    attack = "black-box"
    _kept: dict[tuple[Any, ...], Tensor] = field(default_factory=dict, compare=False, repr=False)
    _loaded: dict[str, Ensemble] = field(default_factory=dict, compare=False, repr=False)

    def against(self, info: CheckpointInfo) -> Measurement:
        """The attack on a checkpoint, from those surrogates that share no training with it.

        Raises:
            CheckpointError: a surrogate is missing, or all are the checkpoint's relatives.
        """
        shipped = [checkpoints.read(checkpoints.find(name)) for name in SURROGATES]
        by_digest = {each.digest: each for each in checkpoints.list_all()[0]}
        family, seed = lineage(info, by_digest), info.card.seed
        strangers = tuple(
            each
            for each in shipped
            if not family & lineage(each, by_digest) and (seed is None or each.card.seed != seed)
        )
        if not strangers:
            raise CheckpointError(f"all surrogates share a training with checkpoint {info.name!r}.")
        return replace(self, surrogates=strangers)

    def parameters(self) -> dict[str, Any]:
        shown = {"eps": self.eps, "steps": STEPS, "seed": self.seed}
        named = ", ".join(f"{each.name} {each.digest[:12]}" for each in self.surrogates)
        return shown | ({"surrogates": named} if named else {})

    def cost(self) -> float:
        return STEPS

    def attempts(self, victim: Victim | None) -> int:
        return len(WAYS) * max(1, len(self.surrogates))

    def shown(self, batch: Batch, attempt: int) -> Tensor:
        """The transferred images: the same for all ensembles, so they are made once."""
        info, way = self.surrogates[attempt // len(WAYS)], attempt % len(WAYS)
        key = (info.digest, way, *batch.numbers)
        if (kept := self._kept.get(key)) is not None:
            return kept
        if info.digest not in self._loaded:
            self._loaded[info.digest] = compiled(checkpoints.load(info).to(batch.pixels.device))
        momentum, victim = WAYS[way]
        attack = ProjectedGradient("transfer", self._config(momentum))
        made = attack.changed(self._loaded[info.digest], batch, victim, attempt=0)
        if len(self._kept) < MOST_KEPT // made.nbytes:
            self._kept[key] = made
        return made

    def _config(self, momentum: float) -> AttackConfig:
        """PGD from a random start, or momentum FGSM from the image itself."""
        if not momentum:
            return pgd(Norm.LINF, self.eps, steps=STEPS, seed=self.seed)
        return AttackConfig(Norm.LINF, self.eps, self.eps / STEPS, STEPS, momentum=momentum)


def lineage(info: CheckpointInfo, by_digest: Mapping[str, CheckpointInfo]) -> set[str]:
    """The digests of a checkpoint, of the one that its training started from, and so on back.

    Args:
        info: the checkpoint.
        by_digest: the checkpoints there are; the chain ends at one that is not among them.
    """
    chain, digest = set(), info.digest
    while digest and digest not in chain:
        chain.add(digest)
        link = info if digest == info.digest else by_digest.get(digest)
        digest = str(link.card.config.get("start_digest") or "") if link else ""
    return chain
