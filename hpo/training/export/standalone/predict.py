"""Runs an exported network on new data, and writes a CSV of predictions."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
LARGEST_DIFFERENCE = 1e-4
SAMPLES_AT_ONCE = 512


def predict(source: str, *, proba: bool = False) -> tuple[dict[str, Any], list[str]]:
    """Columns of predictions for new data, by name, and what was odd in the data, in words.

    Raises:
        ValueError: the data cannot be read, or there are no classes for `proba`.
    """
    facts = _facts()
    total = sum(part["weight"] for part in _parts(facts))
    rows: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    remarks: list[str] = []
    for part in _parts(facts):
        state = _preprocessing(part) | {"inputs": part["inputs"]}
        new = read(source, state)  # type: ignore[name-defined]  # noqa: F821  # of another file of predict.py
        rows = rows or new["rows"]
        remarks += new["remarks"]
        for name, found in _outputs(part, new, facts).items():
            outputs[name] = outputs.get(name, 0) + found * (part["weight"] / total)
    return {**rows, **_columns_of(outputs, facts, proba=proba)}, list(dict.fromkeys(remarks))


def check() -> float:
    """The largest difference from the original's outputs for a few samples, which lie beside this file.

    Relative to the largest of the values, where that is above 1.
    """
    differences = []
    for part in _parts(_facts()):
        sample_input, expected_output = (_numbered(name, part) for name in ("sample_input.npz", "expected_output.npz"))
        with np.load(HERE / sample_input) as given, np.load(HERE / expected_output) as expected:
            found = _Network(part).run([given[name] for name in given.files])
            differences += [_difference(found[name], expected[name]) for name in expected.files]
    sample = next(iter(sorted(HERE.glob("sample.*"))), None)
    if sample is not None:
        with (HERE / "sample_predictions.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        columns, _ = predict(str(sample), proba=any(name.startswith("p_") for name in rows[0]))
        for name, cells in zip(rows[0], zip(*rows[1:], strict=True), strict=True):
            if name not in columns:
                differences.append(np.inf)
            elif np.asarray(columns[name]).dtype.kind == "f":
                differences.append(_difference(np.asarray(columns[name]), np.array(cells, dtype=np.float64)))
            elif [str(value) for value in columns[name]] != list(cells) and name == "prediction":
                differences.append(np.inf)
    return float(max(differences))


def main() -> None:
    parser = argparse.ArgumentParser(description="Predict new data with the model in this folder.")
    parser.add_argument("data", nargs="?", help="a file or folder of the kind that the model was trained on")
    parser.add_argument("-o", "--out", default="-", metavar="FILE.csv", help="the file to write")
    parser.add_argument("--proba", action="store_true", help="also write the probability of each class")
    parser.add_argument("--check", action="store_true", help="compare with the original's outputs for a few samples")
    given = parser.parse_args()
    try:
        if given.check:
            found = check()
            sys.stdout.write(f"the largest difference from the original is {found:.1e}\n")
            sys.exit(int(not found <= LARGEST_DIFFERENCE))
        if given.data is None:
            parser.error("NEWDATA is missing")
        columns, remarks = predict(given.data, proba=given.proba)
        _write(columns, given.out)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    for remark in remarks:
        sys.stderr.write(f"  {remark}\n")


class _Network:
    def __init__(self, part: Mapping[str, Any]) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise ValueError("onnxruntime is not installed: pip install onnxruntime") from None
        self._session = onnxruntime.InferenceSession(str(HERE / part["file"]), providers=["CPUExecutionProvider"])
        self._names = [each["name"] for each in part["inputs"]]
        self._outputs = part["outputs"]

    def run(self, inputs: Any) -> dict[str, Any]:
        found = self._session.run(None, dict(zip(self._names, inputs, strict=True)))
        return dict(zip(self._outputs, found, strict=True))


def _facts() -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((HERE / "facts.json").read_text(encoding="utf-8"))
    return facts


def _parts(facts: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The networks, whose outputs are averaged: one, or those of an ensemble that take different inputs."""
    return [facts, *facts.get("others", ())]


def _numbered(file: str, part: Mapping[str, Any]) -> str:
    return file if part["number"] == 1 else f"-{part['number']}.".join(file.rsplit(".", 1))


