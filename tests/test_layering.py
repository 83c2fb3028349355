"""The arrows of the design, held by reading the imports; and a few calls that must not be made."""

from __future__ import annotations

import ast
import graphlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
LIBRARY = sorted((REPOSITORY / "dverge").rglob("*.py"))
PAGES = sorted((REPOSITORY / "pages").rglob("*.py"))

GROUND = {"errors", "seeds", "devices", "stored", "data", "models"}
ROOMS: dict[str, set[str]] = {
    "__init__": set(),
    "errors": set(),
    "seeds": set(),
    "stored": {"errors"},
    "devices": {"errors"},
    "data": {"errors", "seeds", "stored"},
    "models": {"errors"},
    "attacks": {"models", "errors", "seeds"},
    "results": {"data", "errors", "stored"},
    "checkpoints": {"models", "results", "errors", "stored"},
    "weights": {"checkpoints", "models", "errors", "stored"},
    "training": {"attacks", "checkpoints"} | GROUND,
    "evaluation": {"attacks", "checkpoints", "results"} | GROUND,
    "benchmark": {"training", "attacks", "evaluation"} | GROUND,
    "exploration": {"evaluation", "attacks", "checkpoints", "results"} | GROUND,
    "reproduction": {"training", "evaluation", "checkpoints", "results"} | GROUND,
    "runs": {"training", "evaluation", "reproduction", "checkpoints", "results"} | GROUND,
}
ROOMS["charts"] = set(ROOMS) - {"__init__", "training", "weights", "benchmark"}
ROOMS["commands"] = set(ROOMS) - {"__init__"}
ROOMS["__main__"] = {"commands", "errors"}
THREADS = {
    f"dverge.runs.{name}"
    for name in ("manager", "work", "jobs", "evaluating", "Control", "RunManager", "execute")
}
TOP_LEVEL = {"README.md", "requirements.txt", "app.py", "pages", "dverge", "checkpoints", "tests"}


def imported(tree: ast.AST) -> Iterator[str]:
    """Full names of all that is imported anywhere in a module, such as dverge.data.load."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def rooms_of(source: str) -> set[str]:
    """The rooms of the library that a module imports from."""
    ours = (name for name in imported(ast.parse(source)) if within(name, "dverge"))
    return {name.split(".")[1] for name in ours}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


def room_of(path: Path) -> str:
    return path.relative_to(REPOSITORY / "dverge").with_suffix("").parts[0]


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """All calls in a module, each with the name it is written by, such as torch.load."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            yield ast.unparse(node.func), node


def unsafe_loads(source: str) -> list[int]:
    """Lines that unpickle, or that load with torch and do not say weights_only=True."""
    lines = []
    for name, call in calls(ast.parse(source)):
        given = {each.arg: ast.unparse(each.value) for each in call.keywords}
        if name in ("pickle.load", "pickle.loads", "pickle.Unpickler") or (
            name == "torch.load" and given.get("weights_only") != "True"
        ):
            lines.append(call.lineno)
    return lines


def relative_paths(source: str) -> list[int]:
    """Lines that take a path from the working directory: a relative literal anywhere, or the
    working directory itself outside a function, that is, at import time."""
    tree = ast.parse(source)
    lines = []
    for name, call in calls(tree):
        first = call.args[0] if call.args else None
        text = first.value if isinstance(first, ast.Constant) else None
        opens = name in ("Path", "pathlib.Path", "open")
        if opens and isinstance(text, str) and not text.startswith("/"):
            lines.append(call.lineno)
    inner = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    for node in ast.walk(tree):
        if isinstance(node, inner):
            node.body = []
    asks = ("Path.cwd", "os.getcwd", "os.path.abspath")
    return lines + [call.lineno for name, call in calls(tree) if name in asks]


