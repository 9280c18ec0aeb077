"""Folders of images as people have them: any format, more than 8 bits, parts by many names, and other files beside."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn import SHAPES, drawn, write_folders
from numpy.typing import NDArray
from PIL import Image

from models.data.images import Images


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def ready(source: Path, *stages: str, **arguments: Any) -> Images:
    data = Images(str(source), **arguments)
    data.prepare_data()
    for stage in stages or ("fit",):
        data.setup(stage)
    return data


def pixels(source: Path, **arguments: Any) -> NDArray[Any]:
    found: NDArray[Any] = ready(source, **arguments)._pixels
    return found


def halves(root: Path, names: list[str], *, per_class: int = 4, classes: int = 3) -> Path:
    """A folder for each name, with other images of the same classes in each."""
    for number, name in enumerate(names):
        images, labels = drawn(per_class * classes, classes=classes, seed=number)
        write_folders(root / name, images, labels)
    return root


# ---- formats


@pytest.mark.parametrize("suffix", [".webp", ".gif", ".tif", ".TIFF", ".bmp", ".ppm", ".pgm", ".tga", ".jp2", ".avif"])
def test_every_format_that_pillow_decodes_is_read(tmp_path: Path, suffix: str) -> None:
    images, labels = drawn(12, size=(16, 16))
    of_format: dict[str, dict[str, Any]] = {".webp": {"lossless": True}, ".avif": {"quality": 100}}
    options = of_format.get(suffix, {})
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        (tmp_path / SHAPES[label]).mkdir(exist_ok=True)
        Image.fromarray(image[:, :, 0]).save(tmp_path / SHAPES[label] / f"{number:02}{suffix}", **options)

    found = pixels(tmp_path, colour="grey")

    expected = images[np.argsort(labels, kind="stable")].transpose(0, 3, 1, 2)
    assert np.abs(found.astype(int) - expected).mean() < 4  # some are lossy


def test_a_file_is_read_by_its_content_whatever_its_suffix(tmp_path: Path) -> None:
    write_folders(tmp_path, *drawn(12))
    with Image.open(tmp_path / "bar" / "000.png") as image:
        image.save(tmp_path / "bar" / "000.jpg", format="WEBP")
    assert len(pixels(tmp_path)) == 13


def test_the_first_of_several_images_in_a_file_is_used_and_said(tmp_path: Path) -> None:
    write_folders(tmp_path, *drawn(12))
    frames = [Image.new("L", (8, 9), level) for level in (10, 200)]
    frames[0].save(tmp_path / "bar" / "0.gif", save_all=True, append_images=frames[1:])

    with pytest.warns(UserWarning, match="files of several images, of which the first is used: 1$"):
        assert pixels(tmp_path, colour="grey")[0].max() == 10


# ---- more than 8 bits


def deep(root: Path, *, suffix: str = ".png", count: int = 12) -> NDArray[np.uint16]:
    """Images of 16 bits (images, height, width), in the order in which they are read."""
    levels = np.random.default_rng(0).integers(0, 65536, (count, 9, 8), dtype=np.uint16)
    for number, image in enumerate(levels):
        folder = root / SHAPES[number * 3 // count]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number:02}{suffix}")
    return levels


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_all_read(tmp_path: Path, suffix: str) -> None:
    levels = deep(tmp_path, suffix=suffix)
    found = pixels(tmp_path)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[:, 0], levels)
    data = ready(tmp_path, scaling="unit")
    inputs, _ = next(iter(data.val_dataloader()))
    assert isinstance(inputs, torch.Tensor)
    assert inputs.min() >= -0.01
    assert inputs.max() <= 1.01


def test_floating_point_images_keep_their_values(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(12, 9, 8)).astype(np.float32)
    for number, image in enumerate(values):
        (tmp_path / SHAPES[number // 4]).mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / SHAPES[number // 4] / f"{number:02}.tif")
    np.testing.assert_array_equal(pixels(tmp_path)[:, 0], values)
    assert pixels(tmp_path, size=4, colour="colour").shape == (12, 3, 4, 4)


@pytest.mark.parametrize("first", [True, False])
def test_white_is_the_same_in_images_of_8_and_16_bits(tmp_path: Path, first: bool) -> None:
    deep(tmp_path)
    name = "!.png" if first else "zz.png"
    Image.new("L", (8, 9), 255).save(tmp_path / "bar" / name)
    found = pixels(tmp_path)
    assert found[0 if first else 4].min() == 65535
    Image.new("RGB", (8, 9), (255, 0, 0)).save(tmp_path / "bar" / name)
    found = pixels(tmp_path)
    assert found.shape == (13, 3, 9, 8)
    assert found[0 if first else 4, :, 0, 0].tolist() == [65535, 0, 0]


def test_images_whose_values_have_no_common_white_are_refused(tmp_path: Path) -> None:
    write_folders(tmp_path, *drawn(12))
    Image.fromarray(np.ones((9, 8), dtype=np.float32)).save(tmp_path / "bar" / "x.tif")
    with pytest.raises(ValueError, match=r"bar/x.tif and bar/000.png differ in kind: one has values of 32 bits"):
        ready(tmp_path)


def test_parts_of_different_bits_are_refused(tmp_path: Path) -> None:
    deep(tmp_path / "train")
    write_folders(tmp_path / "val", *drawn(12))
    with pytest.raises(ValueError, match="the parts train, validation differ in the bits of their images"):
        ready(tmp_path)


def test_colours_of_which_half_the_bits_are_read_are_counted(tmp_path: Path) -> None:
    write_folders(tmp_path, *drawn(12, channels=3))
    rows = b"".join(b"\0" + bytes([200, 1, 100, 2, 50, 3]) * 8 for _ in range(9))  # red, green, blue of 16 bits each
    head = struct.pack(">IIBBBBB", 8, 9, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    content = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    (tmp_path / "bar" / "000.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    with pytest.warns(UserWarning, match=r"images of 16 bits a colour, of which 8 are read \(an .npz keeps all\): 1$"):
        assert pixels(tmp_path)[0, :, 0, 0].tolist() == [200, 100, 50]


# ---- parts


@pytest.mark.parametrize(
    ("train", "others"),
    [
        ("Train", {"Test": "test"}),
        ("TRAIN", {"VAL": "validation", "TEST": "test"}),
        ("training_set", {"test_set": "test"}),
        ("seg_train", {"seg_test": "test"}),
        ("TrainingSet", {"ValidationSet": "validation"}),
        ("train-images", {"valid-images": "validation"}),
        ("trainset", {"testset": "test"}),
        ("train", {"dev": "validation", "testing": "test"}),
    ],
)
def test_folders_named_like_parts_are_the_parts(tmp_path: Path, train: str, others: dict[str, str]) -> None:
    data = ready(halves(tmp_path, [train, *others]), "fit", "test")

    assert data.class_names == SHAPES
    assert data._source().parts == ("train", *sorted(others.values(), reverse=True))
    if "test" in others.values():
        assert len(data.part("test").targets) == 12
    if "validation" in others.values():
        assert len(data.rows.validation) == 12


def test_parts_within_a_folder_of_an_archive_are_found(tmp_path: Path) -> None:
    halves(tmp_path / "archive" / "images", ["seg_train/seg_train", "seg_test/seg_test"])
    data = ready(tmp_path, "fit", "test")
    assert data.class_names == SHAPES
    assert len(data.part("test").targets) == 12


@pytest.mark.parametrize("names", [["val", "test"], ["Test", "Validation"], ["pictures", "test"]])
def test_parts_without_one_to_train_on_are_refused(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(ValueError, match="are parts rather than classes: name the one to train on 'train'"):
        ready(halves(tmp_path, names))


def test_two_folders_for_one_part_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the folders train_1, train_2 all seem to be the train part: keep one"):
        ready(halves(tmp_path, ["train_1", "train_2", "test"]))


def test_parts_whose_images_have_no_classes_are_refused(tmp_path: Path) -> None:
    images, _ = drawn(12)
    for number, image in enumerate(images):
        folder = tmp_path / ("train", "test")[number % 2]
        folder.mkdir(exist_ok=True)
        Image.fromarray(image[:, :, 0]).save(folder / f"{number}.png")
    with pytest.raises(ValueError, match="the folders test, train are parts rather than classes"):
        ready(tmp_path)


def test_a_class_may_be_named_like_a_part(tmp_path: Path) -> None:
    write_folders(tmp_path, *drawn(12))
    (tmp_path / "bar").rename(tmp_path / "train")  # beside cross and frame
    assert ready(tmp_path).class_names == ("cross", "frame", "train")


def test_classes_that_hold_the_same_folders_are_said_to_look_like_parts(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="first, second are taken for classes, but hold the same folders"):
        assert ready(halves(tmp_path, ["first", "second"])).class_names == ("first", "second")


def test_a_folder_beside_the_parts_is_left_out_and_said(tmp_path: Path) -> None:
    halves(tmp_path, ["train", "test"])
    (tmp_path / "unlabelled").mkdir()
    Image.new("L", (8, 9)).save(tmp_path / "unlabelled" / "x.png")
    with pytest.warns(UserWarning, match="the folder 'unlabelled' is no part with folders of classes: left out"):
        assert ready(tmp_path).class_names == SHAPES


def test_a_part_that_lacks_a_class_is_said(tmp_path: Path) -> None:
    for name, classes in (("train", 3), ("val", 2), ("test", 2)):
        write_folders(tmp_path / name, *drawn(12, classes=classes, seed=classes))
    with pytest.warns(UserWarning, match="the validation part has no image of class frame"):
        data = ready(tmp_path)
    with pytest.warns(UserWarning, match="the test part has no image of class frame"):
        data.setup("test")


# ---- what is left out


def test_files_that_are_left_out_are_counted_by_reason_in_every_trial(tmp_path: Path) -> None:
    write_folders(tmp_path, *drawn(12))
    for name in ("bar/notes.txt", "bar/a.heic", "cross/b.heic", "cross/README", "cross/Thumbs.db", "frame/.DS_Store"):
        (tmp_path / name).write_bytes(b"")
    Image.new("L", (8, 9)).save(tmp_path / "loose.png")

    said = "5 files left out: 2 .heic, 1 .txt, 1 images outside of the folders of classes, 1 without a suffix"
    for _ in range(2):
        with pytest.warns(UserWarning, match=said) as caught:
            ready(tmp_path)
        assert len(caught) == 1


def test_a_folder_of_images_only_warns_of_nothing(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ready(halves(tmp_path, ["train", "val", "test"]), "fit", "test")
