"""New images as a network's inputs: arrays with NumPy alone, files of images with Pillow."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models.data.idx import read_idx
from models.data.standalone.arrays import array_x

WHITE_OF_A_BYTE, WHITE_OF_TWO_BYTES = 255.0, 65535.0
SHARES_OF_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green and blue: ITU-R BT.601
IMAGES_AT_ONCE = 64


def read(source: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """`x` of an .npz, an IDX file, a folder of images, or an image.

    Raises:
        ValueError: there are no images, or of another kind than the training's.
    """
    found = _NewImages(source, state)
    return {"inputs": found.batches(), "rows": found.rows, "remarks": found.remarks}


class _NewImages:
    def __init__(self, source: str, state: Mapping[str, Any]) -> None:
        self._state = state
        self.remarks: list[str] = []
        self._changes: Counter[str] = Counter()
        path = Path(source)
        if not path.exists():
            raise ValueError(f"{source}: there is no such file or folder")
        if path.suffix == ".npz":
            self._images, kind = self._of_array(array_x(source)["x"], source), "image"
        elif not path.is_dir() and path.suffix.lower() not in _suffixes():
            self._images, kind = self._of_array(read_idx(path), source), "image"
        else:
            self._images, kind = self._of_files(path), "file"
        self._names: list[Any] = []
        self.rows = {kind: self._names}

    def batches(self) -> Iterator[tuple[Any, ...]]:
        """Images (batch, channels, height, width)."""
        held: list[Any] = []
        for name, image in self._images:
            self._names.append(name)
            held.append(image)
            if len(held) == IMAGES_AT_ONCE:
                yield self._scaled(held)
                held = []
        if held:
            yield self._scaled(held)
        self.remarks += [f"{what}: {count:,}" for what, count in self._changes.items()]

    def _scaled(self, images: list[Any]) -> tuple[Any, ...]:
        factor, offset = self._state["factor"], self._state["offset"]
        return ((np.stack(images).astype(np.float32) * factor + offset).astype(np.float32),)

    def _of_array(self, x: Any, source: str) -> Iterator[tuple[Any, Any]]:
        pixels = _channels_first(x, self._state["form"]["layout"], source)
        is_bytes = pixels.dtype == np.uint8
        if self._state["is_bytes"] and not is_bytes:
            raise ValueError(f"{source}: the images are {x.dtype}; those of the training are bytes, from 0 to 255")
        white = WHITE_OF_A_BYTE if is_bytes and self._state["white"] else self._state["white"]
        form = self._state["form"]
        for number, image in enumerate(pixels):
            side = min(image.shape[1:])
            if form["size"] and form["fit"] == "crop":
                top, left = (image.shape[1] - side) // 2, (image.shape[2] - side) // 2
                image = image[:, top : top + side, left : left + side]
            yield number, self._converted(image, white, bool(form["size"]))

    def _of_files(self, path: Path) -> Iterator[tuple[Any, Any]]:
        files = list(_pictures_in(path)) if path.is_dir() else [path]
        if not files:
            raise ValueError(f"{path}: there are no images in this folder")
        root = path if path.is_dir() else path.parent
        for file in files:
            try:
                pixels, white = _decoded_file(file, self._state["form"])
            except Exception as error:  # for broken data, decoders may raise any error
                self.remarks.append(f"{file.relative_to(root)} cannot be read, and is left out: {error}")
                continue
            yield str(file.relative_to(root)), self._converted(pixels, white, False)

    def _converted(self, image: Any, white: float, is_usual: bool) -> Any:
        """An image (channels, height, width) with the white, the channels and the size of the training."""
        channels, height, width = self._state["shape"]
        if (white == 0) != (self._state["white"] == 0):
            raise ValueError("an image has another kind of values than the training images")
        if white != self._state["white"]:
            image = image.astype(np.float32) * (self._state["white"] / white)
            image = image.round().astype(np.uint8) if self._state["is_bytes"] else image
            self._changes["images converted to the bits of those of the training"] += 1
        if len(image) != channels:
            if {len(image), channels} != {1, 3}:
                raise ValueError(f"an image has {len(image)} channels, the training images have {channels}")
            image = image.repeat(3, axis=0) if channels == 3 else _as_grey(image)
            self._changes[f"images converted to {'colour' if channels == 3 else 'grey'}"] += 1
        if image.shape[1:] != (height, width):
            image = _resized(image, height, width)
            if not is_usual:
                self._changes[f"images of another size, resized to {width} x {height} pixels"] += 1
        return image


def _channels_first(x: Any, layout: str, source: str) -> Any:
    if x.ndim not in (3, 4) or 0 in x.shape:
        raise ValueError(f"{source}: images should be (images, height, width) or have channels, not {x.shape}")
    x = x.astype(np.uint8) * 255 if x.dtype == bool else x if x.dtype == np.uint8 else x.astype(np.float32)
    if not np.isfinite(x).all():
        raise ValueError(f"{source}: some values are not finite numbers")
    if x.ndim == 3:
        return x[:, np.newaxis]
    if layout == "auto":
        if (x.shape[1] <= 4) == (x.shape[3] <= 4):
            raise ValueError(f"{source}: in the shape {x.shape} it is unclear which dimension is the channels")
        return x if x.shape[1] <= 4 else x.transpose(0, 3, 1, 2)
    return x if layout == "channels_first" else x.transpose(0, 3, 1, 2)


def _as_grey(image: Any) -> Any:
    grey = np.einsum("chw,c->hw", image, SHARES_OF_GREY, dtype=np.float32)[np.newaxis]
    return grey.round().astype(np.uint8) if image.dtype == np.uint8 else grey


def _resized(image: Any, height: int, width: int) -> Any:
    pillow = _pillow(f"images of {image.shape[2]} x {image.shape[1]} pixels are resized to {width} x {height}")
    planes = [pillow.fromarray(plane.astype(np.float32)) for plane in image]
    new = np.stack([np.asarray(plane.resize((width, height), pillow.Resampling.BILINEAR)) for plane in planes])
    return new.round().clip(0, 255).astype(np.uint8) if image.dtype == np.uint8 else new


def _pictures_in(folder: Path) -> Iterator[Path]:
    suffixes = _suffixes()
    if not suffixes:
        _pillow("files of images are decoded")
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir() and not entry.name.startswith("."):
            yield from _pictures_in(entry)
        elif not entry.name.startswith(".") and entry.name.lower().endswith(suffixes):
            yield entry


def _pillow(what: str) -> Any:
    try:
        return importlib.import_module("PIL.Image")
    except ImportError:
        raise ValueError(f"{what} by Pillow, which is not installed: pip install pillow") from None


def _suffixes() -> tuple[str, ...]:
    """Of the files that Pillow decodes; none where it is not installed."""
    try:
        image = importlib.import_module("PIL.Image")
    except ImportError:
        return ()
    return tuple(suffix for suffix, kind in image.registered_extensions().items() if kind in image.OPEN)


def _decoded_file(path: Path, form: Mapping[str, Any]) -> tuple[Any, float]:
    """Pixels (channels, height, width) and the value of white; as models.data.image_file."""
    pillow, operations = _pillow("files of images are decoded"), importlib.import_module("PIL.ImageOps")
    with pillow.open(path) as opened:
        image, white = _in_channels(operations.exif_transpose(opened), pillow)
    is_deep = image.mode == "F"
    if form["colour"] != "auto" and not is_deep:
        image = image.convert("L" if form["colour"] == "grey" else "RGB")
    if form["size"]:
        size = (form["size"], form["size"])
        is_cropped = form["fit"] == "crop"
        image = operations.fit(image, size) if is_cropped else image.resize(size, pillow.Resampling.BICUBIC)
    pixels = np.asarray(image)
    pixels = pixels[np.newaxis] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return pixels.repeat(3, axis=0) if is_deep and form["colour"] == "colour" else pixels, white


def _in_channels(image: Any, pillow: Any) -> tuple[Any, float]:
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image).astype(np.float32)
        return pillow.fromarray(values), WHITE_OF_TWO_BYTES if image.mode.startswith("I;16") else 0.0
    if image.has_transparency_data:
        is_grey, over = image.mode in ("L", "LA"), image.convert("RGBA")
        image = pillow.alpha_composite(pillow.new("RGBA", over.size, "white"), over)
        image = image.convert("L" if is_grey else "RGB")
    if image.mode == "P":
        pixels = np.asarray(image.convert("RGB"))
        return image.convert("L" if (pixels == pixels[:, :, :1]).all() else "RGB"), WHITE_OF_A_BYTE
    if image.mode == "1":
        return image.convert("L"), WHITE_OF_A_BYTE
    return image if image.mode in ("L", "RGB") else image.convert("RGB"), WHITE_OF_A_BYTE
