"""Sequences: reading from arrays and tables, scaling and augmentation, and errors of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.data.sequence_augmentation import with_noise, with_warped_time
from models.data.sequences import Sequences

ROOT = Path(__file__).parents[4]
VOWELS = str(ROOT / "studies" / "data" / "japanese_vowels.npz")
SAMPLES, TIME, FEATURES = 40, 6, 2

Array = np.ndarray[Any, Any]


def arrays() -> dict[str, Array]:
    """Two classes of sequences with lengths from 1 to TIME, and something else where there is nothing."""
    generator = np.random.default_rng(0)
    length = np.arange(SAMPLES) % TIME + 1
    x = generator.normal(3, 2, (SAMPLES, TIME, FEATURES)).astype(np.float32)
    x[np.arange(TIME) >= length[:, None]] = 1e6
    return {"x": x, "y": np.arange(SAMPLES) // 2 % 2, "length": length}


def written(folder: Path, **changes: Any) -> str:
    """A file of `arrays`, with changes; None leaves an array out."""
    path = folder / "some.npz"
    np.savez(path, **{name: values for name, values in (arrays() | changes).items() if values is not None})
    return str(path)


def table(folder: Path, text: str) -> str:
    path = folder / "some.csv"
    path.write_text(text)
    return str(path)


def sequences(path: str, **arguments: Any) -> Sequences:
    data = Sequences(path, **{"scaling": "none"} | arguments)
    data.setup(None)
    return data


def part(data: Sequences, name: Any) -> tuple[Tensor, Tensor, Tensor]:
    """(x, lengths, targets)"""
    inputs, targets, _ = data.part(name)
    x, lengths = inputs
    return x, lengths, targets


# ---- arrays


def test_the_vowels_come_with_their_official_test_part_and_a_stratified_validation() -> None:
    data = sequences(VOWELS)
    with np.load(VOWELS) as archive:
        file = dict(archive)

    x, lengths, targets = part(data, "test")

    assert [len(rows) for rows in data.rows] == [216, 54, 370]
    assert data.class_counts == (24,) * 9
    np.testing.assert_array_equal(x, file["x"][file["split"] == "test"])
    np.testing.assert_array_equal(lengths, file["length"][file["split"] == "test"])
    np.testing.assert_array_equal(targets, file["y"][file["split"] == "test"])
    assert torch.bincount(part(data, "validation")[2]).tolist() == [6] * 9


def test_another_split_seed_validates_with_other_sequences_of_the_same_training_part() -> None:
    first, second = sequences(VOWELS).rows, sequences(VOWELS, split_seed=1).rows

    assert first.test.tolist() == second.test.tolist()
    assert first.validation.tolist() != second.validation.tolist()


def test_padding_becomes_0_and_lengths_go_along(tmp_path: Path) -> None:
    for scaling in ("none", "standard", "min_max"):
        x, lengths, _ = part(sequences(written(tmp_path), scaling=scaling), "train")
        beyond = torch.arange(TIME) >= lengths[:, None]
        assert x.abs().max() < 100
        assert (x[beyond] == 0).all()


@pytest.mark.parametrize("scaling", ["standard", "min_max"])
def test_scaling_is_fitted_on_the_steps_of_training_sequences_that_are_there(tmp_path: Path, scaling: str) -> None:
    raw, scaled = sequences(written(tmp_path)), sequences(written(tmp_path), scaling=scaling)
    x, lengths, _ = part(raw, "train")
    steps = x[torch.arange(TIME) < lengths[:, None]]
    low, high = steps.amin(0), steps.amax(0)
    shift, scale = (steps.mean(0), steps.std(0, correction=0)) if scaling == "standard" else (low, high - low)

    for name in ("train", "validation", "test"):
        x, lengths, _ = part(raw, name)
        expected = ((x - shift) / scale).masked_fill((torch.arange(TIME) >= lengths[:, None])[:, :, None], 0)
        torch.testing.assert_close(part(scaled, name)[0], expected, rtol=1e-4, atol=1e-5)


def test_a_feature_that_never_changes_stays_finite(tmp_path: Path) -> None:
    for scaling in ("standard", "min_max"):
        data = sequences(written(tmp_path, x=np.ones((SAMPLES, TIME))), scaling=scaling, noise=0.5)
        assert data.input_shape == (TIME, 1)
        assert all(batch[0][0].isfinite().all() for batch in data.train_dataloader())


def test_truncation_keeps_the_first_steps(tmp_path: Path) -> None:
    whole, cut = part(sequences(written(tmp_path)), "train"), part(sequences(written(tmp_path), truncate=4), "train")

    assert torch.equal(cut[0], whole[0][:, :4])
    assert torch.equal(cut[1], whole[1].clamp(max=4))
    assert sequences(written(tmp_path), truncate=99).input_shape == (TIME, FEATURES)


def test_real_numbers_are_a_regression_in_their_unit(tmp_path: Path) -> None:
    y = np.random.default_rng(0).normal(50, 7, (SAMPLES, 2))

    data = sequences(written(tmp_path, y=y))

    _, _, targets = part(data, "test")
    assert (data.task, data.outputs, data.class_counts) == ("regression", 2, ())
    expected = targets * torch.tensor(data.target_scale) + torch.tensor(data.target_mean)
    torch.testing.assert_close(expected.double(), torch.from_numpy(y[data.rows.test]), rtol=1e-5, atol=1e-5)
    assert data.target_mean == pytest.approx(y[data.rows.train].mean(axis=0))


def test_a_label_a_step_has_none_beyond_the_length(tmp_path: Path) -> None:
    y = np.arange(SAMPLES * TIME).reshape(SAMPLES, TIME) % 3

    data = sequences(written(tmp_path, y=y), labels="step", truncate=5)

    _, lengths, targets = part(data, "train")
    beyond = torch.arange(5) >= lengths[:, None]
    assert data.per_step
    assert (targets[beyond] == -100).all()
    assert torch.equal(targets[~beyond], torch.from_numpy(y[data.rows.train][:, :5])[~beyond])
    assert sum(data.class_counts) == int((~beyond).sum())


def test_a_value_a_step_is_no_number_beyond_the_length(tmp_path: Path) -> None:
    y = np.random.default_rng(0).normal(50, 7, (SAMPLES, TIME))

    data = sequences(written(tmp_path, y=y), labels="step")

    _, lengths, targets = part(data, "train")
    assert targets.shape == (len(lengths), TIME, 1)
    assert torch.equal(targets.isnan().squeeze(-1), torch.arange(TIME) >= lengths[:, None])


def test_two_classes_are_a_binary_task_by_default(tmp_path: Path) -> None:
    assert (sequences(written(tmp_path)).task, sequences(written(tmp_path)).outputs) == ("binary", 1)
    several = sequences(written(tmp_path), task="multiclass")
    assert (several.task, several.outputs) == ("multiclass", 2)
    assert sequences(written(tmp_path), task="regression").task == "regression"


def test_labels_that_do_not_start_at_0_are_numbered_with_a_warning(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="some.npz: labels are 3, 7: classes are numbered from 0 in this order"):
        data = sequences(written(tmp_path, y=arrays()["y"] * 4 + 3))

    assert data.class_names == ("3", "7")
    assert set(part(data, "train")[2].tolist()) == {0, 1}


def test_texts_are_classes_in_the_order_of_the_alphabet(tmp_path: Path) -> None:
    data = sequences(written(tmp_path, y=np.array(["walks", "runs"])[arrays()["y"]]))

    assert data.class_names == ("runs", "walks")


# ---- tables


@pytest.mark.parametrize("least_bytes_to_keep", [10**9, 0], ids=["read", "kept"])
def test_a_table_with_a_row_a_step_gives_what_the_arrays_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least_bytes_to_keep: int
) -> None:
    """Also when the rows of several sequences come mixed, as a log writes them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("models.data.cache.LEAST_BYTES_TO_KEEP", least_bytes_to_keep)
    given = arrays() | {"split": np.where(np.arange(SAMPLES) < 30, "train", "test")}
    rows = [
        f"s{sample},{step * 0.5},{given['split'][sample]},{given['x'][sample, step, 0]},class {given['y'][sample]},"
        f"{given['x'][sample, step, 1]}"
        for step in range(TIME)
        for sample in range(SAMPLES)
        if step < given["length"][sample]
    ]

    data = sequences(table(tmp_path, "\n".join(["who,t,split,a,what,b", *rows])), id="who", time="t", label="what")

    other = sequences(written(tmp_path, **given))
    for name in ("train", "validation", "test"):
        for mine, others in zip(part(data, name), part(other, name), strict=True):
            torch.testing.assert_close(mine, others)
    assert data.class_names == ("class 0", "class 1")


