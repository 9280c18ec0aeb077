"""The facts of an export, for programs: what the network is, how it was made, and how it compares."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np

from hpo.study.job import PREPROCESSING, ExportJob
from hpo.training.build import is_plain
from hpo.training.export.comparison import Comparison
from hpo.training.export.network import Inputs, Network

FORMAT = 1  # of facts.json
LIBRARIES = ("hpo-service", "torch", "numpy", "onnx", "onnxscript", "onnxruntime", "safetensors")


PART_FACTS = (  # of each network of an ensemble whose models take different inputs
    *("file", "number", "weight", "is_raw", "inputs", "outputs", "comparison", "preprocessing", "config"),
)


def numbered(file: str, number: int) -> str:
    """The name of a file of an ensemble's network: the first one's is plain."""
    return file if number == 1 else f"-{number}.".join(file.rsplit(".", 1))


def facts_of(
    job: ExportJob,
    of_trial: Mapping[str, Any],
    network: Network,
    inputs: Inputs,
    shapes: list[list[int | str]],
    state: Mapping[str, Any],
    found: Comparison,
) -> dict[str, Any]:
    """What facts.json holds.

    Args:
        of_trial: its configuration.
        inputs: of a batch; shapes: theirs, with names of what may vary.
        state: of the preprocessing.
        found: on the validation part.
    """
    sizes = zip(inputs.names, shapes, inputs.tensors, strict=True)
    config = {name: value for name, value in of_trial.items() if name != "weights" and is_plain(value)}
    return {
        "made_by": "hpo export",
        "format_of_facts": FORMAT,
        "format": job.format,
        **job.about,
        "task": state.get("task"),
        "class_names": list(state.get("class_names", ())),
        "target_names": list(state.get("target_names", ())),
        "is_raw": network.is_raw,
        "inputs": [
            {"name": name, "shape": shape, "dtype": str(x.dtype).removeprefix("torch.")} for name, shape, x in sizes
        ],
        "outputs": network.outputs,
        "comparison": {**found.to_json(), "part": "validation", "is_small": found.is_small},
        "preprocessing": _plain(state),
        "config": config,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Of Python, this package and the libraries of exports, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _plain(value: Any) -> Any:
    """The preprocessing without its arrays, whose place is told."""
    if isinstance(value, np.ndarray):
        return f"array {value.shape} in {PREPROCESSING}" if value.size > 1 else value.tolist()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
