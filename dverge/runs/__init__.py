"""Runs: jobs with a folder each, and the threads that work through them."""

from dverge.runs.folder import RunFolder, runs_folder
from dverge.runs.manager import RunManager
from dverge.runs.records import EVALUATION, RunSpec, RunState, RunView, Status
from dverge.runs.work import Control, execute, new_run_name

__all__ = [
    "EVALUATION",
    "Control",
    "RunFolder",
    "RunManager",
    "RunSpec",
    "RunState",
    "RunView",
    "Status",
    "execute",
    "new_run_name",
    "runs_folder",
]