def test_a_table_may_have_a_label_a_step(tmp_path: Path) -> None:
    rows = [
        f"{sample},{step},{sample + step / 10},{'ab'[(sample + step) % 2]}" for sample in range(9) for step in range(3)
    ]

    data = sequences(table(tmp_path, "\n".join(["id,time,a,label", *rows])), labels="step")

    x, _, targets = part(data, "train")
    expected = ((x.squeeze(-1) * 10).round().long() // 10 + torch.arange(3)) % 2
    assert torch.equal(targets, expected)


# ---- augmentation


def test_noise_is_a_fraction_of_the_deviation_and_leaves_padding_alone() -> None:
    torch.manual_seed(0)
    x, lengths = torch.zeros(200, 50, 2), torch.randint(1, 51, (200,))

    noisy = with_noise(x, lengths, torch.tensor([0.1, 2.0]))

    there = torch.arange(50) < lengths[:, None]
    assert noisy[there].std(0).tolist() == pytest.approx([0.1, 2.0], rel=0.05)
    assert (noisy[~there] == 0).all()


@pytest.mark.parametrize("strength", [0.0, 0.5, 0.99])
def test_warped_time_runs_forwards_from_the_first_step_to_the_last(strength: float) -> None:
    torch.manual_seed(0)
    lengths = torch.randint(1, 31, (100,))
    there = torch.arange(30) < lengths[:, None]
    ramp = torch.arange(30.0).expand(100, 30).masked_fill(~there, 0)  # shows the step that it was

    warped, labels = with_warped_time(ramp[:, :, None], lengths, strength, ramp.masked_fill(~there, -100).long())

    assert labels is not None
    warped = warped.squeeze(-1)
    steps = warped.diff(dim=1)[there[:, 1:]]
    assert (warped[:, 0] == 0).all()
    torch.testing.assert_close(warped[torch.arange(100), lengths - 1], (lengths - 1).float())
    assert steps.min() >= 1 - strength - 1e-4
    assert steps.max() <= 1 + strength + 1e-4
    assert torch.equal(labels[there], warped[there].round().long())
    assert (warped[~there] == 0).all()
    assert (labels[~there] == -100).all()
    assert (warped - ramp).abs().max() > 1 or strength == 0


def test_only_training_batches_are_augmented_and_the_data_stay_as_they_are(tmp_path: Path) -> None:
    data = sequences(written(tmp_path), noise=0.3, time_warp=0.5, batch_size=100)
    before = part(data, "train")[0]

    (changed, _), _ = next(iter(data.train_dataloader()))  # all of them, in the first pass of the epoch

    assert not torch.equal(changed.sort(dim=0).values, before.sort(dim=0).values)
    assert torch.equal(data.train_dataloader().inputs[0], before)
    [((validated, _), _)] = list(data.val_dataloader())
    assert torch.equal(validated, part(data, "validation")[0])


# ---- what is wrong


def with_one(values: Array, entry: Any) -> Array:
    changed = values.copy()
    changed[5] = entry
    return changed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": None}, "there is no array 'x'; it holds y, length"),
        ({"y": None}, "there is no array 'y'; it holds x, length"),
        ({"y": np.zeros(39)}, "x has 40 sequences, y has 39 entries"),
        ({"length": np.ones(41, dtype=int)}, "x has 40 sequences, length has 41 entries"),
        ({"length": with_one(arrays()["length"], 0)}, "the length of sequence 5 is 0: it should be 1 to 6"),
        ({"length": with_one(arrays()["length"], 7)}, "the length of sequence 5 is 7: it should be 1 to 6"),
        ({"length": np.full(40, 1.5)}, r"length should be whole numbers \(40,\), not float64"),
        ({"x": with_one(arrays()["x"], np.nan)}, "x has 12 values that are missing .* in sequence 5"),
        ({"x": np.zeros(40)}, r"x should be numbers \(samples, time, features\), not float64 \(40,\)"),
        ({"y": with_one(np.zeros(40), np.nan)}, "1 labels are missing or infinite, the first of sequence 5"),
        ({"y": with_one(np.arange(40) % 2, 2)}, "class '2' has a single example"),
        ({"y": np.zeros(40, dtype=int)}, "all labels are '0': there is nothing to learn"),
        ({"y": np.zeros((40, 6), dtype=int)}, r"y has the shape \(40, 6\): one label per sequence is \(samples,\)"),
        ({"split": np.array(["train", "dev"] * 20)}, "split holds 'dev': it should be train or test"),
        ({"split": np.array(["test"] * 40)}, "split leaves nothing to train on: all 40"),
        (
            {"y": np.arange(40) // 20, "split": np.array(["train"] * 20 + ["test"] * 20)},
            "class '1' is not in the training part",
        ),
        ({"x": np.array([np.zeros(3), np.zeros(4)], dtype=object)}, "it holds Python objects.* lengths as `length`"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^Sequences: .*some.npz: {message}"):
        sequences(written(tmp_path, **changes))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": "step"}, r"labels: step needs y \(samples, 6\)"),
        ({"task": "binary", "y": np.arange(40) % 3}, "a binary task has two classes, but the labels have 3"),
        ({"task": "multiclass", "y": np.linspace(0, 1, 40)}, "a multiclass task needs whole numbers or texts"),
        ({"task": "regression", "y": np.array(["a", "b"] * 20)}, "a regression needs numbers as labels, not 'a'"),
        ({"validation_fraction": 0.001}, "40 sequences leave 34 for training and 0 for validation"),
    ],
)
def test_arguments_that_do_not_fit_the_labels_are_refused(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    changes = {"y": arguments.pop("y")} if "y" in arguments else {}

    with pytest.raises(ValueError, match=f"^Sequences: .*some.npz: {message}"):
        sequences(written(tmp_path, **changes), **arguments)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("x,0,1,a\nx,1,two,a", "column 'v', row 2: 'two' is not a number"),
        ("x,0,1,a\nx,1,,a", "column 'v', row 2: the cell is empty"),
        ("x,0,1,a\n,1,2,a", "column 'id', row 2: the cell is empty"),
        ("x,0,1,a\nx,1,2,", "column 'label', row 2: the cell is empty"),
        ("x,0,1,a\ny,0,1,b\nx,0,2,a", "sequence 'x': column 'time', row 3: 0 is also the time of row 1"),
        ("x,5,1,a\ny,0,1,b\nx,2,2,a", "sequence 'x': column 'time', row 3: 2 is before row 1, 5: sort the rows"),
        ("x,0,1,a\nx,soon,2,a", "column 'time', row 2: 'soon' is not a number"),
        (
            "x,0,1,a\ny,0,1,b\nx,1,2,b",
            "column 'label', row 3: sequence 'x' has 'a' and here 'b'; labels of each step need",
        ),
    ],
)
def test_a_table_with_something_wrong_is_refused_with_the_row(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^Sequences: .*some.csv: {message}"):
        sequences(table(tmp_path, f"id,time,v,label\n{rows}\n"))


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    path = table(tmp_path, "id,time,label\na,1,2\n")

    with pytest.raises(ValueError, match="there is no column 'class'; the columns are id, time, label"):
        sequences(path, label="class")
    with pytest.raises(ValueError, match="there are no features: no columns besides id, time, label"):
        sequences(path)


def test_a_file_that_is_missing_or_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("not an archive")

    with pytest.raises(ValueError, match=r"^Sequences: none.npz: there is no such file, seen from"):
        sequences("none.npz")
    with pytest.raises(ValueError, match=r"^Sequences: .*text.npz: it"):
        sequences(str(tmp_path / "text.npz"))


@pytest.mark.parametrize("arguments", [{"truncate": -1}, {"noise": -0.1}, {"time_warp": 1.0}])
def test_strengths_that_cannot_be_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^Sequences: truncate .* should be 0 or more"):
        Sequences("some.npz", **arguments)


@pytest.mark.parametrize("kind", ["array", "column"])
def test_sequences_of_a_group_come_into_one_part(tmp_path: Path, kind: str) -> None:
    people = np.array([f"p{sample // 4}" for sample in range(SAMPLES)])
    if kind == "array":
        path = written(tmp_path, person=people)
    else:
        rows = [f"{s},{t},{person},{s * t},{s % 2}" for s, person in enumerate(people) for t in range(2)]
        path = table(tmp_path, "\n".join(["id,time,person,v,label", *rows]))

    data = sequences(path, group="person")

    parts = [set(people[rows]) for rows in data.rows]
    assert all(parts)
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    assert data.input_shape[-1] == (FEATURES if kind == "array" else 1)


def test_a_group_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no array 'person'; it holds x, y, length"):
        sequences(written(tmp_path), group="person")


def test_files_that_are_no_archive_and_values_that_are_no_number_are_refused(tmp_path: Path) -> None:
    (tmp_path / "some.npz").write_text("x,y")
    with pytest.raises(ValueError, match=r"some.npz: it is not an .npz archive; text files should end in .csv"):
        sequences(str(tmp_path / "some.npz"))
    with pytest.raises(ValueError, match=r"x should be numbers .*, not complex128"):
        sequences(written(tmp_path, x=np.ones((SAMPLES, TIME), dtype=complex)))
    assert sequences(written(tmp_path, x=np.ones((SAMPLES, TIME)) > 0)).input_shape == (TIME, 1)


# ---- as people write it


def steps(label: str = "a", *, name: str = "s", value: str = "{}", time: str = "{}") -> str:
    """A table of 40 sequences of 3 steps, of which every fourth has this label."""
    labels = (label, "b", "c", "d")
    rows = [
        f"{name}{number},{time.format(step + 1)},{value.format(1000 + number * step)},{labels[number % 4]}"
        for number in range(40)
        for step in range(3)
    ]
    return "\n".join(["id,time,v,label", *rows])


@pytest.mark.parametrize("word", ["None", "NA", "null"])
def test_a_label_named_like_a_missing_value_is_asked_about(tmp_path: Path, word: str) -> None:
    path = table(tmp_path, steps(word))
    with pytest.raises(ValueError, match=rf"column 'label' holds '{word}' in 30 of 120 rows: a class, or missing"):
        sequences(path)
    assert set(sequences(path, present_values=word).class_names) == {word, "b", "c", "d"}


def test_a_missing_number_of_a_step_is_refused_however_it_is_written(tmp_path: Path) -> None:
    path = table(tmp_path, steps().replace(",1000,", ",NA,", 1))
    with pytest.raises(ValueError, match="column 'v', row 1: the cell is empty"):
        sequences(path)


def test_ids_of_many_digits_and_leading_zeros_are_different_sequences(tmp_path: Path) -> None:
    for name in ("12345678901234567", "00"):
        assert len(sequences(table(tmp_path, steps(name=name))).read().targets) == 40
    text = steps(name="0") + "\n" + steps(name="").split("\n", 1)[1]
    assert len(sequences(table(tmp_path, text)).read().targets) == 80


def test_numbers_and_dates_of_steps_are_read_as_they_are_written(tmp_path: Path) -> None:
    plain = sequences(table(tmp_path, steps()))
    with pytest.warns(UserWarning, match="column 'v' is read as numbers: '1,000' as 1000"):
        written = sequences(table(tmp_path, steps(value='"{:,}"', time="{}.1.2024 10:00")))
    assert torch.equal(part(written, "train")[0], part(plain, "train")[0])
    with pytest.raises(ValueError, match=r"is ambiguous.*date_order: day_first"):
        sequences(table(tmp_path, steps(time="0{}/01/2024")))
    assert sequences(table(tmp_path, steps(time="0{}/01/2024")), date_order="day_first").input_shape == (3, 1)
