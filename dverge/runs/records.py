"""What is known of a run: what it is, its state, and both together as others see them."""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass, field, fields, replace

from dverge.errors import require_choice
from dverge.evaluation.protocols import EvaluationConfig
from dverge.stored import NonNegative, Setting, Timestamp, check_name
from dverge.training import CONFIGS, Method, TrainingConfig, config_from

EVALUATION = "evaluation"  # the kind of a run that measures; one that trains has its method's


class RunState(enum.StrEnum):
    """The states of a run."""

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
        """Whether a process has it in its queue or works on it."""
        return self in (RunState.QUEUED, RunState.RUNNING, RunState.PAUSING, RunState.STOPPING)

    @property
    def resumable(self) -> bool:
        """Whether it can be put in the queue again."""
        return not self.active and self is not RunState.FINISHED


@dataclass(frozen=True)
class RunSpec:
    """What a run is: written once, only its name may change.

    Attributes:
        name: its own, and of the checkpoint that it may become.
        kind: the method of a training, or EVALUATION.
        config: the settings, as JSON values. A newer version may have written fields that this
            one does not know: the run is shown, but settings() refuses it.
        created: when (Unix time).

    Raises:
        ConfigError: the name or the kind is not allowed, or a setting is missing or out of range.
    """

    name: str
    kind: str
    config: dict[str, Setting]
    created: Timestamp

    def __post_init__(self) -> None:
        check_name(self.name)
        method = None if self.is_evaluation else require_choice(Method, "kind", self.kind)
        known = fields(CONFIGS[method] if method else EvaluationConfig)
        names = {each.name for each in known}
        self._config({name: value for name, value in self.config.items() if name in names})

    @property
    def is_evaluation(self) -> bool:
        """Whether it measures checkpoints; otherwise it trains one."""
        return self.kind == EVALUATION

    def settings(self) -> TrainingConfig | EvaluationConfig:
        """The settings as a config.

        Raises:
            ConfigError: there is a field that this version does not know.
        """
        return self._config(self.config)

    def _config(self, values: dict[str, Setting]) -> TrainingConfig | EvaluationConfig:
        if self.is_evaluation:
            return EvaluationConfig.from_dict(values)
        return config_from(self.kind, values)


@dataclass(frozen=True)
class Status:
    """The state and progress of a run.

    Attributes:
        state: see RunState.
        message: why it failed, or a remark on the state.
        progress: share done, 0 to 1.
        epoch: epochs done; of an evaluation, measurements.
        seconds_left: estimate, None if there is none.
        images_per_second: at the last update, None before the first and for an evaluation.
        elapsed: seconds worked on it, over all sessions.
        device: the name of what it runs on.
        checkpoint: name of the checkpoint that it became, None if it became none.
        updated: when this was written (Unix time).
    """

    state: RunState
    message: str = ""
    progress: NonNegative = 0.0
    epoch: NonNegative = 0.0
    seconds_left: NonNegative | None = None
    images_per_second: NonNegative | None = None
    elapsed: NonNegative = 0.0
    device: str = ""
    checkpoint: str | None = None
    updated: Timestamp = field(default_factory=time.time)

    def moved(self, state: RunState, message: str = "") -> Status:
        """This status in another state."""
        return replace(self, state=state, message=message, seconds_left=None, updated=time.time())


@dataclass(frozen=True)
class RunView:
    """A snapshot of a run.

    Attributes:
        id: its folder's name.
        spec: what it is.
        status: its state and progress.
        elsewhere: another process works on it; it can only be watched.
    """

    id: str
    spec: RunSpec
    status: Status
    elsewhere: bool = False
