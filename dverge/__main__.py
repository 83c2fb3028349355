"""The command line: python -m dverge COMMAND."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from dverge.commands import INTERRUPTED_EXIT
from dverge.errors import DvergeError

COMMANDS = {  # each is dverge/commands/<module>.py
    "data": ("data", "get CIFAR-10 once, verified"),
    "train": ("train", "train an ensemble, or resume a run"),
    "evaluate": ("evaluate", "measure checkpoints under attack"),
    "reproduce": ("reproduce", "the report's tables and figures again"),
    "import": ("import_weights", "make a checkpoint of Conv state dicts"),
    "export": ("export_weights", "write a checkpoint's plain state dicts"),
    "tour": ("tour", "choose the guided tour's pictures again"),
    "ablation": ("ablation", "train the tuned recipe's variants again"),
    "bench": ("bench", "time the fast engines against plain PyTorch"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; an expected error is one line on standard error and exit status 2."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = build_parser(words[:1]).parse_args(words)
    try:
        return arguments.run(arguments)
    except (DvergeError, OSError) as error:
        print(f"dverge: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED_EXIT


def build_parser(called: Sequence[str]) -> argparse.ArgumentParser:
    """The parser; only the command that is called is imported and adds its options."""
    parser = argparse.ArgumentParser(prog="python -m dverge", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (module, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary)
        if name in called:
            code = importlib.import_module(f"dverge.commands.{module}")
            code.add_arguments(command)
            command.set_defaults(run=code.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
