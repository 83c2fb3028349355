"""The page of distilled features in process."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dverge import checkpoints
from dverge.attacks import REPORT_DISTILLATION, AttackConfig, Norm
from dverge.data import CLASSES, Split, load
from dverge.evaluation.diversity import correct_pairs, draw_pairs
from dverge.exploration.distilled import Distilled, Says, distilled, one_pair
from dverge.exploration.overlap import overlap, overlap_in_words
from dverge.models import Ensemble, compiled, seeded_conv
from pages.widgets.distilled import pairs
from pages.widgets.distilled.pair_form import FIRST_SOURCE, FIRST_TARGET
from pages.widgets.distilled.pairs import SCALE_NOTE
from pages.widgets.distilled.view import record
from tests.pages.conftest import ROOT
from tests.pages.screen import (
    DVERGE,
    VANILLA,
    bodies,
    errors,
    image_set,
    number_of,
    open_page,
    press,
    text,
)

KINDS = {Says.TARGET: "fooled", Says.SOURCE: "holds", Says.OTHER: "wrong"}


def opened(**query: Any) -> AppTest:
    return open_page("distilled", **query)


def sentences(app: AppTest) -> list[str]:
    texts = (element.value.strip("*") for element in app.markdown)
    return [text for text in texts if re.match("Asked|After", text)]


def cards(app: AppTest, kind: str = "dv-features") -> list[str]:
    return bodies(app, f'<div class="dv {kind}')


def origin(app: AppTest) -> str:
    """The caption that says which images are shown."""
    return next(each.value for each in app.caption if each.value.startswith("Source: "))


@cache
def fast(name: str) -> Ensemble:
    return compiled(checkpoints.load(ROOT / "checkpoints" / name))


@cache
def features(
    name: str,
    source: int = FIRST_SOURCE,
    target: int = FIRST_TARGET,
    config: AttackConfig = REPORT_DISTILLATION,
) -> Distilled:
    return distilled(fast(name), one_pair(image_set(source), image_set(target)), config)


def both(*numbers: int, step: int | None = None, **more: Any) -> str:
    """The page's sentence about a pair on both ensembles."""
    named = [(name, features(name, *numbers, **more)) for name in (VANILLA, DVERGE)]
    return overlap_in_words(named, step)


def test_opens_with_vanilla_beside_dverge_and_shows_the_librarys_answers(shipped: Path) -> None:
    app = opened()
    assert errors(app) == [] and sentences(app) == [both()]
    assert text(app).count("Features of every layer, L∞ eps 0.07, 10 steps of 0.007") == 2
    for body, name in zip(cards(app), (VANILLA, DVERGE), strict=True):
        assert body.count("<img") == 15
        expected = features(name)
        marks = iter(re.findall(r'<i class="(\w+)( own)?" title="([^"]+)">', body))
        for i in range(3):
            for layer in range(5):
                for j, answer in enumerate(expected.classes()[i, layer].tolist()):
                    kind, own, title = next(marks)
                    assert kind == KINDS[expected.says(answer)] and bool(own) is (i == j)
                    share = 100 * expected.log_probs[i, layer, -1, j].max().exp().item()
                    assert title.endswith(f"{CLASSES[answer]}, {share:.0f} %")
        assert next(marks, None) is None
    assert "chosen to explain" in origin(app)


def test_the_matrix_is_the_chosen_layers(shipped: Path) -> None:
    app = opened(ensembles=VANILLA, layer="2")
    (body,) = cards(app, "dv-scroll")
    cells = re.findall(r'<td class="(\w+)"><b>. (\w+)</b><span>(\d+) %</span>', body)
    expected = features(VANILLA)
    lines = [expected.unchanged[0], *expected.log_probs[:, 1, -1]]
    assert cells == [
        (KINDS[expected.says(int(c))], CLASSES[int(c)], f"{100 * p.exp().item():.0f}")
        for line in lines
        for p, c in zip(*line.max(1), strict=True)
    ]
    assert sentences(app) == [overlap_in_words([(VANILLA, expected)])]


