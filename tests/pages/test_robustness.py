"""The robustness page in process, on the results shipped with the checkpoints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from dverge import checkpoints
from dverge.attacks import Norm, pgd
from dverge.charts.tables import result_frame
from dverge.data import Split, load
from dverge.evaluation.comparison import Standing, claims
from dverge.evaluation.diversity import correct_pairs, draw_pairs
from dverge.evaluation.protocols import Protocol
from dverge.evaluation.store import all_results
from dverge.evaluation.transfer import Transfer, transfer
from dverge.exploration.overlap import Mean, overlap
from dverge.results import Result
from pages.widgets.distilled import pairs
from pages.widgets.distilled.pairs import SCALE_NOTE
from pages.widgets.robustness import pair_tabs
from pages.widgets.robustness.view import FIRST_ATTACK, SUMMARY_PROTOCOLS
from pages.widgets.shared.resources import load_ensemble, load_fast
from tests.pages.conftest import ROOT
from tests.pages.screen import DVERGE, VANILLA, charts, errors, open_page, text

TABS = (
    "All figures",
    "Against eps",
    "Classes",
    "AutoAttack",
    "Black box",
    "Transfer",
    "Diversity",
    "Sanity",
)
SAFE = "masked, makes a model look robust"  # on the tab Sanity
WEIGHTS = "member-2.safetensors"


def opened(**query: str) -> AppTest:
    return open_page("robustness", **query)


def opened_on_two(**query: str) -> AppTest:
    """The page on the shipped vanilla and DVERGE ensembles."""
    return opened(robust_ensembles=DVERGE, **query)


def show(app: AppTest, tab: str) -> AppTest:
    app.session_state["robust-tabs"] = tab
    return app.run()


def sentences(app: AppTest) -> list[str]:
    """What is claimed."""
    return [each.value[2:] for each in app.markdown if each.value.startswith("- ")]


def tamper(root: Path) -> None:
    """Change a byte of the baseline's weights."""
    file = root / VANILLA / WEIGHTS
    file.write_bytes(file.read_bytes()[:-1] + b"x")


# --- expected results ---


def stored(protocol: Protocol, *names: str) -> list[Result]:
    """The shipped results, in order."""
    infos = [checkpoints.read(ROOT / "checkpoints" / name) for name in names or (VANILLA, DVERGE)]
    files = [file for info in infos for file in all_results(info) if file.protocol is protocol]
    return [row for file in files for row in file.results]


def headline(row: Result) -> bool:
    """The attack is on the model itself, or the worst of all on the mixture, or there is none."""
    victim = row.parameters.get("victim", "worst")
    alone = (row.attack, victim) == ("fgsm", "mixture")
    return victim == "worst" or alone or row.model.startswith("member-")


def mixtures(rows: list[Result]) -> list[Result]:
    return [row for row in rows if not row.model.startswith("member-")]


def standing(name: str, attack: str) -> Standing:
    found = Standing.of(name, stored(Protocol.STANDARD, name), attack)
    assert found is not None
    return found


def claimed(attack: str, *others: str) -> list[str]:
    return claims(standing(VANILLA, attack), [standing(name, attack) for name in others], attack)


# --- reading results ---


def test_the_summary_claims_what_the_library_does(shipped: Path) -> None:
    app = opened_on_two()
    assert errors(app) == [] and len(charts(app)) == 1
    assert sentences(app) == claimed(FIRST_ATTACK, DVERGE) and len(sentences(app)) >= 3
    assert "On 1,000 test images, the same for all" in text(app)
    assert not [each for each in app.button if each.label == "Measure"]
    app.selectbox(key="robust-attack").select("FGSM 0.03").run()
    assert errors(app) == [] and sentences(app) == claimed("FGSM 0.03", DVERGE)
    app.multiselect(key="robust-ensembles").set_value([]).run()  # the baseline is always there
    assert errors(app) == [] and sentences(app) == claimed("FGSM 0.03")


def test_a_link_opens_the_whole_view(shipped: Path) -> None:
    app = opened_on_two(
        robust_images="1,000 test images", robust_attack="FGSM 0.03", robust_tabs="Sanity"
    )
    assert errors(app) == []
    assert app.multiselect(key="robust-ensembles").value == [DVERGE]
    assert sentences(app) == claimed("FGSM 0.03", DVERGE)
    assert SAFE in text(app)
    assert app.query_params["robust-tabs"] == "Sanity"


