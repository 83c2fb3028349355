"""The app in process, as the tests of all pages open and read it."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

from PIL import Image
from streamlit.testing.v1 import AppTest
from torch import Tensor

from dverge.data import ImageSet, Split, load
from tests.pages.conftest import ROOT

VANILLA, DVERGE = "vanilla-3xconv-s0", "dverge-3xconv-s0"


def open_page(name: str, **query: Any) -> AppTest:
    """A page opened by its address; a "_" in a parameter's name is a "-" there."""
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    for key, value in query.items():
        app.query_params[key.replace("_", "-")] = value
    return app.switch_page(f"pages/{name}.py").run()


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click()
    return app.run()


def upload(app: AppTest, mode: str = "RGB", size: tuple[int, int] = (40, 40)) -> AppTest:
    """A picture of the user's own."""
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, "PNG")
    return app.file_uploader[0].upload("mine.png", buffer.getvalue()).run()


def errors(app: AppTest) -> list[str]:
    assert not app.exception
    return [element.value for element in app.error]


def texts(app: AppTest) -> list[str]:
    return [element.value for element in (*app.markdown, *app.caption)]


def text(app: AppTest) -> str:
    """Everything written on the page but its HTML."""
    kinds = (app.info, app.warning, app.error, app.subheader)
    return "\n".join([*texts(app), *(element.value for kind in kinds for element in kind)])


def bodies(app: AppTest, mark: str = "") -> list[str]:
    """The pieces of HTML on the page that contain a text, style sheets left out."""
    every = [each.proto.body for each in app.get("html")]
    return [body for body in every if mark in body and not body.startswith("<style>")]


def html(app: AppTest) -> str:
    return "".join(bodies(app))


def charts(app: AppTest) -> list[Any]:
    return list(app.get("vega_lite_chart"))


@cache
def image_set(number: int) -> ImageSet:
    """One bundled image."""
    images = load(Split.SAMPLE)
    return images.subset([images.indices.tolist().index(number)])


def picture(number: int = 5) -> tuple[Tensor, int]:
    """A bundled image's pixels and class."""
    image = image_set(number)
    return image.pixels(), int(image.labels[0])


def number_of(label: int, place: int = 0) -> int:
    """The number of a bundled image of a class."""
    images = load(Split.SAMPLE)
    return int(images.indices[images.labels == label][place])
