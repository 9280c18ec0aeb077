"""Images: every kind of source gives the same pixels, parts are split as requested, and bad input is reported."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn import SHAPES, drawn, write_folders, write_idx, write_mnist
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from models.data.cache import room_for
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


def problem(source: Path, *stages: str, **arguments: Any) -> str:
    """The message of the error."""
    with pytest.raises(ValueError, match=r"^Images: ") as message:
        ready(source, *stages, **arguments)
    return str(message.value)


def all_of(loader: Any) -> tuple[Tensor, Tensor]:
    """Images and targets, in the order of the rows."""
    loader.training = False
    batches = list(loader)
    return torch.cat([images for images, _ in batches]), torch.cat([targets for _, targets in batches])


def as_read(data: Images) -> Tensor:
    """What is trained on and validated with, as whole numbers, in the order of the source."""
    images = torch.cat([all_of(data.train_dataloader())[0], all_of(data.val_dataloader())[0]])
    return images[torch.from_numpy(np.argsort(np.concatenate(data.rows[:2])))].round().to(torch.uint8)


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_every_kind_of_source_gives_the_same_images(tmp_path: Path) -> None:
    images, labels = drawn(30)
    by_label = np.argsort(labels, kind="stable")  # as folders have them
    images, labels = images[by_label], labels[by_label]
    write_idx(tmp_path / "idx" / "train-images-idx3-ubyte", images[:, :, :, 0])
    write_idx(tmp_path / "idx" / "train-labels-idx1-ubyte", labels)
    write_idx(tmp_path / "gz" / "train-images-idx3-ubyte.gz", images[:, :, :, 0])
    write_idx(tmp_path / "gz" / "train-labels-idx1-ubyte.gz", labels)
    sources = [
        write_folders(tmp_path / "folders", images, labels),
        npz(tmp_path / "grey.npz", x=images[:, :, :, 0], y=labels),
        npz(tmp_path / "last.npz", x=images, y=labels.reshape(-1, 1)),
        npz(tmp_path / "first.npz", x=images.transpose(0, 3, 1, 2), y=labels.astype(np.float32)),
        npz(tmp_path / "names.npz", x=images, y=np.array(SHAPES)[labels]),
        tmp_path / "idx",
        tmp_path / "gz",
    ]

    found = [ready(source, scaling="none", test_fraction=0.0) for source in sources]

    for data in found:
        assert (data.input_shape, data.outputs, data.task) == ((1, 9, 8), 3, "multiclass")
        assert torch.equal(as_read(data), torch.from_numpy(images).permute(0, 3, 1, 2))
        assert [rows.tolist() for rows in data.rows] == [rows.tolist() for rows in found[0].rows]
        assert sorted(data.class_names) == sorted(SHAPES) or data.class_names == ("0", "1", "2")


def test_jpeg_and_coloured_files_are_read(tmp_path: Path) -> None:
    images, labels = drawn(12, size=(16, 16), channels=3)
    data = ready(write_folders(tmp_path, images, labels, suffix=".JPG"), scaling="none", test_fraction=0.0)

    by_label = images[np.argsort(labels, kind="stable")].transpose(0, 3, 1, 2)
    assert data.input_shape == (3, 16, 16)
    assert np.abs(as_read(data).numpy().astype(int) - by_label).mean() < 25  # lossy, and this is noise


def test_folders_for_the_parts_are_the_parts(tmp_path: Path) -> None:
    images, labels = drawn(30)
    for name, rows in (("train", slice(0, 15)), ("val", slice(15, 21)), ("test", slice(21, 30))):
        write_folders(tmp_path / name, images[rows], labels[rows])

    data = ready(tmp_path, "fit", "test", scaling="none")

    assert [len(rows) for rows in data.rows] == [15, 6, 0]
    sizes = [len(all_of(loader)[0]) for loader in (data.train_dataloader(), data.val_dataloader())]
    assert sizes == [15, 6]
    tested, targets = all_of(data.test_dataloader())
    order = np.argsort(labels[21:30], kind="stable")
    assert torch.equal(tested.to(torch.uint8), torch.from_numpy(images[21:30][order].transpose(0, 3, 1, 2)))
    assert targets.tolist() == sorted(labels[21:30].tolist())


def test_an_npz_may_have_its_parts(tmp_path: Path) -> None:
    images, labels = drawn(30)
    parts = {"train": slice(0, 20), "test": slice(20, 30)}
    arrays: dict[str, Any] = {f"x_{name}": images[rows] for name, rows in parts.items()}
    arrays |= {f"y_{name}": labels[rows] for name, rows in parts.items()}

    data = ready(npz(tmp_path / "parts.npz", **arrays), "fit", "test")

    assert [len(rows) for rows in data.rows] == [17, 3, 0]
    assert len(all_of(data.test_dataloader())[0]) == 10


def test_the_official_test_part_is_read_by_a_test_only(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    test = tmp_path / "t10k-images-idx3-ubyte.gz"
    whole = test.read_bytes()
    test.write_bytes(b"garbage")

    data = ready(tmp_path, "fit", "validate")

    assert sum(len(rows) for rows in data.rows) == 40
    with pytest.raises(ValueError, match="t10k-images"):
        data.setup("test")
    test.write_bytes(whole)
    data.setup("test")
    assert len(all_of(data.test_dataloader())[1]) == 10


def test_an_ordered_split_takes_the_first_to_train_and_the_last_to_validate(tmp_path: Path) -> None:
    write_mnist(tmp_path)

    data = ready(tmp_path, split="order", train_samples=10, validation_samples=5)

    assert data.rows.train.tolist() == list(range(10))
    assert data.rows.validation.tolist() == list(range(35, 40))


def test_a_limited_split_keeps_the_classes_shares(tmp_path: Path) -> None:
    images, labels = drawn(90)
    source = npz(tmp_path / "x.npz", x=images, y=np.where(labels == 2, 1, labels))  # twice as many of class 1

    few, more = (ready(source, train_samples=count, validation_samples=9, batch_size=16) for count in (12, 30))

    assert few.class_counts == (4, 8)
    assert more.class_counts == (10, 20)
    assert set(few.rows.train) < set(more.rows.train)
    assert few.rows.validation.tolist() == more.rows.validation.tolist()
    assert len(few.rows.validation) == 9


def test_unit_scaling_is_from_black_to_white(tmp_path: Path) -> None:
    images, labels = drawn(30)
    data = ready(npz(tmp_path / "x.npz", x=images, y=labels), test_fraction=0.0)

    torch.testing.assert_close(
        all_of(data.train_dataloader())[0] * 255,
        torch.from_numpy(images[data.rows.train]).permute(0, 3, 1, 2).float(),
    )


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.int16])
def test_standard_scaling_is_fitted_on_the_training_part_only(tmp_path: Path, kind: Any) -> None:
    images, labels = drawn(60, channels=3)
    data = ready(npz(tmp_path / "x.npz", x=images.astype(kind), y=labels), scaling="standard")

    trained, validated = all_of(data.train_dataloader())[0], all_of(data.val_dataloader())[0]

    torch.testing.assert_close(trained.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(trained.std((0, 2, 3), correction=0), torch.ones(3))
    assert validated.mean((0, 2, 3)).abs().min() > 1e-5


def test_values_that_are_no_bytes_are_scaled_by_their_range(tmp_path: Path) -> None:
    images, labels = drawn(30)
    source = npz(tmp_path / "x.npz", x=images.astype(np.float64) / 7 - 9, y=labels)

    unit, none = (all_of(ready(source, scaling=name).train_dataloader())[0] for name in ("unit", "none"))

    assert (unit.min().item(), unit.max().item()) == pytest.approx((0, 1), abs=1e-6)
    assert none.min() < 0


def test_a_blank_channel_stays_finite(tmp_path: Path) -> None:
    images, labels = drawn(30)
    blank = np.concatenate([images, 0 * images], axis=3)
    source = npz(tmp_path / "x.npz", x=blank, y=labels)

    for scaling in ("unit", "standard", "none"):
        assert all_of(ready(source, scaling=scaling).train_dataloader())[0].isfinite().all()


def test_augmentation_is_for_training_only(tmp_path: Path) -> None:
    images, labels = drawn(60)
    source = npz(tmp_path / "x.npz", x=images, y=labels)
    strong = {"flip": "both", "shift": 0.2, "rotate": 30.0, "crop": 0.4, "erase": 0.4, "mix_up": 0.4}
    plain, changed = ready(source, "fit", "test"), ready(source, "fit", "test", **strong)

    for name in ("val_dataloader", "test_dataloader"):
        for mine, other in zip(all_of(getattr(plain, name)()), all_of(getattr(changed, name)()), strict=True):
            assert torch.equal(mine, other)
    learned, targets = all_of(changed.train_dataloader())
    assert not torch.equal(learned, all_of(plain.train_dataloader())[0])
    assert targets.shape == (len(changed.rows.train), 3)


def test_two_classes_are_a_binary_task(tmp_path: Path) -> None:
    data = ready(write_folders(tmp_path, *drawn(20, classes=2)), mix_up=0.4)

    assert (data.task, data.outputs, data.class_names) == ("binary", 1, ("bar", "cross"))
    assert all_of(data.train_dataloader())[1].ndim == 1


def test_folders_named_by_numbers_are_in_their_order(tmp_path: Path) -> None:
    images, _ = drawn(22, classes=1)
    for number, image in enumerate(images):
        folder = tmp_path / str(number % 11)
        folder.mkdir(exist_ok=True)
        Image.fromarray(image[:, :, 0]).save(folder / f"{number}.png")

    assert ready(tmp_path).class_names == tuple(str(number) for number in range(11))


@pytest.mark.parametrize("fit", ["squeeze", "crop"])
def test_images_of_mixed_sizes_are_resized(tmp_path: Path, fit: Any) -> None:
    write_folders(tmp_path, *drawn(6, size=(9, 8)))
    for number, shape in enumerate(SHAPES):
        Image.new("L", (20, 11 + number), 255).save(tmp_path / shape / "large.png")

    assert ready(tmp_path, size=12, fit=fit).input_shape == (1, 12, 12)


def test_crop_takes_the_middle_and_squeeze_everything(tmp_path: Path) -> None:
    images = np.zeros((12, 8, 16), dtype=np.uint8)
    images[:, :, 4:12] = 200
    source = npz(tmp_path / "x.npz", x=images, y=np.arange(12) % 2)

    crop, squeeze = (
        as_read(ready(source, size=8, fit=fit, scaling="none", test_fraction=0.0)) for fit in ("crop", "squeeze")
    )

    assert set(crop.flatten().tolist()) == {200}
    assert squeeze[0, 0, 4, 4] == 200
    assert squeeze[0, 0, 4, 0] == 0


@pytest.mark.parametrize(("colour", "channels"), [("grey", 1), ("colour", 3)])
def test_images_have_the_requested_colour(tmp_path: Path, colour: Any, channels: int) -> None:
    images, labels = drawn(30, channels=3)
    grey, _ = drawn(30)
    folders = write_folders(tmp_path / "folders", images, labels)
    Image.fromarray(grey[0, :, :, 0]).save(folders / "bar" / "grey.png")
    sources = [folders, npz(tmp_path / "c.npz", x=images, y=labels), npz(tmp_path / "g.npz", x=grey, y=labels)]

    for source in sources:
        assert ready(source, colour=colour).input_shape == (channels, 9, 8)
    assert ready(folders).input_shape == (3, 9, 8)  # a grey one may join coloured ones


def test_grey_is_the_same_from_files_and_from_arrays(tmp_path: Path) -> None:
    images, labels = drawn(30, channels=3)
    by_label = np.argsort(labels, kind="stable")
    sources = [
        write_folders(tmp_path / "folders", images, labels),
        npz(tmp_path / "x.npz", x=images[by_label], y=labels[by_label]),
    ]

    one, other = (as_read(ready(s, colour="grey", scaling="none", test_fraction=0.0)).int() for s in sources)

    assert (one - other).abs().max() <= 1


def save_palette(path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 3]], dtype=np.uint8)).convert("P")
    image.putpalette([level for grey in (0, 255, 128, 1) for level in (grey, grey, grey)])
    image.save(path)


def save_transparent(path: Path) -> None:
    grey = np.array([[0, 255], [128, 1]], dtype=np.uint8)
    alpha = np.array([[255, 0], [255, 255]], dtype=np.uint8)  # white shows through
    Image.fromarray(np.stack([grey, alpha], axis=2)).save(path)


def save_grey(path: Path) -> None:
    Image.fromarray(np.array([[0, 255], [128, 1]], dtype=np.uint8)).save(path)


@pytest.mark.parametrize("save", [save_grey, save_palette, save_transparent])
def test_every_kind_of_png_becomes_bytes(tmp_path: Path, save: Callable[[Path], None]) -> None:
    for shape in ("a", "b"):
        (tmp_path / shape).mkdir()
        for number in range(2):
            save(tmp_path / shape / f"{number}.png")

    images = as_read(ready(tmp_path, scaling="none", test_fraction=0.0, validation_fraction=0.5))

    assert images[0].tolist() == [[[0, 255], [128, 1]]]


def test_a_cached_image_is_read_again_when_its_file_changes(tmp_path: Path) -> None:
    images, labels = drawn(12)
    source = tmp_path / "x.npz"
    first = as_read(ready(npz(source, x=images, y=labels), scaling="none", test_fraction=0.0))

    again = as_read(ready(npz(source, x=255 - images, y=labels), scaling="none", test_fraction=0.0))

    assert torch.equal(again, 255 - first)


def test_the_parts_are_no_copies_of_what_all_trials_share(tmp_path: Path) -> None:
    data = ready(write_folders(tmp_path / "folders", *drawn(30)))

    parts = [data.part(name).inputs for name in ("train", "validation", "test")]

    shared = torch.from_numpy(data._pixels).data_ptr()
    assert [part.data_ptr() for part in parts if isinstance(part, Tensor)] == 3 * [shared]


@pytest.mark.parametrize("is_full", [False, True], ids=["", "full disk"])
def test_images_that_may_not_fit_in_memory_are_decoded_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_full: bool
) -> None:
    grey, colour = drawn(12), drawn(12, channels=3)
    write_folders(tmp_path / "train", *grey)
    for folder in sorted((tmp_path / "train").iterdir())[1:]:  # the later ones are coloured
        shutil.rmtree(folder)
    write_folders(tmp_path / "more", *colour)
    for folder in sorted((tmp_path / "more").iterdir())[1:]:
        folder.rename(tmp_path / "train" / folder.name)
    write_folders(tmp_path / "validation", *colour)
    shutil.rmtree(tmp_path / "more")
    in_memory = ready(tmp_path, scaling="none")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    monkeypatch.setattr("models.data.cache.MOST_BYTES_IN_MEMORY", 0)
    made: list[NDArray[Any]] = []

    def room(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        made.append(room_for(shape, dtype))
        return made[-1]

    monkeypatch.setattr("models.data.image_folder.room_for", room)
    monkeypatch.setattr("models.data.decoding.room_for", room)
    if is_full:
        monkeypatch.setattr("os.posix_fallocate", no_space)

    on_disk = ready(tmp_path, scaling="none")

    assert on_disk.input_shape == (3, 9, 8)
    assert torch.equal(as_read(on_disk), as_read(in_memory))
    assert [isinstance(array, np.memmap) for array in made] == 4 * [not is_full]  # grey, coloured, validation, both
    assert len(list((tmp_path / "another" / "hpo-service").iterdir())) == 1


def no_space(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def test_nothing_is_decoded_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_folders(tmp_path / "folders", *drawn(12))
    first = as_read(ready(source, scaling="none"))
    monkeypatch.setattr(Image, "open", None)

    assert torch.equal(as_read(ready(source, scaling="none")), first)


# Bad input


def broken_jpeg(root: Path) -> Path:
    write_folders(root, *drawn(12, size=(16, 16)), suffix=".jpg")
    content = (root / "bar" / "000.jpg").read_bytes()
    (root / "bar" / "000.jpg").write_bytes(content[: len(content) // 2])
    (root / "cross" / "extra.png").write_bytes(b"no picture")
    return root


def test_broken_files_are_named_and_counted(tmp_path: Path) -> None:
    message = problem(broken_jpeg(tmp_path))

    assert "2 of 13 images cannot be read: bar/000.jpg (" in message
    assert "truncated" in message.lower()
    assert "cross/extra.png (is no image that Pillow reads)" in message
    assert "corrupt: skip" in message


def test_broken_files_may_be_skipped_with_a_warning_in_every_trial(tmp_path: Path) -> None:
    broken_jpeg(tmp_path)

    for _ in range(2):
        with pytest.warns(UserWarning, match=r"^Images: .*2 of 13 images cannot be read: .* left out") as message:
            data = ready(tmp_path, corrupt="skip")
        assert len(message) == 1
    assert sum(len(rows) for rows in data.rows) == 11


def test_broken_files_of_a_test_part_are_counted_in_a_test(tmp_path: Path) -> None:
    images, labels = drawn(30)
    for name, rows in (("train", slice(0, 20)), ("test", slice(20, 30))):
        write_folders(tmp_path / name, images[rows], labels[rows])
    (tmp_path / "test" / "bar" / "broken.png").write_bytes(b"no picture")
    data = ready(tmp_path, corrupt="skip")

    with pytest.warns(UserWarning, match="1 of 11 images cannot be read"):
        data.setup("test")

    assert len(all_of(data.test_dataloader())[1]) == 10


def test_links_to_nothing_and_to_themselves_are_broken_files(tmp_path: Path) -> None:
    write_folders(tmp_path, *drawn(12))
    (tmp_path / "bar" / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "bar" / "self.png").symlink_to("self.png")
    (tmp_path / "bar" / "up").symlink_to(tmp_path / "bar", target_is_directory=True)

    assert "2 of 14 images cannot be read: bar/gone.png (" in problem(tmp_path)
    with pytest.warns(UserWarning, match="2 of 14 images cannot be read"):
        data = ready(tmp_path, corrupt="skip")
    assert sum(len(rows) for rows in data.rows) == 12


def test_a_class_of_nothing_but_broken_files_is_not_left_out(tmp_path: Path) -> None:
    write_folders(tmp_path, *drawn(12))
    (tmp_path / "zebra").mkdir()
    (tmp_path / "zebra" / "x.png").write_bytes(b"no picture")

    assert problem(tmp_path, corrupt="skip").endswith("and nothing is left of class 'zebra'")


def test_the_error_of_an_empty_part_names_the_reason(tmp_path: Path) -> None:
    write_folders(tmp_path, *drawn(2 * len(SHAPES)))
    data = ready(tmp_path)

    with pytest.raises(ValueError, match=r"there is no validation part: a fraction of 0.2 of so few samples is empty"):
        data.val_dataloader()


def test_nothing_but_broken_files_is_an_error(tmp_path: Path) -> None:
    for shape in SHAPES:
        (tmp_path / shape).mkdir()
        (tmp_path / shape / "x.png").write_bytes(b"no picture")

    assert problem(tmp_path, corrupt="skip").endswith("no image is left")


def test_images_of_mixed_sizes_need_a_size(tmp_path: Path) -> None:
    write_folders(tmp_path, *drawn(6))
    Image.new("L", (20, 11)).save(tmp_path / "cross" / "large.png")

    message = problem(tmp_path)

    assert "bar/000.png has 8 x 9 pixels, cross/large.png has 20 x 11" in message
    assert "size: 11" in message


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    assert problem(tmp_path / "nowhere") == f"Images: {tmp_path}/nowhere: there is no such file or folder"


def test_a_source_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("1,2")

    assert "should be an .npz file, or a folder" in problem(tmp_path / "x.csv")


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    assert "has no folders with images" in problem(tmp_path)
    Image.new("L", (2, 2)).save(tmp_path / "x.png")
    assert "each class needs its own folder" in problem(tmp_path)


def test_a_class_without_images_is_named(tmp_path: Path) -> None:
    write_folders(tmp_path, *drawn(6))
    (tmp_path / "empty").mkdir()
    (tmp_path / ".hidden").mkdir()

    assert "the folder 'empty' has no images" in problem(tmp_path)


def test_a_class_with_one_image_is_named(tmp_path: Path) -> None:
    write_folders(tmp_path, *drawn(6))
    (tmp_path / "frame" / "005.png").unlink()

    assert "class 'frame' has one image but needs two" in problem(tmp_path)


def test_a_single_class_is_refused(tmp_path: Path) -> None:
    write_folders(tmp_path, *drawn(6, classes=1))

    assert "all images are of class 'bar'" in problem(tmp_path)


def test_a_split_that_leaves_a_class_out_is_refused(tmp_path: Path) -> None:
    images, labels = drawn(30)
    source = npz(tmp_path / "sorted.npz", x=images, y=np.sort(labels))

    assert "class '2' has no image in the training part, by split: order" in problem(
        source, split="order", train_samples=12
    )


def test_more_samples_than_there_are_is_an_error(tmp_path: Path) -> None:
    write_mnist(tmp_path)

    assert "train_samples: 1,000 are requested, but there are 31" in problem(tmp_path, train_samples=1000)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": drawn(6)[0]}, "has no 'y': it should hold x (images) and y (labels), and holds x"),
        ({"images": drawn(6)[0], "labels": drawn(6)[1]}, "has no 'x_train'"),
        ({"x": drawn(6)[0], "y": drawn(5)[1]}, "there are 6 images and 5 labels"),
        ({"x": drawn(6)[0], "y": np.eye(6)}, "labels should be one for each image, their shape is (6, 6)"),
        ({"x": drawn(6)[0], "y": np.array([0, 1, 2, 0.5, 1, np.nan])}, "2 of 6 labels are not whole numbers"),
        ({"x": np.zeros((6, 64)), "y": drawn(6)[1]}, "their shape is (6, 64)"),
        ({"x": np.full((6, 4, 4), np.nan), "y": drawn(6)[1]}, "6 of 6 images have values that are not finite numbers"),
        ({"x": np.zeros((6, 3, 9, 4)), "y": drawn(6)[1]}, "give layout: channels_first or channels_last"),
        ({"x": np.zeros((6, 9, 9, 9)), "y": drawn(6)[1]}, "give layout: channels_first or channels_last"),
        ({"x": np.zeros((6, 4, 4), dtype=complex), "y": drawn(6)[1]}, "images should be numbers"),
        ({"x": np.array([[["a"]]] * 6), "y": drawn(6)[1]}, "images should be numbers"),
        ({"x": np.zeros((0, 4, 4)), "y": np.zeros(0)}, "their shape is (0, 4, 4)"),
        ({"x": np.array([None] * 6), "y": drawn(6)[1]}, "Object arrays cannot be loaded"),
    ],
)
def test_arrays_that_are_no_images_are_refused_with_a_reason(
    tmp_path: Path, arrays: dict[str, Any], words: str
) -> None:
    assert words in problem(npz(tmp_path / "x.npz", **arrays))


def test_an_explicit_layout_is_used(tmp_path: Path) -> None:
    images, labels = drawn(12, size=(3, 4), channels=3)
    source = npz(tmp_path / "x.npz", x=images, y=labels)

    assert ready(source, layout="channels_last").input_shape == (3, 3, 4)


def test_a_file_that_is_no_npz_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 no archive")

    assert "x.npz: is not an .npz archive" in problem(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.arange(12) % 3 + 1, "the 3 labels are 1 to 3"),
        (np.arange(12) % 3 * 5, r"the 3 labels are \[0, 5, 10\]"),
    ],
)
def test_labels_that_do_not_start_at_0_are_numbered_with_a_warning(
    tmp_path: Path, labels: NDArray[np.int64], words: str
) -> None:
    source = npz(tmp_path / "x.npz", x=drawn(12)[0], y=labels)

    with pytest.warns(UserWarning, match=words):
        data = ready(source)

    assert data.class_names == tuple(str(label) for label in np.unique(labels))
    assert set(all_of(data.train_dataloader())[1].tolist()) == {0, 1, 2}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"12345")


def overwrite(path: Path) -> None:
    path.write_bytes(b"something else")


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("end", "damage", "words"),
    [
        ("", cut, "is truncated: 40 x 9 x 8 values make 2,896 bytes with the head, it has 2,891"),
        ("", lengthen, "is too long: 40 x 9 x 8 values"),
        ("", overwrite, "is not an IDX file"),
        ("", empty, "is not an IDX file"),
        (".gz", cut, "cannot be decompressed, it may be truncated"),
        (".gz", overwrite, "is not an IDX file"),
    ],
)
def test_a_damaged_idx_file_is_named(tmp_path: Path, end: str, damage: Callable[[Path], None], words: str) -> None:
    write_mnist(tmp_path, end=end)
    damage(tmp_path / f"train-images-idx3-ubyte{end}")

    message = problem(tmp_path)

    assert f"{tmp_path}/train-images-idx3-ubyte{end}: " in message
    assert words in message


def test_idx_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", drawn(39)[1])

    assert "there are 40 images and 39 labels" in problem(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    assert "has no file of labels beside it" in problem(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"scaling": "log"}, "scaling: 'log' should be one of unit, standard, none"),
        ({"fit": "stretch"}, "fit: 'stretch' should be one of squeeze, crop"),
        ({"split": "time"}, "split: 'time' should be one of stratified, order"),
        ({"corrupt": "ignore"}, "corrupt: 'ignore' should be one of refuse, skip"),
        ({"size": -1}, "size: -1 should be pixels"),
        ({"train_samples": -1}, "train_samples: -1 should be a number of images"),
        ({"rotate": 500.0}, "rotate: 500.0 should be 0 to 180"),
        ({"validation_fraction": 0.9, "test_fraction": 0.2}, "validation_fraction 0.9"),
    ],
)
def test_arguments_that_cannot_be_are_refused_at_once(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=r"^Images: ") as message:
        Images("nowhere", **arguments)
    assert words in str(message.value)


def test_a_test_part_that_does_not_fit_is_refused_with_a_reason(tmp_path: Path) -> None:
    images, labels = drawn(30)
    other, _ = drawn(30, size=(5, 5))
    sizes = npz(tmp_path / "sizes.npz", x_train=images, y_train=labels, x_test=other, y_test=labels)
    classes = npz(tmp_path / "classes.npz", x_train=images, y_train=labels, x_test=images, y_test=labels + 1)

    assert "the test part has images of 1 x 5 x 5" in problem(sizes, "fit", "test")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "the test part has images of class '3'" in problem(classes, "fit", "test")
