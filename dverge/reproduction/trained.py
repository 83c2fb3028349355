"""The report's trainings among the checkpoints, and the figures of each that belong in its tables.

A checkpoint is one of a training's if it has the method, the epochs and the settings (see RECIPES);
those that differ by seed or machine alone are further samples of the same figures.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dverge.checkpoints import CheckpointInfo
from dverge.data import Split
from dverge.errors import ConfigError
from dverge.evaluation.protocols import EPS, L2_EPS, PLANS, REPORT_EPS, Protocol
from dverge.evaluation.store import Images, ResultFile, results_under, shared_images
from dverge.reproduction.tables import COLUMNS, MEMBERS, RECIPES
from dverge.results import MIXTURE_NAME, Result, headlines
from dverge.training import config_from

SNAPSHOT = re.compile(r".*-e(\d+)")
AUTO_COLUMNS = ("aa-linf", "aa-l2")
SETTINGS: dict[Protocol, dict[str, dict[str, Any]]] = {
    Protocol.REPORT: {column: {} for column in COLUMNS},
    Protocol.STANDARD: {
        "clean": {},
        "fgsm": {"eps": REPORT_EPS},
        "pgd-linf": {"eps": REPORT_EPS, "steps": 50},
        "pgd-l2": {"eps": L2_EPS, "steps": 50},
    },
    Protocol.AUTOATTACK: {"aa-linf": {"eps": EPS}, "aa-l2": {"eps": L2_EPS}},
}
"""What stands in each column, by protocol: the attack of that name at this setting."""


@dataclass(frozen=True)
class Trained:
    """A training and its figures.

    Attributes:
        info: its checkpoint.
        figures: each model's own, by protocol, model and column.
        single: the mixture's under the standard protocol's single attacks, by column and victim.
    """

    info: CheckpointInfo
    figures: dict[tuple[Protocol, str, str], Result]
    single: dict[tuple[str, str], Result]

    @classmethod
    def of(
        cls, info: CheckpointInfo, kept: Sequence[ResultFile], images: dict[Protocol, Images]
    ) -> Trained:
        """What is kept of a checkpoint on these images; of several seeds, the one with most."""
        figures: dict[tuple[Protocol, str, str], Result] = {}
        single: dict[tuple[str, str], Result] = {}
        for protocol, on in images.items():
            rows = _rows(info, kept, protocol, on)
            for figure in headlines(row for row in rows.values()):
                figures[protocol, figure.model, figure.attack] = rows[id(figure)]
            if protocol is Protocol.STANDARD:
                single |= {
                    (row.attack, row.parameters["victim"]): row
                    for row in rows.values()
                    if row.model == MIXTURE_NAME and "victim" in row.parameters
                }
        return cls(info, figures, single)

    def tested(self, model: str) -> Result | None:
        """Accuracy without attack on the most test images that it was counted on."""
        kept = self.figures.get((Protocol.STANDARD, model, "clean"))
        stated = [
            replace(
                row,
                checkpoint=self.info.name,
                protocol=Protocol.STANDARD,
                weights=self.info.digest,
            )
            for row in self.info.card.results
            if (row.model, row.attack, row.split) == (model, "clean", Split.TEST)
        ]
        return max([*stated, *([kept] if kept else [])], key=lambda r: r.n, default=None)


def _rows(
    info: CheckpointInfo, kept: Sequence[ResultFile], protocol: Protocol, on: Images
) -> dict[int, Result]:
    """A checkpoint's rows under a protocol that belong in a column, by their figure's identity."""
    rows = results_under(kept, protocol, on)
    return {id(row): row for row in rows if _belongs(row, protocol)}


def _belongs(figure: Result, protocol: Protocol) -> bool:
    """Whether a figure is at the setting of its column."""
    due = SETTINGS[protocol].get(figure.attack)
    return due is not None and all(figure.parameters.get(k) == v for k, v in due.items())


def most_measured(protocol: Protocol, kept: Iterable[Sequence[ResultFile]]) -> Images | None:
    """Those of a protocol's own split that most ensembles were measured on."""
    shared = shared_images(kept, protocol)
    return next((images for images in shared if images.split is PLANS[protocol].split), None)


def snapshot_epoch(name: str) -> int | None:
    """The epoch after which a run left this checkpoint behind; None if it is none such."""
    found = SNAPSHOT.fullmatch(name)
    return int(found[1]) if found else None


def trained_as(
    infos: Sequence[CheckpointInfo], method: str, epochs: int, recipe: str = ""
) -> tuple[CheckpointInfo, ...]:
    """The checkpoints of a method's recipe after so many epochs, each of its own weights.

    In order of seeds, and of names within one.
    """
    unlike: dict[str, CheckpointInfo] = {}
    for info in sorted(infos, key=lambda info: (info.card.seed or 0, info.name)):
        if _fits(info, method, epochs, RECIPES[recipe or method]):
            unlike.setdefault(info.digest, info)
    return tuple(unlike.values())


def _fits(info: CheckpointInfo, method: str, epochs: int, recipe: dict[str, Any]) -> bool:
    card = info.card
    after = snapshot_epoch(info.name) or card.config.get("epochs")
    if card.method != method or after != epochs or len(card.members) != MEMBERS or card.classes:
        return False
    try:
        settings = config_from(method, card.config).to_dict()  # a card may be older than some
    except ConfigError:
        return False
    started = method == "vanilla" or settings["start"]
    return bool(started) and all(settings[k] == v for k, v in recipe.items())
