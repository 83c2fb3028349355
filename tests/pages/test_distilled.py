"""The page of distilled features in process."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dverge import checkpoints
from dverge.attacks import REPORT_DISTILLATION, AttackConfig, Norm
from dverge.data import CLASSES, ImageSet, Split, load
from dverge.evaluation.diversity import Pairs, draw_pairs
from dverge.exploration.distilled import Distilled, Says, distilled, one_pair
from dverge.exploration.overlap import overlap, overlap_in_words
from dverge.models import Ensemble, compiled, seeded_conv
from pages.widgets.distilled import overlap as overlap_section
from pages.widgets.distilled.pair_form import FIRST_SOURCE, FIRST_TARGET
from pages.widgets.distilled.pair_view import record

ROOT = Path(__file__).parents[2]
NAME, OTHER = "vanilla-3xconv-s0", "dverge-3xconv-s0"
KINDS = {Says.TARGET: "fooled", Says.SOURCE: "holds", Says.OTHER: "wrong"}


def open_page(**query: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    app.run()
    for name, value in query.items():
        app.query_params[name.replace("_", "-")] = value
    return app.switch_page("pages/distilled.py").run()


def sentences(app: AppTest) -> list[str]:
    texts = (element.value.strip("*") for element in app.markdown)
    return [text for text in texts if re.match("Asked|After", text)]


def errors(app: AppTest) -> list[str]:
    return [element.value for element in app.error]


def bodies(app: AppTest, mark: str) -> list[str]:
    found = (element.proto.body for element in app.get("html"))
    return [body for body in found if f'<div class="dv {mark}' in body]


def image(number: int) -> ImageSet:
    images = load(Split.SAMPLE)
    return images.subset([images.indices.tolist().index(number)])


def number_of(label: int, place: int = 0) -> int:
    """The number of a sample image of a class."""
    images = load(Split.SAMPLE)
    return int(images.indices[images.labels == label][place])


def pair(source: int = FIRST_SOURCE, target: int = FIRST_TARGET) -> Pairs:
    return one_pair(image(source), image(target))


def found(name: str, *numbers: int, config: AttackConfig = REPORT_DISTILLATION) -> Distilled:
    return distilled(compiled(checkpoints.load(name)), pair(*numbers), config)


def both(*numbers: int, step: int | None = None, **more: Any) -> str:
    return overlap_in_words([(n, found(n, *numbers, **more)) for n in (NAME, OTHER)], step)


def test_opens_with_vanilla_beside_dverge_and_says_what_the_library_says(folders: Path) -> None:
    app = open_page()
    assert not app.exception and not errors(app)
    assert sentences(app) == [both()]
    for body, name in zip(bodies(app, "dv-features"), (NAME, OTHER), strict=True):
        assert body.count("<img") == 15
        due = found(name)
        marks = re.findall(r'<i class="(\w+)( own)?" title="([^"]+)">', body)
        assert len(marks) == 15 * 4
        at = iter(marks)
        for i in range(3):
            for layer in range(5):
                for j, answer in enumerate(due.classes()[i, layer].tolist()):
                    kind, own, title = next(at)
                    assert kind == KINDS[due.says(answer)] and bool(own) is (i == j)
                    share = 100 * due.log_probs[i, layer, -1, j].max().exp().item()
                    assert title.endswith(f"{CLASSES[answer]}, {share:.0f} %")
    assert "chosen to explain" in app.caption[1].value


def test_the_matrix_is_the_chosen_layers(folders: Path) -> None:
    app = open_page(ensembles=NAME, layer="2")
    (body,) = bodies(app, "dv-scroll")
    cells = re.findall(r'<td class="(\w+)"><b>. (\w+)</b><span>(\d+) %</span>', body)
    due = found(NAME)
    lines = [due.unchanged[0], *due.log_probs[:, 1, -1]]
    expected = [
        (KINDS[due.says(int(c))], CLASSES[int(c)], f"{100 * p.exp().item():.0f}")
        for line in lines
        for p, c in zip(*line.max(1), strict=True)
    ]
    assert cells == expected
    assert sentences(app) == [overlap_in_words([(NAME, due)])]


def test_a_link_holds_the_whole_view(folders: Path) -> None:
    app = open_page(
        source_image="5",
        target_image="9",
        ensembles=OTHER,
        layer="3",
        at="2",
        distil_eps="0.1",
        distil_steps="4",
        distil_step_size="0.03",
        perturbations="true",
    )
    config = AttackConfig(Norm.LINF, 0.1, 0.03, 4)
    due = overlap_in_words([(OTHER, found(OTHER, 5, 9, config=config))], 2)
    assert not errors(app) and sentences(app) == [due]
    assert due.startswith("After 2 of 4 steps")
    assert app.segmented_control(key="layer").value == 3
    assert app.toggle(key="perturbations").value
    assert "eps 0.1 by 4 steps of 0.03" in app.caption[1].value
    assert "chosen to explain" not in app.caption[1].value


def test_scrub_and_change_the_pair(folders: Path) -> None:
    app = open_page()
    app.slider(key="at").set_value(3).run()
    assert sentences(app) == [both(step=3)]
    before = bodies(app, "dv-features")
    app.toggle(key="perturbations").set_value(True).run()
    assert bodies(app, "dv-features") != before and sentences(app) == [both(step=3)]
    app.slider(key="at").set_value(10).run()
    ship, frog = number_of(8), number_of(6)
    app.number_input(key="target-image").set_value(ship).run()
    assert sentences(app) == [both(FIRST_SOURCE, ship)]
    app.number_input(key="source-image").set_value(frog).run()
    assert sentences(app) == [both(frog, ship)]


def test_fewer_steps_end_at_their_last(folders: Path) -> None:
    app = open_page(ensembles=NAME)
    app.number_input(key="distil-steps").set_value(4).run()
    config = AttackConfig(Norm.LINF, 0.07, 0.007, 4)
    assert sentences(app) == [overlap_in_words([(NAME, found(NAME, config=config))])]


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click()
    return app.run()


def test_a_random_pair_is_of_two_classes_and_can_be_swapped(sample_only: Path) -> None:
    app = open_page(ensembles=NAME)
    for _ in range(4):
        press(app, "Random pair")
        assert not errors(app) and len(sentences(app)) == 1
    ends = [int(app.number_input(key=key).value or 0) for key in ("source-image", "target-image")]
    press(app, "Swap source and target")
    assert [app.number_input(key=key).value for key in ("target-image", "source-image")] == ends
    assert sentences(app) == [overlap_in_words([(NAME, found(NAME, ends[1], ends[0]))])]


def test_the_gallery_sets_the_end_that_is_chosen(sample_only: Path) -> None:
    app = open_page(ensembles=NAME)
    app.segmented_control(key="gallery-end").set_value("target-image").run()
    button = app.button(key="thumb-3")
    number = int(re.findall(r"image (\d+)", button.label)[0])
    button.click().run()
    assert app.number_input(key="target-image").value == number
    assert app.number_input(key="source-image").value == FIRST_SOURCE
    assert sentences(app) == [overlap_in_words([(NAME, found(NAME, FIRST_SOURCE, number))])]


def test_one_class_is_one_clear_message(folders: Path) -> None:
    frogs = number_of(6), number_of(6, 1)
    app = open_page(source_image=str(frogs[0]), target_image=str(frogs[1]))
    assert not app.exception and not sentences(app)
    assert errors(app) == [
        "The source and the target are both of class frog; choose a target of another class."
    ]
    app.number_input(key="target-image").set_value(9).run()
    assert not errors(app) and sentences(app) == [both(frogs[0], 9)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("source_image", "-1"),
        ("source_image", "frog"),
        ("target_image", "99999999"),
        ("ensembles", "none-such"),
        ("layer", "6"),
        ("layer", "second"),
        ("at", "11"),
        ("at", "nan"),
        ("distil_eps", "nan"),
        ("distil_eps", "7"),
        ("distil_steps", "0"),
        ("distil_steps", "51"),
        ("distil_step_size", "-1"),
        ("perturbations", "perhaps"),
    ],
)
def test_nonsense_in_the_address_never_breaks_the_page(
    folders: Path, name: str, value: str
) -> None:
    app = open_page(**{name: value})
    assert not app.exception
    assert sentences(app) or app.info


def test_what_the_attack_lab_leaves_in_the_address_does_no_harm(folders: Path) -> None:
    app = open_page(target="cat", steps="100", step="0.002", eps="16/255 = 0.0627", image="9")
    assert not app.exception and sentences(app) == [both()]
    app.slider(key="at").set_value(1).run()
    app.number_input(key="target-image").set_value(9).run()
    app.switch_page("pages/lab.py").run()
    assert not app.exception and not errors(app)
    assert app.number_input(key="step").value == 0.002  # its own
    assert app.selectbox(key="target").value == "cat"


def test_no_budget_leaves_the_source_as_it_is(folders: Path) -> None:
    app = open_page(distil_eps="0")
    assert not app.exception and not errors(app)
    assert sentences(app) == [both(config=AttackConfig(Norm.LINF, 0.0, 0.007, 10))]


def test_members_differ_in_number(folders: Path) -> None:
    checkpoints.save("alone", Ensemble([seeded_conv(1)]), method="vanilla")
    app = open_page()
    app.multiselect(key="ensembles").set_value(["alone", OTHER]).run()
    assert not app.exception and not errors(app)
    due = overlap_in_words([("alone", found("alone")), (OTHER, found(OTHER))])
    assert sentences(app) == [due]
    assert [body.count("<img") for body in bodies(app, "dv-features")] == [5, 15]
    app.multiselect(key="ensembles").set_value(["alone"]).run()
    assert not errors(app) and "there is but one" in app.markdown[-1].value


def test_eq_2_of_the_pair_and_of_many(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap_section, "PAIRS", (4, 12, 16))
    app = open_page()
    words = next(t.value for t in app.markdown if t.value.startswith("Eq. 2 of this pair"))
    for name in (NAME, OTHER):
        assert f"{found(name).loss():.2f} nats in {name}" in words
    assert not [each for each in bodies(app, "dv-scroll") if "dv-many" in each]
    app.session_state["many-pairs"] = True
    app.run()
    (body,) = [each for each in bodies(app, "dv-scroll") if "dv-many" in each]
    for name, row in zip((NAME, OTHER), body.split("<tbody>")[1].split("</tr>"), strict=False):
        due = overlap(compiled(checkpoints.load(name)), draw_pairs(load(Split.SAMPLE), 12, 0))
        figures = re.findall(r'<td class="here">([\d.]+)<small>', row)
        assert name in row
        assert figures == [
            f"{due.loss().value:.2f}",
            *(f"{each.value:.1f}" for each in (due.others(), due.own(), due.ground())),
        ]
        counts = found(name).counts()
        share = due.as_many(counts.others)
        place = (
            f"{counts.others} of {counts.others_of} times; so often or more often in {share:.0f} %"
        )
        assert any(name in text.value and place in text.value for text in app.markdown)
    assert any("12 pairs of the 1,000 bundled" in text.value for text in app.caption)


def test_the_record_holds_everything(folders: Path) -> None:
    infos = {info.name: info for info in checkpoints.list_all()[0]}
    made = json.loads(record(((infos[NAME], found(NAME)), (infos[OTHER], found(OTHER)))))
    assert made["sentence"] == both()
    for each, name in zip(made["ensembles"], (NAME, OTHER), strict=True):
        assert each["checkpoint"] == {
            "name": name,
            "digest": infos[name].digest,
            "method": infos[name].card.method,
        }
        assert each["source"]["number"] == FIRST_SOURCE and len(each["features"]) == 15


def test_no_ensemble_says_where_to_choose(folders: Path) -> None:
    app = open_page()
    app.multiselect(key="ensembles").set_value([]).run()
    assert not app.exception and not sentences(app)
    assert "Choose at least one ensemble" in app.info[0].value


def test_no_checkpoint_says_what_to_do(folders: Path) -> None:
    shutil.rmtree(folders / "checkpoints")
    app = open_page()
    assert not app.exception
    assert "There is no checkpoint yet" in app.info[0].value


def test_without_the_full_data_the_nearest_image_is_taken(sample_only: Path) -> None:
    indices = load(Split.SAMPLE).indices
    app = open_page(source_image="9999", ensembles=NAME)
    assert not app.exception and len(sentences(app)) == 1
    nearest = int(indices[(indices - 9999).abs().argmin()])
    assert any(f"this is the nearest, {nearest}" in text.value for text in app.caption)
