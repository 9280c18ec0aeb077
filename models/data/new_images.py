"""Reads new images as those of the training were read: of the same size, channels and white, whatever is odd told.

Files are decoded batch by batch, so any number of them may be predicted. What cannot be read is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.data.idx import read_idx
from models.data.image_file import SUFFIXES, read_picture
from models.data.image_folder import NAMED, about_others, problem_of
from models.data.image_parts import pictures_below
from models.data.image_sources import WHITE_OF_BYTES, Form, is_bytes, recoloured, resized, with_channels
from models.data.new_data import BATCH
from models.data.npz import read_arrays

MOST_BYTES = 64 << 20  # of a batch


class NewImages:
    """The images of a source.

    Attributes:
        rows: the file of each image, or its number in an array; complete after the last batch, as are the remarks.

    Args:
        state: of models.data.images:Images, see models.data.new_data.

    Raises:
        ValueError: there are no images, or an array is of another kind than the training's.
    """

    def __init__(self, source: Any, state: Mapping[str, Any]) -> None:
        self._state = state
        self._form = Form(**state["form"])
        self._shape: tuple[int, int, int] = tuple(state["shape"])
        self._changes: Counter[str] = Counter()
        self._broken: dict[str, str] = {}
        self._root = Path()
        self._files: list[Path] = []
        self._arrays: NDArray[Any] | None = None
        self.remarks: list[str] = []
        self.rows: dict[str, list[Any]] = {}
        if isinstance(source, np.ndarray):
            self._arrays = self._checked(source, where="the array")
        elif isinstance(source, str | Path):
            self._find(Path(source).expanduser())
        else:
            raise ValueError(f"new images should be a path or an array, not {type(source).__name__}")
        self._names: list[Any] = self.rows.setdefault("file" if self._arrays is None else "image", [])

    def batches(self) -> Iterator[Tensor]:
        """Images (batch, channels, height, width) as the model takes them."""
        at_once = max(1, min(BATCH, MOST_BYTES // (4 * int(np.prod(self._shape)))))
        factor, offset = (torch.from_numpy(np.asarray(self._state[name])) for name in ("factor", "offset"))
        images = self._of_files() if self._arrays is None else self._of_array(self._arrays)
        held: list[NDArray[Any]] = []
        for image in images:
            held.append(image)
            if len(held) == at_once:
                yield torch.from_numpy(np.stack(held)).to(torch.float32) * factor + offset
                held = []
        if held:
            yield torch.from_numpy(np.stack(held)).to(torch.float32) * factor + offset
        self._tell()

    def _find(self, path: Path) -> None:
        if not path.exists():
            raise ValueError(f"{path}: there is no such file or folder")
        if path.is_dir():
            files, left_out = pictures_below(path)
            self._root, self._files = path, [Path(entry.path) for _, entry in files]
            if not files:
                raise ValueError(f"{path}: there are no images in this folder")
            self.remarks += [text] if (text := about_others(left_out, path)) else []
        elif path.suffix == ".npz":
            self._arrays = self._checked(read_arrays(path, ("x",), who=str(path))["x"], where=f"{path}: x")
        elif path.suffix.lower() in SUFFIXES:
            self._root, self._files = path.parent, [path]
        else:
            self._arrays = self._checked(read_idx(path), where=str(path))

    def _checked(self, x: NDArray[Any], *, where: str) -> NDArray[Any]:
        """(images, channels, height, width)"""
        pixels = with_channels(x, self._form, where=where)
        if self._state["is_bytes"] and not is_bytes(pixels):
            raise ValueError(f"{where}: the images are {x.dtype}; those of the training are bytes, from 0 to 255")
        return pixels

    def _of_array(self, pixels: NDArray[Any]) -> Iterator[NDArray[Any]]:
        white = WHITE_OF_BYTES if is_bytes(pixels) and self._state["white"] else self._state["white"]
        for number, image in enumerate(pixels):
            self._names.append(number)
            whole = resized(image[np.newaxis], self._form)[0] if self._form.size else image
            try:
                yield self._converted(whole, white)
            except ValueError as error:
                raise ValueError(f"Images: each of the new images {error}") from error

    def _of_files(self) -> Iterator[NDArray[Any]]:
        for path in self._files:
            name = str(path.relative_to(self._root))
            try:
                picture = read_picture(path, self._form)
                image = self._converted(picture.pixels, picture.white)
            except Exception as error:  # for broken data, decoders may raise any error
                self._broken[name] = problem_of(error)
                continue
            self._changes["files of several images, of which the first is used"] += picture.frames > 1
            self._names.append(name)
            yield image
        if self._broken and not self._names:
            raise ValueError(f"Images: {self._root}: no image can be read: {self._broken_in_words()}")

    def _converted(self, image: NDArray[Any], white: float) -> NDArray[Any]:
        """An image (channels, height, width) with the white, the channels and the size of the training."""
        if (white == 0) != (self._state["white"] == 0):
            raise ValueError("has another kind of values than the training images: bits of 8 or 16 against 32")
        if white != self._state["white"]:
            image = image.astype(np.float32) * (self._state["white"] / white)
            image = image.round().astype(np.uint8) if self._state["is_bytes"] else image
            self._changes["images converted to the bits of those of the training"] += 1
        channels, height, width = self._shape
        if len(image) != channels:
            if {len(image), channels} != {1, 3}:
                raise ValueError(f"has {len(image)} channels, the training images have {channels}")
            colour = "colour" if channels == 3 else "grey"
            image = recoloured(image[np.newaxis], colour, where="")[0]
            self._changes[f"images converted to {colour}"] += 1
        if image.shape[1:] != (height, width):
            image = _of_size(image, height, width)
            self._changes[f"images of another size, resized to {width} x {height} pixels"] += 1
        return image

    def _tell(self) -> None:
        self.remarks += [f"{what}: {count:,} of {len(self._names):,}" for what, count in self._changes.items() if count]
        if self._broken:
            self.remarks.append(
                f"images that cannot be read, and are left out: {len(self._broken):,}: {self._broken_in_words()}"
            )

    def _broken_in_words(self) -> str:
        named = [f"{name} ({problem})" for name, problem in list(self._broken.items())[:NAMED]]
        return ", ".join(named) + ", ..." * (len(self._broken) > NAMED)


def _of_size(image: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    whole = torch.from_numpy(image[np.newaxis].astype(np.float32))
    new: NDArray[Any] = functional.interpolate(whole, (height, width), mode="bilinear", antialias=True).numpy()[0]
    return new.round().clip(0, 255).astype(np.uint8) if is_bytes(image) else new
