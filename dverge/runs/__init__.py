"""Runs: a folder for each, the job that it does, and the queues that work through them."""

from dverge.runs.folder import RunFolder, runs_folder
from dverge.runs.manager import RunManager
from dverge.runs.records import EVALUATION, RunSpec, RunState, RunView, Status
from dverge.runs.retraining import RETRAINED, TUNED, retraining, retraining_name
from dverge.runs.tasks import Task, TaskSnapshot
from dverge.runs.work import Control, execute, new_run_name

__all__ = [
    "EVALUATION",
    "RETRAINED",
    "TUNED",
    "Control",
    "RunFolder",
    "RunManager",
    "RunSpec",
    "RunState",
    "RunView",
    "Status",
    "Task",
    "TaskSnapshot",
    "execute",
    "new_run_name",
    "retraining",
    "retraining_name",
    "runs_folder",
]
