"""What all pages share: navigation, start-up, what to do without checkpoints, and the caches."""

from __future__ import annotations

import ast
import json
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit import config

from dverge import checkpoints
from dverge.attacks import MIXTURE, Norm, pgd
from dverge.checkpoints import CheckpointInfo
from dverge.data import Split, load
from dverge.models import Ensemble, seeded_conv
from pages.widgets.lab.view import outcome_of
from pages.widgets.shared.attack_form import AttackChoice
from pages.widgets.shared.ensemble_choice import first_of_each
from pages.widgets.shared.images import ChosenImage
from pages.widgets.shared.navigation import PAGES
from pages.widgets.shared.resources import correct_everywhere, load_ensemble, results_of
from pages.widgets.tour.steps import STEPS
from tests.pages.conftest import ROOT
from tests.pages.screen import VANILLA, charts, errors, html, open_page, picture, text

ANSWERS = ('class="dv-verdict', "dv-features", "dv-maps")  # of the pages with an attack

# --- pages ---


def test_every_script_is_a_page_and_every_page_a_script() -> None:
    assert sorted(script for script, *_ in PAGES) == sorted(
        path.stem for path in (ROOT / "pages").glob("*.py")
    )
    for i in range(4):  # each column has no two alike
        assert len({page[i] for page in PAGES}) == len(PAGES)


@pytest.mark.parametrize("script", [script for script, *_ in PAGES])
def test_every_page_opens(shipped: Path, script: str) -> None:
    app = open_page(script)
    assert errors(app) == [] and app.title[0].value
    if any(box.key == "ensembles" for box in app.multiselect):
        app.multiselect(key="ensembles").set_value([]).run()
        assert errors(app) == [] and "Choose at least one ensemble" in text(app)
        assert not any(mark in html(app) for mark in ANSWERS)


@pytest.mark.parametrize(
    ("script", "query"),
    [
        ("tour", {"tour_step": "0"}),
        ("tour", {"tour_step": "8"}),
        ("tour", {"tour_step": "-1"}),
        ("tour", {"tour_step": "frog"}),
        ("lab", {"ensembles": "none-such", "eps": "-1"}),
        ("lab", {"eps": "nan", "steps": "0", "victim": "member-99", "image": "-5", "scale": "-3"}),
        ("lab", {"attack": "magic", "image": "frog", "target": "unicorn", "seed": "-1"}),
        ("lab", {"attack": "PGD L2", "eps_l2": "inf", "step": "-1", "lab_tab": "Nothing"}),
        ("distilled", {"source_image": "-1", "layer": "6", "at": "11", "distil_eps": "nan"}),
        ("distilled", {"source_image": "frog", "layer": "second", "at": "nan", "distil_eps": "7"}),
        ("distilled", {"target_image": "99999999", "distil_steps": "0", "perturbations": "maybe"}),
        ("distilled", {"ensembles": "none-such", "distil_steps": "51", "distil_step_size": "-1"}),
        ("regions", {"points": "62", "extent": "-1", "direction": "-1", "plane": "elliptic"}),
        ("regions", {"points": "0", "ensembles": "none-such", "eps": "nan"}),
        ("robustness", {"robust_ensembles": "none-such", "robust_images": "7 test images"}),
        ("robustness", {"robust_attack": "magic", "robust_tabs": "Nothing"}),
    ],
)
def test_nonsense_in_the_address_never_breaks_a_page(
    shipped: Path, script: str, query: dict[str, str]
) -> None:
    app = open_page(script, **query)
    assert errors(app) == []
    if script == "tour":
        assert app.title[0].value == STEPS[0].title
    elif script == "robustness":
        assert len(charts(app)) == 1 and "What can be claimed" in text(app)
    else:
        assert app.info or any(mark in html(app) for mark in ANSWERS)