def test_the_table_is_the_librarys(shipped: Path) -> None:
    app = opened_on_two()

    def is_shown(rows: list[Result]) -> bool:
        frame, expected = app.dataframe[0].value, result_frame(rows)
        by: Any = {"by": [*expected.columns], "ignore_index": True}
        pd.testing.assert_frame_equal(frame.sort_values(**by), expected.sort_values(**by))
        return errors(app) == []

    every = [row for protocol in SUMMARY_PROTOCOLS for row in stored(protocol)]
    own = [row for row in every if headline(row)]
    assert is_shown(mixtures(own))
    assert f"{len(mixtures(own))} figures on 1,000 test images." in text(app)
    app.pills(key="table-models").set_value(["mixtures", "submodels"]).run()
    assert is_shown(own)
    app.toggle(key="table-single").set_value(True).run()
    assert is_shown(every)
    app.pills(key="table-models").set_value(["submodels"]).run()
    assert set(app.dataframe[0].value["Model"]) == {"submodel 1", "submodel 2", "submodel 3"}
    app.pills(key="table-models").set_value([]).run()
    assert errors(app) == [] and app.dataframe[0].value.empty

    app = opened_on_two()
    app.pills(key="table-protocols").set_value([Protocol.CURVE]).run()
    assert is_shown(mixtures([row for row in stored(Protocol.CURVE) if headline(row)]))


def test_at_first_the_measured_ensembles_of_the_first_seed_are_compared(folders: Path) -> None:
    root = folders / "checkpoints"
    for name, seed in (("driven-s2", 2), ("unknown", None)):
        shutil.copytree(root / DVERGE, root / name)
        card = json.loads((root / name / "card.json").read_text())
        (root / name / "card.json").write_text(json.dumps(card | {"seed": seed}))
    (root / "foreign").mkdir()
    app = opened()
    box = app.multiselect(key="robust-ensembles")
    first = [VANILLA, DVERGE, "unknown", "dverge-advt-3xconv-s0", "advt-3xconv-s0"]
    assert box.value == [*first, "advt-3xconv-s0-tuned"]
    left_out = {"driven-s2", "dverge-3xconv-s1", "dverge-advt-3xconv-s0-e25"}
    assert left_out | {"vanilla-3xconv-s0-100"} < set(box.options)  # which is not measured
    assert errors(app) == [] and "foreign" in text(app)
    for folder in root.glob("*/evaluations"):
        shutil.rmtree(folder)
    box = opened().multiselect(key="robust-ensembles")
    assert {VANILLA, "vanilla-3xconv-s0-100"} < set(box.value) and not left_out & set(box.value)

    for folder in root.glob("vanilla*"):
        shutil.rmtree(folder)
    app = opened(robust_ensembles="unknown")
    assert "not measured yet" in text(app)
    app.multiselect(key="robust-ensembles").set_value([]).run()
    assert errors(app) == [] and "Choose at least one ensemble" in text(app)


def test_without_a_vanilla_ensemble_nothing_is_compared(folders: Path) -> None:
    for folder in (folders / "checkpoints").glob("vanilla*"):
        shutil.rmtree(folder)
    app = opened_on_two()
    assert errors(app) == [] and len(charts(app)) == 1
    assert "no vanilla ensemble to compare with" in text(app)
    assert sentences(app) == []


# --- transfer and diversity ---


@pytest.fixture
def computing(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Mock, Mock]]:
    """Records the computing of transfer and overlap, on few images."""
    mocks = Mock(wraps=transfer), Mock(wraps=overlap)
    monkeypatch.setattr(pair_tabs, "transfer", mocks[0])
    monkeypatch.setattr(pair_tabs, "IMAGES", 40)
    monkeypatch.setattr(pairs, "overlap", mocks[1])
    monkeypatch.setattr(pairs, "DRAWN", (12, 256))
    caches = (pair_tabs._transfer, pairs.overlap_of, pairs._correct, load_ensemble, load_fast)
    for cached in caches:
        cached.clear()
    yield mocks
    for cached in caches:
        cached.clear()


def test_each_tab_opens_and_only_the_open_one_computes(
    shipped: Path, computing: tuple[Mock, Mock]
) -> None:
    app = opened_on_two()
    counts = dict.fromkeys(TABS, (0, 0)) | {"Transfer": (2, 0), "Diversity": (0, 2)}
    for computed in (counts, dict.fromkeys(TABS, (0, 0))):  # the second time all is cached
        for tab in TABS:
            for mock in computing:
                mock.reset_mock()
            show(app, tab)
            assert errors(app) == []
            assert tuple(mock.call_count for mock in computing) == computed[tab]
            assert len(app.dataframe) == (tab in ("All figures", "AutoAttack", "Black box"))
            assert ("fell at a smaller budget" in text(app)) == (tab == "Against eps")
            assert (SAFE in text(app)) == (tab == "Sanity")


