"""read_picture(): every kind of picture is read, and every other file gives one message."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dverge.data import Split, load, read_picture, to_8_bits
from dverge.errors import ImageError

Colour = tuple[int, ...]


def encode(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    size = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + size + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_cifar_image_comes_back_unchanged() -> None:
    images = load(Split.SAMPLE)
    picture = Image.fromarray(images.images[3].permute(1, 2, 0).numpy())
    assert read_picture(encode(picture)).equal(images.pixels(3))


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (90, 1), (31, 33), (640, 480), (3000, 2)])
def test_any_size(size: tuple[int, int]) -> None:
    pixels = read_picture(encode(Image.new("RGB", size, (255, 0, 51))))
    assert pixels.shape == (1, 3, 32, 32)
    assert pixels.dtype == torch.float32
    assert pixels[0, :, 16, 16].tolist() == pytest.approx([1.0, 0.0, 0.2])
    assert float(pixels.std(dim=(2, 3)).max()) < 1e-6


@pytest.mark.parametrize(
    ("mode", "colour", "kind", "expected"),
    [
        ("L", 51, "PNG", (0.2, 0.2, 0.2)),
        ("1", 1, "PNG", (1.0, 1.0, 1.0)),
        ("I;16", 0xCCCC, "PNG", (0.8, 0.8, 0.8)),
        ("I;16", 0xCCCC, "TIFF", (0.8, 0.8, 0.8)),
        ("RGBA", (255, 0, 0, 0), "PNG", (1.0, 1.0, 1.0)),
        ("RGBA", (0, 0, 0, 102), "PNG", (0.6, 0.6, 0.6)),
        ("LA", (0, 51), "PNG", (0.8, 0.8, 0.8)),
        ("CMYK", (0, 255, 255, 0), "TIFF", (1.0, 0.0, 0.0)),
        ("RGB", (0, 0, 255), "BMP", (0.0, 0.0, 1.0)),
        ("RGB", (0, 0, 255), "GIF", (0.0, 0.0, 1.0)),
        ("RGB", (0, 255, 0), "PPM", (0.0, 1.0, 0.0)),
    ],
)
def test_modes_and_formats(mode: str, colour: Colour | int, kind: str, expected: Colour) -> None:
    pixels = read_picture(encode(Image.new(mode, (50, 50), colour), kind))
    assert pixels.mean(dim=(0, 2, 3)).tolist() == pytest.approx(expected, abs=0.005)


def test_a_transparent_palette_is_put_on_white() -> None:
    picture = Image.new("P", (10, 10), 0)
    picture.putpalette([0, 0, 0, 255, 0, 0])
    assert read_picture(encode(picture, transparency=0)).min() == 1.0


def test_the_central_square_is_cropped() -> None:
    pixels = np.zeros((40, 120, 3), dtype=np.uint8)
    pixels[:, :40, 0], pixels[:, 40:80, 1], pixels[:, 80:, 2] = 255, 255, 255
    expected = torch.tensor([0.0, 1.0, 0.0]).reshape(1, 3, 1, 1).expand(1, 3, 32, 32)
    assert read_picture(encode(Image.fromarray(pixels))).equal(expected)


def test_resizing_averages_small_details() -> None:
    board = (np.indices((320, 320)).sum(axis=0) % 2 * 255).astype(np.uint8)
    pixels = read_picture(encode(Image.fromarray(board)))
    assert (pixels - 0.5).abs().max() < 0.02


def test_exif_orientation_is_applied() -> None:
    upright = np.zeros((64, 64, 3), dtype=np.uint8)
    upright[:32] = 255  # the upper half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was rotated: turn the picture clockwise to see it upright
    rotated = Image.fromarray(np.rot90(upright).copy())
    pixels = read_picture(encode(rotated, "JPEG", exif=exif, quality=95))
    assert pixels[..., :14, :].min() > 0.9
    assert pixels[..., 18:, :].max() < 0.1


def test_paths_and_open_files(tmp_path: Path) -> None:
    content = encode(Image.new("RGB", (50, 50), (255, 0, 51)))
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    file = io.BytesIO(content)
    assert read_picture(path).equal(read_picture(content))
    for _ in range(2):  # an open file can be read again
        assert read_picture(file).equal(read_picture(content))


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"%PDF-1.7 no", b"<svg xmlns='x'/>", bytes(10_000)]
)
def test_not_a_picture(content: bytes) -> None:
    with pytest.raises(ImageError, match=r"not a picture\. Use one of PNG, JPEG"):
        read_picture(content)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_cut_short(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    content = encode(Image.fromarray(noise), kind)
    for part in (0.9, 0.5, 0.02):
        with pytest.raises(ImageError, match=r"broken or cut short|not a picture"):
            read_picture(content[: int(part * len(content))])


@pytest.mark.parametrize("size", [(10_000, 5_000), (6_325, 6_325), (50_000, 50_000)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_too_many_pixels_by_the_header_alone(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=r"megapixels; at most 40 are allowed"):
        read_picture(png_header(*size))


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="There is no file"):
        read_picture(tmp_path / "none.png")
    with pytest.raises(ImageError):
        read_picture(tmp_path)


def test_rounding_to_8_bits_is_what_a_png_file_keeps() -> None:
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    images[0, 0, 0, :4] = torch.tensor([0.0, 1.0, 0.4 / 255, 0.6 / 255])
    rounded = to_8_bits(images)
    assert rounded.dtype is torch.uint8 and rounded.shape == images.shape
    assert rounded[0, 0, 0, :4].tolist() == [0, 255, 0, 1]
    assert (rounded / 255 - images).abs().max() <= 0.5 / 255 + 1e-6
    for values in rounded:
        picture = Image.fromarray(values.permute(1, 2, 0).numpy())
        assert read_picture(encode(picture)).equal(values[None] / 255)
        assert to_8_bits(read_picture(encode(picture)))[0].equal(values)