def test_a_link_holds_the_whole_view(shipped: Path) -> None:
    app = opened(
        source_image="5",
        target_image="9",
        ensembles=DVERGE,
        layer="3",
        at="2",
        distil_eps="0.1",
        distil_steps="4",
        distil_step_size="0.03",
        perturbations="true",
    )
    config = AttackConfig(Norm.LINF, 0.1, 0.03, 4)
    expected = overlap_in_words([(DVERGE, features(DVERGE, 5, 9, config))], 2)
    assert errors(app) == [] and sentences(app) == [expected]
    assert expected.startswith("After 2 of 4 steps")
    setting = "L∞ eps 0.1, 2 of 4 steps of 0.03"
    assert f"Perturbations of every layer, {setting}" in text(app)
    assert f"**Layer 3, answer by answer** :small[{setting}]" in text(app)
    assert app.segmented_control(key="layer").value == 3
    assert app.toggle(key="perturbations").value
    assert "L∞ eps 0.1, 4 steps of 0.03" in origin(app)
    assert "chosen to explain" not in origin(app)


def test_scrub_and_change_the_pair(shipped: Path) -> None:
    app = opened()
    app.slider(key="at").set_value(3).run()
    assert sentences(app) == [both(step=3)]
    before = cards(app)
    app.toggle(key="perturbations").set_value(True).run()
    assert cards(app) != before and sentences(app) == [both(step=3)]
    app.slider(key="at").set_value(10).run()
    ship, frog, other_frog = number_of(8), number_of(6), number_of(6, 1)
    app.number_input(key="target-image").set_value(ship).run()
    assert sentences(app) == [both(FIRST_SOURCE, ship)]
    app.number_input(key="source-image").set_value(frog).run()
    assert sentences(app) == [both(frog, ship)]
    app.number_input(key="target-image").set_value(other_frog).run()
    assert errors(app) == [
        "The source and the target are both of class frog; choose a target of another class."
    ]
    assert not sentences(app)


def test_a_random_pair_is_of_two_classes_and_can_be_swapped(shipped: Path) -> None:
    app = opened(ensembles=VANILLA)
    for _ in range(4):
        press(app, "Random pair")
        assert not errors(app) and len(sentences(app)) == 1
    ends = [int(app.number_input(key=key).value or 0) for key in ("source-image", "target-image")]
    press(app, "Swap source and target")
    assert [app.number_input(key=key).value for key in ("target-image", "source-image")] == ends
    assert sentences(app) == [overlap_in_words([(VANILLA, features(VANILLA, ends[1], ends[0]))])]


def test_the_gallery_sets_the_chosen_end(shipped: Path) -> None:
    app = opened(ensembles=VANILLA)
    app.segmented_control(key="gallery-end").set_value("target-image").run()
    button = app.button(key="thumb-3")
    number = int(re.findall(r"image (\d+)", button.label)[0])
    button.click().run()
    assert app.number_input(key="target-image").value == number
    assert app.number_input(key="source-image").value == FIRST_SOURCE
    assert sentences(app) == [overlap_in_words([(VANILLA, features(VANILLA, target=number))])]


def test_what_the_attack_lab_leaves_in_the_address_does_no_harm(shipped: Path) -> None:
    app = opened(target="cat", steps="100", step="0.002", eps="16/255 = 0.0627", image="9")
    assert errors(app) == [] and sentences(app) == [both()]
    app.slider(key="at").set_value(1).run()
    app.number_input(key="target-image").set_value(9).run()
    app.switch_page("pages/lab.py").run()
    assert errors(app) == []
    assert app.number_input(key="step").value == 0.002  # its own
    assert app.selectbox(key="target").value == "cat"


def test_no_budget_and_fewer_steps(shipped: Path) -> None:
    app = opened()
    for key, value, config in (
        ("distil-eps", 0.0, AttackConfig(Norm.LINF, 0.0, 0.007, 10)),
        ("distil-steps", 4, AttackConfig(Norm.LINF, 0.0, 0.007, 4)),  # shown at the last of them
        ("distil-eps", 0.07, AttackConfig(Norm.LINF, 0.07, 0.007, 4)),
    ):
        app.number_input(key=key).set_value(value).run()
        assert errors(app) == [] and sentences(app) == [both(config=config)]


