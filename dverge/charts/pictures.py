"""Images and perturbations as PNG."""

from __future__ import annotations

import base64
import io

from PIL import Image, ImageDraw
from torch import Tensor

from dverge.errors import require_number

ENLARGEMENT = 6
BORDER = 8


def to_picture(image: Tensor, factor: int = 1) -> Image.Image:
    """A 1×3×H×W or 3×H×W image in [0, 1], enlarged with nearest neighbour."""
    pixels = (image.detach().cpu().reshape(image.shape[-3:]) * 255).round().byte()
    picture = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    size = (picture.width * factor, picture.height * factor)
    return picture.resize(size, Image.Resampling.NEAREST)


def perturbation_image(delta: Tensor, scale: float) -> Tensor:
    """A perturbation as an image: 0 is middle grey, ±scale or more the ends of each channel.

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
    """A 32×32 image in [0, 1] as a data URI; the browser enlarges it."""
    return "data:image/png;base64," + base64.b64encode(to_png(to_picture(image))).decode()


def side_by_side(images: list[tuple[str, Tensor]], footer: str) -> bytes:
    """A PNG of captioned images enlarged six times, with a line of text below."""
    side = 32 * ENLARGEMENT
    width = len(images) * (side + BORDER) + BORDER
    sheet = Image.new("RGB", (width, side + 2 * BORDER + 48), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (caption, image) in enumerate(images):
        left = BORDER + i * (side + BORDER)
        sheet.paste(to_picture(image, ENLARGEMENT), (left, BORDER))
        draw.text((left, side + BORDER + 4), caption, fill="#1B2733", font_size=13)
    draw.text((BORDER, side + BORDER + 26), footer, fill="#6B7885", font_size=11)
    return to_png(sheet)
