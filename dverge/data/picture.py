"""Converts any picture of a user into an image for a CIFAR-10 network."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from dverge.errors import ImageError

SIDE = 32
LIMIT_MEGAPIXELS = 40
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
BROKEN_FILE_ERRORS = (
    OSError,
    SyntaxError,  # of Pillow, for a broken PNG chunk
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    zlib.error,
)


def read_picture(file: bytes | Path | BinaryIO) -> Tensor:
    """Read a picture as float32, 1×3×32×32, in [0, 1].

    The picture (of an animation, the first frame) is turned upright (EXIF), put on white where it
    is transparent, converted to RGB, cropped to its central square and resized with antialiasing.

    Args:
        file: the picture's bytes, its path, or an open binary file.

    Raises:
        ImageError: the file is not a picture in a known format, is broken or cut short, or has
            more than 40 megapixels (which is checked before decoding).
    """
    source = io.BytesIO(file) if isinstance(file, bytes) else file
    try:
        with Image.open(source, formats=FORMATS) as opened:
            _check_size(opened)
            square = _on_white(_central_square(ImageOps.exif_transpose(opened)))
    except Image.DecompressionBombError as error:
        raise ImageError(_too_large("more than 100")) from error
    except UnidentifiedImageError as error:
        raise ImageError(f"This file is not a picture. Use one of {', '.join(FORMATS)}.") from error
    except FileNotFoundError as error:
        raise ImageError(f"There is no file {file!s}.") from error
    except BROKEN_FILE_ERRORS as error:
        raise ImageError(
            f"This picture is broken or cut short ({error}). Save it again, or use another."
        ) from error
    small = square.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1)
    return pixels.to(torch.float32).div(255.0).unsqueeze(0).contiguous()


def to_8_bits(images: Tensor) -> Tensor:
    """Images in [0, 1] as a picture file keeps them: uint8 of the same shape, rounded."""
    return (images.detach() * 255).round().byte()


def _check_size(picture: Image.Image) -> None:
    """Raise ImageError if the size in the header is too large, before anything is decoded."""
    megapixels = picture.width * picture.height / 1e6
    if megapixels > LIMIT_MEGAPIXELS:
        raise ImageError(_too_large(f"{picture.width}×{picture.height} = {megapixels:.1f}"))


def _too_large(size: str) -> str:
    return (
        f"This picture has {size} megapixels; at most {LIMIT_MEGAPIXELS} are allowed. "
        "Make it smaller first: it is resized to 32×32 anyway."
    )


def _on_white(picture: Image.Image) -> Image.Image:
    """Convert any mode to RGB, with white behind transparent pixels."""
    if picture.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
        values = np.asarray(picture, dtype=np.float64) / 257
        picture = Image.fromarray(values.clip(0, 255).round().astype(np.uint8))
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, layer).convert("RGB")


def _central_square(picture: Image.Image) -> Image.Image:
    """Crop to the largest square in the middle."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side))
