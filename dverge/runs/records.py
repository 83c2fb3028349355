"""What is known of a run: what it is, how it stands, and both as others see them."""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass, field, replace
from typing import Any

from dverge.errors import require, require_choice, require_number

EVALUATION = "evaluation"  # the kind of a run that measures; one that trains has its method's
FAR = 1e15  # above any time or count that a run's files hold


class RunState(enum.StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FINISHED = "finished"
    FAILED = "failed"
    INTERRUPTED = "interrupted"

    @property
    def active(self) -> bool:
        """Some process has it in its queue or works on it."""
        return self in (RunState.QUEUED, RunState.RUNNING, RunState.PAUSING, RunState.STOPPING)

    @property
    def resumable(self) -> bool:
        """It can be put in the queue again."""
        return not self.active and self is not RunState.FINISHED


@dataclass(frozen=True)
class RunSpec:
    """What a run is: written once, only its name may change.

    Attributes:
        name: its own, and of the checkpoint it may become.
        kind: the method of a training, or EVALUATION.
        config: the settings, as plain JSON values.
        created: when (Unix time).
    """

    name: str
    kind: str
    config: dict[str, Any]
    created: float

    def __post_init__(self) -> None:
        for name in ("name", "kind"):
            require(isinstance(getattr(self, name), str), name, getattr(self, name), "a text")
        require(isinstance(self.config, dict), "config", self.config, "an object")
        require_number("created", self.created, 0, FAR)

    @property
    def is_evaluation(self) -> bool:
        """It measures checkpoints; else it trains one."""
        return self.kind == EVALUATION


@dataclass(frozen=True)
class Status:
    """How a run stands.

    Attributes:
        state: see RunState.
        message: the reason of a failure, or a word on the state.
        progress: share done, 0 to 1.
        epoch: epochs (of an evaluation: measurements) done.
        seconds_left: estimate, None if there is none.
        images_per_second: of the last look, None before the first and for an evaluation.
        elapsed: seconds worked on it, over all sessions.
        device: what it runs on, in words.
        checkpoint: name of the checkpoint it became, None if it became none.
        updated: when this was written (Unix time).
    """

    state: RunState
    message: str = ""
    progress: float = 0.0
    epoch: float = 0.0
    seconds_left: float | None = None
    images_per_second: float | None = None
    elapsed: float = 0.0
    device: str = ""
    checkpoint: str | None = None
    updated: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", require_choice(RunState, "state", self.state))
        for name in ("message", "device"):
            require(isinstance(getattr(self, name), str), name, getattr(self, name), "a text")
        for name in ("progress", "epoch", "elapsed", "updated"):
            require_number(name, getattr(self, name), 0, FAR)
        for name in ("seconds_left", "images_per_second"):
            if getattr(self, name) is not None:
                require_number(name, getattr(self, name), 0, FAR)

    def moved(self, state: RunState, message: str = "") -> Status:
        """This status in another state."""
        return replace(self, state=state, message=message, seconds_left=None, updated=time.time())


@dataclass(frozen=True)
class RunView:
    """A run as others see it: a snapshot.

    Attributes:
        id: its folder's name.
        spec: what it is.
        status: how it stands.
        elsewhere: another process works on it; it can only be watched.
    """

    id: str
    spec: RunSpec
    status: Status
    elsewhere: bool = False
