"""The attack lab in process."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from dverge import checkpoints
from dverge.attacks import MIXTURE, Norm, Victim, fgsm, pgd
from dverge.data import Split, load
from dverge.exploration.examine import examine, summarise
from dverge.models import Ensemble, seeded_conv

ROOT = Path(__file__).parents[2]
NAME = "vanilla-3xconv-s0"


def open_lab(**query: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    app.run()
    for name, value in ({"ensembles": NAME} | query).items():
        app.query_params[name.replace("_", "-")] = value
    return app.switch_page("pages/lab.py").run()


def verdicts(app: AppTest) -> list[str]:
    bodies = [element.proto.body for element in app.get("html")]
    texts = [body.split("<span>")[1].split("</span>")[0] for body in bodies if "dv-verdict" in body]
    return texts


def errors(app: AppTest) -> list[str]:
    return [element.value for element in app.error]


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click()
    return app.run()


def test_shows_what_the_library_computes(folders: Path) -> None:
    app = open_lab()
    app.number_input(key="image").set_value(9).run()
    images = load(Split.SAMPLE)
    position = images.indices.tolist().index(9)
    outcome = examine(
        checkpoints.load(NAME), images.pixels(position), 1, pgd(Norm.LINF, 8 / 255), MIXTURE
    )
    assert verdicts(app) == [summarise(outcome.verdicts)]


@pytest.mark.parametrize("victim", ["mixture", "member-2"])
def test_fgsm_on_each_victim_equals_the_library(folders: Path, victim: str) -> None:
    app = open_lab()
    app.segmented_control(key="attack").set_value("fgsm").run()
    app.selectbox(key="victim").select(victim)
    press(app, "Attack")
    images = load(Split.SAMPLE)
    position = images.indices.tolist().index(5)
    label = int(images.labels[position])
    who = MIXTURE if victim == "mixture" else Victim(1)
    outcome = examine(checkpoints.load(NAME), images.pixels(position), label, fgsm(8 / 255), who)
    assert verdicts(app) == [summarise(outcome.verdicts)]


def test_opens_with_one_ensemble_of_each_method(folders: Path) -> None:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    app.switch_page("pages/lab.py").run()
    shown = ["vanilla-3xconv-s0", "dverge-3xconv-s0", "dverge-advt-3xconv-s0"]
    assert app.multiselect(key="ensembles").value == shown
    assert len(verdicts(app)) == 3 and not errors(app)


def test_several_ensembles_side_by_side(folders: Path) -> None:
    checkpoints.save("two", Ensemble([seeded_conv(1), seeded_conv(2)]), method="vanilla")
    app = open_lab()
    app.multiselect(key="ensembles").set_value([NAME, "two"]).run()
    assert not app.exception
    assert len(verdicts(app)) == 2


def test_a_missing_member_is_an_error_of_that_ensemble_only(folders: Path) -> None:
    checkpoints.save("two", Ensemble([seeded_conv(1), seeded_conv(2)]), method="vanilla")
    app = open_lab()
    app.multiselect(key="ensembles").set_value([NAME, "two"]).run()
    app.selectbox(key="victim").select("member-3")
    press(app, "Attack")
    assert len(verdicts(app)) == 1
    assert errors(app) == ["Victim is member 3; this ensemble has members 1 to 2."]


def test_restarts_without_random_start_is_one_clear_message(folders: Path) -> None:
    app = open_lab()
    app.number_input(key="restarts").set_value(3)
    app.toggle(key="random").set_value(False)
    press(app, "Attack")
    assert not app.exception
    assert "without a random start every restart is the same" in errors(app)[0]


def test_target_equal_to_the_true_class_is_one_clear_message(folders: Path) -> None:
    app = open_lab()
    app.selectbox(key="target").select("frog")
    press(app, "Attack")
    assert errors(app) == ["The target class is the true class, frog; choose another target."]


def test_an_image_outside_the_sample_is_replaced_and_said(sample_only: Path) -> None:
    app = open_lab()
    outside = next(i for i in range(10_000) if i not in load(Split.SAMPLE).indices.tolist())
    app.number_input(key="image").set_value(outside).run()
    assert any("is not in the bundled sample" in text.value for text in app.caption)
    assert len(verdicts(app)) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("eps", "-1"),
        ("eps", "nan"),
        ("steps", "0"),
        ("attack", "magic"),
        ("victim", "member-99"),
        ("image", "-5"),
        ("image", "frog"),
        ("ensembles", "none-such"),
        ("target", "unicorn"),
        ("seed", "-1"),
        ("scale", "-3"),
    ],
)
def test_nonsense_in_the_address_never_breaks_the_page(
    folders: Path, name: str, value: str
) -> None:
    app = open_lab(**{name: value})
    assert not app.exception
    assert verdicts(app) or errors(app) or app.info


@pytest.mark.parametrize(
    ("mode", "size"), [("RGB", (60, 40)), ("RGBA", (33, 80)), ("L", (64, 64)), ("RGB", (1, 1))]
)
def test_a_picture_of_ones_own(folders: Path, mode: str, size: tuple[int, int]) -> None:
    app = open_lab()
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, "PNG")
    app.file_uploader[0].upload("mine.png", buffer.getvalue()).run()
    assert not app.exception
    assert len(verdicts(app)) == 1 and not errors(app)
    assert any("Your picture" in text.value for text in app.caption)


def test_a_file_that_is_no_picture_is_one_clear_message(folders: Path) -> None:
    app = open_lab()
    app.file_uploader[0].upload("mine.png", b"not a picture").run()
    assert not app.exception
    assert len(errors(app)) == 1
    assert len(verdicts(app)) == 1  # the numbered image is shown instead


def test_a_tampered_checkpoint_is_an_error_in_its_card(folders: Path) -> None:
    file = folders / "checkpoints" / NAME / "member-2.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    app = open_lab()
    assert not app.exception
    assert "member-2.safetensors does not match" in errors(app)[0]


def test_no_checkpoint_says_what_to_do(folders: Path) -> None:
    shutil.rmtree(folders / "checkpoints")
    app = open_lab()
    assert not app.exception
    assert "There is no checkpoint yet" in app.info[0].value