@pytest.mark.parametrize("script", ["lab", "distilled", "regions", "robustness"])
def test_without_a_checkpoint_a_page_says_how_to_get_one(
    shipped: Path, tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVERGE_CHECKPOINTS", str(tmp_path))
    app = open_page(script)
    assert errors(app) == [] and "There is no checkpoint yet" in text(app)
    assert not app.button


# --- start-up ---

IMPORTS = """
import ast, os, sys, streamlit
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            os._exit(0 if "dverge" in sys.modules else 1)
def imports_of(script):
    for node in ast.parse(open(script).read()).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            exec(compile(ast.Module([node], []), "page", "exec"), {})
sys.path.insert(0, os.getcwd())
for script in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        sys.meta_path.insert(0, Watch())
        try:
            imports_of(script)
        finally:
            os._exit(2)
    print(script, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_every_page_loads_the_library_before_torch() -> None:
    """The library sets how torch's threads wait, which only counts before torch is loaded.

    A server's first visit may run a page's script alone.
    """
    scripts = ["app.py", *(f"pages/{script}.py" for script, *_ in PAGES)]
    command = [sys.executable, "-c", IMPORTS, *scripts]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == [f"{script} 0" for script in scripts], ended.stderr


def test_a_taken_port_is_one_clear_message() -> None:
    with socket.create_server(("localhost", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "streamlit", "run", "app.py", f"--server.port={port}"]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode != 0
    assert f"Port {port} is not available" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


def test_the_shipped_configuration() -> None:
    assert config.get_option("server.address") == "localhost"
    assert config.get_option("browser.gatherUsageStats") is False
    assert config.get_option("server.maxUploadSize") <= 20
    assert config.get_option("client.showErrorDetails") == "none"


# --- caches ---


def test_every_cache_is_bounded_and_keyed_by_content() -> None:
    count = 0
    for path in (ROOT / "pages").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef) or not node.args.args:
                continue
            for decorator in node.decorator_list:
                text = ast.unparse(decorator)
                if text.startswith("st.cache_"):
                    count += 1
                    assert "max_entries=" in text and "hash_funcs=BY_CONTENT" in text, node.name
                    assert not any(arg.arg.startswith("_") for arg in node.args.args), node.name
    assert count > 15


@pytest.fixture
def twins(folders: Path) -> tuple[CheckpointInfo, CheckpointInfo]:
    """Two checkpoints of equal weights."""
    root = folders / "checkpoints"
    shutil.copytree(root / VANILLA, root / "twin")
    return checkpoints.read(root / VANILLA), checkpoints.read(root / "twin")


def test_equal_weights_are_loaded_once_and_others_anew(
    twins: tuple[CheckpointInfo, CheckpointInfo],
) -> None:
    first, twin = twins
    assert load_ensemble(first) is load_ensemble(twin)
    images = load(Split.SAMPLE).subset(range(20))
    assert correct_everywhere(first, images) == correct_everywhere(twin, images)
    shutil.rmtree(twin.folder)
    other = checkpoints.save("twin", Ensemble([seeded_conv(0)]), method="vanilla")
    assert load_ensemble(other) is not load_ensemble(first)
    assert len(load_ensemble(other)) == 1
    assert correct_everywhere(other, images) != correct_everywhere(first, images)


def test_results_are_read_again_when_a_file_changes_and_name_their_own_checkpoint(
    twins: tuple[CheckpointInfo, CheckpointInfo],
) -> None:
    first, twin = twins
    assert results_of(first) is results_of(first)
    for info in twins:
        names = {row.checkpoint for file in results_of(info) for row in file.results}
        assert names == {info.name}
    before = results_of(twin)
    file = next((twin.folder / "evaluations").glob("standard-*.json"))
    value = json.loads(file.read_text())
    value["finished"] = value["finished"][:1]
    file.write_text(json.dumps(value))
    assert sum(len(each.results) for each in results_of(twin)) < sum(
        len(each.results) for each in before
    )


def test_an_outcome_is_kept_by_weights_pixels_class_and_attack(
    twins: tuple[CheckpointInfo, CheckpointInfo], monkeypatch: pytest.MonkeyPatch
) -> None:
    attacked = []

    def examine(*arguments: object) -> int:
        attacked.append(arguments)
        return len(attacked)

    monkeypatch.setattr("pages.widgets.lab.view.examine", examine)
    pixels, label = picture()
    image = ChosenImage(pixels, label, "test image 5", "image-5", 5)
    choice = AttackChoice(pgd(Norm.LINF, 0.01, steps=1), MIXTURE, None)
    first, twin = twins
    alone = checkpoints.save("alone", Ensemble([seeded_conv(0)]), method="vanilla")
    outcome_of.clear()
    assert outcome_of(first, image, choice) == 1
    same = ChosenImage(pixels.clone(), label, "your picture", "own-picture", 5)
    assert outcome_of(twin, same, choice) == 1
    changed = [
        outcome_of(alone, image, choice),
        outcome_of(first, replace(image, pixels=pixels + 1e-6), choice),
        outcome_of(first, replace(image, label=label + 1), choice),
        outcome_of(first, image, replace(choice, config=replace(choice.config, seed=1))),
        outcome_of(first, image, replace(choice, target=3)),
    ]
    assert changed == [2, 3, 4, 5, 6]
    outcome_of.clear()


# --- choosing ensembles ---


def saved(root: Path, name: str, method: str) -> CheckpointInfo:
    return checkpoints.save(name, Ensemble([seeded_conv(0)]), method=method, root=root)


def test_checkpoints_named_after_their_method_come_first(tmp_path: Path) -> None:
    for name in ("a-try", "vanilla-3xconv-s1", "vanilla-3xconv-s0", "vanilla-3xconv-s0-100"):
        saved(tmp_path, name, "vanilla")
    saved(tmp_path, "dverge-x", "dverge")
    available = checkpoints.list_all(tmp_path)[0]
    first = first_of_each(available, ("dverge", "vanilla", "advt"))
    assert [info.name for info in first] == ["dverge-x", "vanilla-3xconv-s0"]


def test_without_the_methods_any_checkpoint_comes_first(tmp_path: Path) -> None:
    saved(tmp_path, "mine", "imported")
    available = checkpoints.list_all(tmp_path)[0]
    assert [info.name for info in first_of_each(available, ("vanilla",))] == ["mine"]
    assert first_of_each([], ("vanilla",)) == []
