"""New sequences as a network's inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.data.standalone.arrays import array_x
from models.data.standalone.moments import moment_texts, moments_of
from models.data.standalone.numerals import numbers_without_gaps
from models.data.standalone.text_columns import check_has_columns, read_text_columns
from models.data.standalone.words import WORDS


def read(source: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """`x` (samples, time, features) and perhaps `length` of an .npz; or a .csv or .tsv with a row for each step.

    Raises:
        ValueError: it cannot be read, or has other features than the training's.
    """
    found = _of_arrays(source) if source.endswith(".npz") else _of_steps(source, state)
    x, lengths = found["x"], found["lengths"]
    if x.shape[2] != len(state["shift"]):
        raise ValueError(f"{source}: a step has {x.shape[2]} features; the model learnt from {len(state['shift'])}")
    steps = min(state["truncate"] or x.shape[1], x.shape[1])
    x, lengths = x[:, :steps], np.minimum(lengths, steps)
    is_there = np.arange(steps) < lengths[:, None]
    if not np.isfinite(x[is_there]).all():
        raise ValueError(f"{source}: some values are missing or infinite: fill the gaps")
    scaled = np.where(is_there[:, :, None], (x - state["shift"]) / state["scale"], 0).astype(np.float32)
    given: dict[str, Any] = {"inputs": (scaled, lengths), "remarks": found["remarks"]}
    if state["labels"] != "step":
        return given | {"rows": {found["id"]: found["names"]}}
    samples, places = np.nonzero(is_there)
    names = {found["id"]: [found["names"][sample] for sample in samples]}
    moments = found["moments"]
    times = [int(place) for place in places] if moments is None else moment_texts(moments[:, :steps][is_there])
    return given | {"rows": {**names, found["time"]: times}, "steps": lengths}


def _of_arrays(source: str) -> dict[str, Any]:
    arrays = array_x(source)
    x = arrays["x"]
    if x.ndim not in (2, 3) or x.dtype.kind not in "biuf" or not x.size:
        raise ValueError(f"{source}: x should be numbers (samples, time, features), not {x.dtype} {x.shape}")
    x = (x if x.ndim == 3 else x[:, :, None]).astype(np.float32)
    lengths = np.asarray(arrays.get("length", np.full(len(x), x.shape[1])))
    if lengths.shape != (len(x),) or (lengths != lengths.round()).any():
        raise ValueError(f"{source}: length should be a whole number for each of the {len(x)} sequences")
    if (lengths < 1).any() or (lengths > x.shape[1]).any():
        raise ValueError(f"{source}: lengths should be 1 to {x.shape[1]}")
    others = [name for name in arrays if name not in ("x", "length")]
    remarks = [f"arrays that are not used: {', '.join(others)}"] if others else []
    names = list(range(len(x)))
    return {"x": x, "lengths": lengths.astype(np.int64), "names": names, "id": "sequence", "time": "step"} | {
        "moments": None,
        "remarks": remarks,
    }


def _of_steps(source: str, state: Mapping[str, Any]) -> dict[str, Any]:
    reading = state["reading"]
    table = read_text_columns(source, reading)
    others = [name for name in table if name not in (reading["id"], reading["time"])]
    features = list(state["features"])
    check_has_columns(table, [reading["id"], reading["time"], *features], source)
    known = {*state["known"], "split"}
    unused = [name for name in others if name not in features and (features or name in known)]
    remarks = [f"columns that are not used: {', '.join(unused)}"] if unused else []
    if not features:  # the training had an array
        features = [name for name in others if name not in known]
        remarks.append(f"the features are the columns {', '.join(features)}, in this order")
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(table[reading["id"]]):
        if not name:
            raise ValueError(f"{source}: column '{reading['id']}', row {row + 1}: the cell is empty")
        rows.setdefault(name, []).append(row)
    times = moments_of(
        table[reading["time"]], order=reading["date_order"], where=f"{source}: column '{reading['time']}'"
    )
    columns = []
    for name in features:
        cells = ["" if cell in WORDS else cell for cell in table[name]]
        where = f"{source}: column '{name}'"
        columns.append(
            numbers_without_gaps(cells, decimal=reading["decimal"], thousands=reading["thousands"], where=where)
        )
    values = np.stack(columns, axis=1)
    longest = max(map(len, rows.values()))
    x = np.zeros((len(rows), longest, len(features)), dtype=np.float32)
    moments = np.zeros((len(rows), longest), dtype=times.dtype)
    for sample, (name, own) in enumerate(rows.items()):
        if (times[own][1:] <= times[own][:-1]).any():
            raise ValueError(f"{source}: sequence '{name}': its rows are not in the order of '{reading['time']}'")
        x[sample, : len(own)], moments[sample, : len(own)] = values[own], times[own]
    lengths = np.array([len(own) for own in rows.values()], dtype=np.int64)
    return {"x": x, "lengths": lengths, "names": list(rows), "id": reading["id"], "time": reading["time"]} | {
        "moments": moments,
        "remarks": remarks,
    }