def _outputs(part: Mapping[str, Any], new: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a network gives for new data, (rows, ...) by name; of classes, their probabilities (rows, classes)."""
    network = _Network(part)
    found: dict[str, list[Any]] = {}
    count = 0
    for inputs in _batches(new["inputs"]):
        for name, outputs in network.run(inputs).items():
            found.setdefault(name, []).append(_rows_of(outputs, new, count, facts))
        count += len(inputs[0])
    whole = {name: np.concatenate(several) for name, several in found.items()}
    if list(whole) == ["prediction"] and facts["class_names"]:
        whole["prediction"] = _probabilities(whole["prediction"], facts["class_names"], is_raw=part["is_raw"])
    return whole


def _preprocessing(part: Mapping[str, Any]) -> dict[str, Any]:
    """What was fitted on the training data: plain values, and arrays by their numbers; none where nothing is known."""
    path = HERE / _numbered("preprocessing.npz", part)
    if not path.exists():
        return {}

    def with_arrays(value: Any) -> Any:
        if isinstance(value, dict):
            is_array = value.keys() == {"array"}
            return file[value["array"]] if is_array else {key: with_arrays(item) for key, item in value.items()}
        return [with_arrays(item) for item in value] if isinstance(value, list) else value

    with np.load(path, allow_pickle=False) as file:
        state: dict[str, Any] = with_arrays(json.loads(file["state"].tobytes())["state"])
    return state


def _batches(inputs: Any) -> Iterator[Any]:
    if not isinstance(inputs, tuple):
        yield from inputs
        return
    for start in range(0, len(inputs[0]), SAMPLES_AT_ONCE):
        yield [part[start : start + SAMPLES_AT_ONCE] for part in inputs]


def _rows_of(outputs: Any, new: Mapping[str, Any], start: int, facts: Mapping[str, Any]) -> Any:
    """(rows, outputs): a row for each sample, or for each of its steps."""
    stop = start + len(outputs)
    if new.get("reference") is not None:
        outputs = outputs + new["reference"][start:stop]
    if new.get("steps") is None:
        return outputs.reshape(len(outputs), -1)
    width = outputs.shape[2] if outputs.ndim == 3 else max(1, len(facts["target_names"]))
    if facts["class_names"] and outputs.ndim == 2:
        width = 1
    several = outputs.reshape(len(outputs), -1, width)
    return several[np.arange(several.shape[1]) < new["steps"][start:stop, None]]


def _columns_of(outputs: Mapping[str, Any], facts: Mapping[str, Any], *, proba: bool) -> dict[str, Any]:
    names, targets = facts["class_names"], facts["target_names"]
    is_single = list(outputs) == ["prediction"]
    if is_single and names:
        return _of_classes(outputs["prediction"], names, proba=proba)
    if proba:
        raise ValueError("probabilities are of classes, and this model predicts values")
    if is_single and len(targets) == outputs["prediction"].shape[1] > 1:
        return {f"prediction_{name}": outputs["prediction"][:, place] for place, name in enumerate(targets)}
    columns: dict[str, Any] = {}
    for name, rows in outputs.items():
        width = rows.shape[1]
        columns |= {name if width == 1 else f"{name}_{place}": rows[:, place] for place in range(width)}
    return columns


def _probabilities(rows: Any, names: list[str], *, is_raw: bool) -> Any:
    """(rows, classes) from class numbers, from the probability of one class, or from logits."""
    if rows.dtype.kind in "iub":
        rows = np.eye(len(names), dtype=np.float32)[rows.reshape(-1).astype(np.int64)]
    if rows.shape[1] == 1 and len(names) == 2:
        single = 1 / (1 + np.exp(-rows)) if is_raw else rows
        rows = np.hstack([1 - single, single])
    elif is_raw:
        powers = np.exp(rows - rows.max(axis=1, keepdims=True))
        rows = powers / powers.sum(axis=1, keepdims=True)
    return rows


def _of_classes(rows: Any, names: list[str], *, proba: bool) -> dict[str, Any]:
    chosen = (rows[:, 1] > 0.5).astype(int) if rows.shape[1] == 2 else rows.argmax(axis=1)
    likely = {f"p_{name}": rows[:, place] for place, name in enumerate(names)} if proba else {}
    return {"prediction": [names[number] for number in chosen], **likely}


def _write(columns: Mapping[str, Any], out: str) -> None:
    cells = [[str(value) for value in values] for values in columns.values()]
    partial = Path(f"{out}.partial")
    file = sys.stdout if out == "-" else partial.open("w", encoding="utf-8", newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*cells, strict=True))
    if out != "-":
        file.close()
        partial.replace(out)


def _difference(found: Any, expected: Any) -> float:
    difference = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    difference[np.isnan(found.astype(np.float64)) & np.isnan(expected.astype(np.float64))] = 0
    return float(np.nan_to_num(difference, nan=np.inf).max() / max(1.0, float(np.nanmax(np.abs(expected)))))
