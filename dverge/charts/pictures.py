"""Images and perturbations as PNG."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from PIL import Image, ImageDraw
from torch import Tensor

from dverge.charts.style import FAINT, INKS
from dverge.data import to_8_bits
from dverge.errors import require_number

ENLARGEMENT = 6
BORDER = 8  # px


def to_picture(image: Tensor, factor: int = 1) -> Image.Image:
    """A 1×3×H×W or 3×H×W image in [0, 1], enlarged with nearest neighbour."""
    pixels = to_8_bits(image.cpu().reshape(image.shape[-3:]))
    picture = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    size = (picture.width * factor, picture.height * factor)
    return picture.resize(size, Image.Resampling.NEAREST)


def perturbation_image(delta: Tensor, scale: float) -> Tensor:
    """A perturbation as an image: 0 is middle grey, ±scale and beyond the ends of each channel.

    Raises:
        ConfigError: scale is not in (0, 1].
    """
    require_number("scale", scale, 1e-6, 1)
    return (0.5 + delta / (2 * scale)).clamp(0, 1)


def to_png(picture: Image.Image) -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def data_uri(image: Tensor) -> str:
    """An image in [0, 1] as a data URI, not enlarged."""
    return "data:image/png;base64," + base64.b64encode(to_png(to_picture(image))).decode()


def side_by_side(images: Sequence[tuple[str, Tensor]], footer: str) -> bytes:
    """A PNG of captioned 32×32 images enlarged six times, with a line of text below."""
    side = 32 * ENLARGEMENT
    width = len(images) * (side + BORDER) + BORDER
    sheet = Image.new("RGB", (width, side + 2 * BORDER + 48), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (caption, image) in enumerate(images):
        left = BORDER + i * (side + BORDER)
        sheet.paste(to_picture(image, ENLARGEMENT), (left, BORDER))
        draw.text((left, side + BORDER + 4), caption, fill=INKS[False], font_size=13)
    draw.text((BORDER, side + BORDER + 26), footer, fill=FAINT, font_size=11)
    return to_png(sheet)
