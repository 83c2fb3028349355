"""Pictures: enlarged without blurring, perturbations on a grey-centred scale."""

from __future__ import annotations

import base64
import io

import pytest
import torch
from PIL import Image

from dverge.charts.pictures import data_uri, perturbation_image, side_by_side, to_picture
from dverge.errors import ConfigError


def test_enlarging_repeats_each_pixel() -> None:
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    picture = to_picture(image, 3)
    assert picture.size == (96, 96)
    for x, y in ((0, 0), (31, 5), (7, 30)):
        expected = tuple((image[0, :, y, x] * 255).round().int().tolist())
        block = {picture.getpixel((3 * x + i, 3 * y + j)) for i in range(3) for j in range(3)}
        assert block == {expected}


def test_perturbation_scale() -> None:
    delta = torch.tensor([0.0, 0.05, -0.05, 0.1, -1.0]).view(1, 1, 1, 5)
    shown = perturbation_image(delta, 0.1).flatten().tolist()
    assert shown == pytest.approx([0.5, 0.75, 0.25, 1.0, 0.0])


@pytest.mark.parametrize("scale", [0.0, -1.0, 2.0, float("nan")])
def test_a_bad_scale_is_refused(scale: float) -> None:
    with pytest.raises(ConfigError, match="scale"):
        perturbation_image(torch.zeros(1, 3, 2, 2), scale)


def test_data_uri_is_lossless() -> None:
    pixels = torch.randint(256, (1, 3, 32, 32), generator=torch.Generator().manual_seed(1))
    uri = data_uri(pixels / 255)
    picture = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
    back = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(32, 32, 3)
    assert torch.equal(back.permute(2, 0, 1).long(), pixels[0])


def test_a_sheet_has_the_pictures_side_by_side() -> None:
    red, blue = torch.zeros(2, 1, 3, 32, 32)
    red[:, 0], blue[:, 2] = 1, 1
    sheet = Image.open(io.BytesIO(side_by_side([("red", red), ("blue", blue)], "footer")))
    assert sheet.getpixel((50, 50)) == (255, 0, 0)
    assert sheet.getpixel((250, 50)) == (0, 0, 255)
