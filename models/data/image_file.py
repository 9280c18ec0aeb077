"""Reads the file of an image, of any format that Pillow decodes by itself, with all the bits that Pillow reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from models.data.image_sources import Form

# Pillow only recognises these, or starts another program to draw them.
_NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}
_EXTENSIONS = {
    suffix: kind
    for suffix, kind in Image.registered_extensions().items()
    if kind in Image.OPEN and kind not in _NOT_DECODED
}
SUFFIXES = tuple(sorted(_EXTENSIONS))
FORMATS = tuple(sorted(set(_EXTENSIONS.values())))
WHITE_OF_16_BITS = 65535.0
_EIGHT_BITS = ("RGB", "RGBA", "LA", "L")


class Picture(NamedTuple):
    """pixels: (channels, height, width), 1 channel of grey or 3 of colour: bytes, or float32 if there are more bits.

    white: the value of white, 255 or 65535; 0 if the format has none.
    frames: of which the first is read. is_reduced: whether Pillow reads 8 of 16 bits, as it does of colours.
    """

    pixels: NDArray[Any]
    white: float
    frames: int
    is_reduced: bool


def read_picture(path: Path, form: Form) -> Picture:
    """
    Raises:
        Exception: of any kind, by the decoder of a damaged file.
    """
    with Image.open(path, formats=FORMATS) as opened:
        frames = getattr(opened, "n_frames", 1)
        is_reduced = opened.mode in _EIGHT_BITS and any(";16" in _mode_in_file(tile.args) for tile in opened.tile)
        # Cameras store the orientation in the metadata.
        image, white = _in_channels(ImageOps.exif_transpose(opened))
    is_deep = image.mode == "F"
    if form.colour != "auto" and not is_deep:
        image = image.convert("L" if form.colour == "grey" else "RGB")
    if form.size:
        size = (form.size, form.size)
        image = ImageOps.fit(image, size) if form.fit == "crop" else image.resize(size, Image.Resampling.BICUBIC)
    pixels = np.asarray(image)
    pixels = pixels[np.newaxis] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    if is_deep and form.colour == "colour":
        pixels = pixels.repeat(3, axis=0)
    return Picture(pixels, white, frames, is_reduced)


def _mode_in_file(arguments: Any) -> str:
    """Of a decoder, such as RGB;16B."""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _in_channels(image: Image.Image) -> tuple[Image.Image, float]:
    """Grey (L) or colour (RGB) with one byte per channel, or grey of more bits (F); white is behind transparent pixels.

    With the value of white; 0 where the format has none.
    """
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image).astype(np.float32)
        return Image.fromarray(values), WHITE_OF_16_BITS if image.mode.startswith("I;16") else 0.0
    if image.has_transparency_data:
        is_grey = image.mode in ("L", "LA")
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("L" if is_grey else "RGB")
    if image.mode == "P":
        pixels = np.asarray(image.convert("RGB"))
        is_grey = bool((pixels == pixels[:, :, :1]).all())
        return image.convert("L" if is_grey else "RGB"), 255.0
    if image.mode == "1":
        return image.convert("L"), 255.0
    return image if image.mode in ("L", "RGB") else image.convert("RGB"), 255.0