def ids(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


@pytest.mark.parametrize("path", LIBRARY, ids=ids)
def test_a_room_imports_only_from_the_rooms_below(path: Path) -> None:
    room = room_of(path)
    assert room in ROOMS, f"{room} is no room of the design"
    assert rooms_of(path.read_text(encoding="utf-8")) <= ROOMS[room] | {room}


def test_no_module_imports_itself_through_others() -> None:
    """No circle among the imports at the top of modules."""
    modules = {module_of(path): path for path in LIBRARY}
    imports: dict[str, set[str]] = {}
    for module, path in modules.items():
        top = ast.Module(
            [
                node
                for node in ast.parse(path.read_text(encoding="utf-8")).body
                if isinstance(node, ast.Import | ast.ImportFrom)
            ],
            [],
        )
        names = {name if name in modules else name.rpartition(".")[0] for name in imported(top)}
        imports[module] = names & modules.keys() - {module}
    graphlib.TopologicalSorter(imports).prepare()  # raises CycleError


@pytest.mark.parametrize("path", LIBRARY, ids=ids)
def test_the_library_knows_no_screen(path: Path) -> None:
    names = set(imported(ast.parse(path.read_text(encoding="utf-8"))))
    for foreign in ("streamlit", "pages", "app", "tests"):
        assert not [name for name in names if within(name, foreign)]


@pytest.mark.parametrize("path", [path for path in LIBRARY if room_of(path) == "charts"], ids=ids)
def test_charts_draw_and_start_nothing(path: Path) -> None:
    names = imported(ast.parse(path.read_text(encoding="utf-8")))
    assert not [name for name in names if any(within(name, thread) for thread in THREADS)]


@pytest.mark.parametrize("path", PAGES, ids=ids)
def test_pages_import_the_library_and_their_widgets(path: Path) -> None:
    names = list(imported(ast.parse(path.read_text(encoding="utf-8"))))
    pages = [name for name in names if within(name, "pages")]
    assert all(within(name, "pages.widgets") for name in pages)
    assert not [name for name in names if within(name, "app") or within(name, "tests")]


@pytest.mark.parametrize("path", LIBRARY + PAGES, ids=ids)
def test_nothing_is_unpickled_and_no_path_hangs_on_the_working_directory(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert unsafe_loads(source) == []
    assert relative_paths(source) == []


def test_the_top_level_is_as_agreed() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    tracked = {line.split("/")[0] for line in listed.stdout.splitlines()}
    found = tracked or {path.name for path in REPOSITORY.iterdir()} - {"__pycache__"}
    visible = {name for name in found if not name.startswith(".")}
    assert visible <= TOP_LEVEL | {"pyproject.toml"}


# --- the readers themselves ---


@pytest.mark.parametrize(
    ("source", "rooms"),
    [
        ("from dverge import checkpoints", {"checkpoints"}),
        ("import dverge.data.images as d", {"data"}),
        ("from dverge.runs.work import execute", {"runs"}),
        ("def f():\n    from dverge.models import Conv", {"models"}),
        ("import torch\nfrom dvergent import x", set()),
    ],
)
def test_imports_are_read(source: str, rooms: set[str]) -> None:
    assert rooms_of(source) == rooms


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("torch.load(f, weights_only=True)", False),
        ("torch.load(f)", True),
        ("torch.load(f, weights_only=False)", True),
        ("torch.load(f, weights_only=safe)", True),
        ("def f():\n    return pickle.loads(x)", True),
        ("json.load(f)", False),
    ],
)
def test_unsafe_loads_are_seen(source: str, found: bool) -> None:
    assert bool(unsafe_loads(source)) is found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("P = Path('checkpoints')", True),
        ("def f():\n    return open('x.json')", True),
        ("P = Path(__file__).parent", False),
        ("P = Path('/etc')", False),
        ("P = Path.cwd()", True),
        ("class A:\n    P = Path.cwd()", True),
        ("def f():\n    return Path.cwd()", False),
    ],
)
def test_relative_paths_are_seen(source: str, found: bool) -> None:
    assert bool(relative_paths(source)) is found