def test_members_differ_in_number(folders: Path) -> None:
    alone = Ensemble([seeded_conv(1)])
    checkpoints.save("alone", alone, method="vanilla")
    app = opened()
    app.multiselect(key="ensembles").set_value(["alone", DVERGE]).run()
    own = distilled(compiled(alone.eval()), features(DVERGE).pair, REPORT_DISTILLATION)
    assert errors(app) == []
    assert sentences(app) == [overlap_in_words([("alone", own), (DVERGE, features(DVERGE))])]
    assert [body.count("<img") for body in cards(app)] == [5, 15]
    app.multiselect(key="ensembles").set_value(["alone"]).run()
    assert not errors(app) and "there is only one" in app.markdown[-1].value


def table(app: AppTest) -> str:
    (body,) = [each for each in cards(app, "dv-scroll") if "dv-many" in each]
    return body


def test_the_pair_and_many_correct_pairs(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "DRAWN", (12, 256))
    app = opened()
    sentence = next(t.value for t in app.markdown if t.value.startswith("On this pair the overlap"))
    for name in (VANILLA, DVERGE):
        counts = features(name).counts()
        share = f"{100 * counts.others / counts.others_of:.0f} % in {name}"
        assert share in sentence.split("Eq. 2")[0]
        assert f"{features(name).loss():.2f} nats in {name}" in sentence.split("Eq. 2")[1]
    assert SCALE_NOTE in text(app) and "right about both images" not in text(app)
    assert not [each for each in cards(app, "dv-scroll") if "dv-many" in each]
    app.session_state["many-pairs"] = True
    app.run()
    drawn = draw_pairs(load(Split.SAMPLE), 256, 0)
    left = drawn.subset(correct_pairs(drawn, [fast(VANILLA), fast(DVERGE)]))
    assert "Source unchanged" not in table(app)  # no correct answer on a source is the target
    rows = table(app).split("<tbody>")[1].split("</tr>")
    for name, row in zip((VANILLA, DVERGE), rows, strict=False):
        expected = overlap(fast(name), left)
        assert expected.ground().value == 0
        assert name in row
        assert re.findall(r'<td class="here">([\d.]+)<small>', row) == [
            f"{expected.others().value:.1f}",
            f"{expected.own().value:.1f}",
            f"{expected.loss().value:.2f}",
        ]
        counts = features(name).counts()
        place = (
            f"{counts.others} of {counts.others_of} times; as often or more often in "
            f"{expected.as_many(counts.others):.0f} %"
        )
        assert any(name in each.value and place in each.value for each in app.markdown)
    assert f"{len(left)} of 256 random pairs of bundled test images (seed 0)" in text(app)
    assert text(app).count("All layers, L∞ eps 0.07, 10 steps of 0.007") == 2


def test_all_pairs_on_request(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "DRAWN", (8, 12))
    app = opened(source_image="5", target_image="9")
    assert f"Not every submodel of {DVERGE} is right about both images." in text(app)
    app.session_state["many-pairs"] = True
    app.run()
    assert "Too few pairs to measure: of 12 random pairs" in text(app)
    app.toggle(key="all-pairs").set_value(True).run()
    assert errors(app) == [] and "All 12 random pairs of bundled test images" in text(app)
    expected = overlap(fast(VANILLA), draw_pairs(load(Split.SAMPLE), 12, 0))
    assert "Source unchanged" in table(app)
    for figure in (expected.others(), expected.own(), expected.ground()):
        assert f'<td class="here">{figure.value:.1f}<small>' in table(app)


def test_the_record_holds_everything(shipped: Path) -> None:
    infos = [checkpoints.read(shipped / "checkpoints" / name) for name in (VANILLA, DVERGE)]
    made = json.loads(record(tuple((info, features(info.name)) for info in infos)))
    assert made["sentence"] == both()
    for each, info in zip(made["ensembles"], infos, strict=True):
        about = {"name": info.name, "digest": info.digest, "method": info.card.method}
        assert each["checkpoint"] == about
        assert each["source"]["number"] == FIRST_SOURCE and len(each["features"]) == 15


def test_without_the_full_data_the_nearest_image_is_taken(shipped: Path) -> None:
    indices = load(Split.SAMPLE).indices
    app = opened(source_image="9999", ensembles=VANILLA)
    assert not app.exception and len(sentences(app)) == 1
    nearest = int(indices[(indices - 9999).abs().argmin()])
    assert f"this is the nearest, {nearest}" in text(app)