def test_transfer_within_and_across(shipped: Path, computing: tuple[Mock, Mock]) -> None:
    app = show(opened_on_two(), "Transfer")
    images = load(Split.SAMPLE).balanced(40)
    infos = [checkpoints.read(shipped / "checkpoints" / name) for name in (VANILLA, DVERGE)]
    ensembles = [load_fast(info) for info in infos]

    def is_the_librarys(source: int, target: int, eps: float = 0.02) -> Transfer:
        """What the page shows, which is cached, is what the library computes."""
        attack = pgd(Norm.LINF, eps, steps=10)
        expected = transfer(ensembles[source], ensembles[target], images, attack)
        shown = pair_tabs._transfer(infos[source], infos[target], eps)
        assert shown.fooled.equal(expected.fooled) and shown.n == expected.n
        return expected

    assert [each.value for each in app.caption if each.value.startswith("Between")] == [
        f"Between its submodels, {own.between_members():.0f} % of the attacks carry over. "
        f"n = {own.n} images."
        for own in (is_the_librarys(0, 0), is_the_librarys(1, 1))
    ]
    assert text(app).count("PGD L∞ 0.02, 10 steps, crafted on the same ensemble") == 2
    app.selectbox(key="transfer-source").select(DVERGE).run()
    assert errors(app) == [] and len(charts(app)) == 3
    assert f"PGD L∞ 0.02, 10 steps, crafted on {DVERGE}" in text(app)
    assert f"n = {is_the_librarys(1, 0).n} images." in [each.value for each in app.caption]
    app.select_slider(key="transfer-eps").set_value(8 / 255).run()
    assert errors(app) == [] and f"PGD L∞ 8/255, 10 steps, crafted on {DVERGE}" in text(app)
    is_the_librarys(1, 0, 8 / 255)
    assert computing[0].call_count == 5


def test_overlap_and_eq_2_of_all_layers_and_of_one(
    shipped: Path, computing: tuple[Mock, Mock]
) -> None:
    app = show(opened_on_two(), "Diversity")
    infos = [checkpoints.read(shipped / "checkpoints" / name) for name in (VANILLA, DVERGE)]
    both = [load_fast(info) for info in infos]
    drawn = draw_pairs(load(Split.SAMPLE), 256, seed=0)
    correct = correct_pairs(drawn, both)
    expected = overlap(both[1], drawn.subset(correct))

    def mean_is(mean: Mean, unit: str) -> bool:
        captions = [each.value for each in app.caption if each.value.startswith("Between")]
        ends = f"{max(mean.low, 0):.1f} to {mean.high:.1f}"
        figure = f"{mean.value:.1f} {unit} (95 % interval {ends})"
        return captions[1] == f"Between different submodels, {figure}."

    left = f"{int(correct.sum())} of 256 random pairs of bundled test images"
    assert mean_is(expected.others(), "%")  # first, as it does not depend on the logits' scale
    assert left in text(app) and SCALE_NOTE not in text(app)
    app.segmented_control(key="diversity-what").set_value(pair_tabs.LOSS).run()
    assert mean_is(expected.loss(), "nats")
    assert left in text(app) and SCALE_NOTE in text(app)
    app.selectbox(key="diversity-layer").select("layer 2").run()
    assert mean_is(expected.loss(2), "nats")
    setting = "layer 2, L∞ eps 0.07, 10 steps of 0.007"
    assert text(app).count(f"Eq. 2, {setting}") == 2
    app.segmented_control(key="diversity-what").set_value(pair_tabs.OVERLAP).run()
    assert mean_is(expected.others(2), "%")
    assert text(app).count(f"Overlap, {setting}") == 2
    assert errors(app) == [] and computing[1].call_count == 2


def test_the_pairs_are_of_all_ensembles_shown_or_all(
    shipped: Path, computing: tuple[Mock, Mock]
) -> None:
    def n() -> int:
        return len(computing[1].call_args.args[1])

    app = show(opened_on_two(), "Diversity")
    both = n()
    app.multiselect(key="robust-ensembles").set_value([]).run()
    assert 10 <= both < n() < 256
    app.multiselect(key="robust-ensembles").set_value([DVERGE]).run()
    app.segmented_control(key="pairs").set_value(12).run()
    assert "Too few pairs to measure: of 12 random pairs" in text(app)
    assert errors(app) == [] and len(charts(app)) == 1  # the summary's
    app.toggle(key="all-pairs").set_value(True).run()
    assert n() == 12 and "all 12 random pairs of bundled test images" in text(app)
    assert errors(app) == [] and len(charts(app)) == 3


def test_a_tampered_checkpoint_is_an_error_in_its_card(
    folders: Path, computing: tuple[Mock, Mock]
) -> None:
    tamper(folders / "checkpoints")
    app = opened_on_two()
    for tab, cards in (("Transfer", 1), ("Diversity", 0)):  # which compares all ensembles shown
        (error,) = errors(show(app, tab))
        assert f"{WEIGHTS} does not match" in error
        assert len(charts(app)) == 1 + cards  # the summary's, which is stored
    app.segmented_control(key="pairs").set_value(12).run()
    app.toggle(key="all-pairs").set_value(True).run()
    (error,) = errors(app)
    assert f"{WEIGHTS} does not match" in error and len(charts(app)) == 2
