"""The README.md of an exported model: what it is, how good it is, and how it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TORCH_EXPORT = """```python
import numpy as np
import torch

model = torch.export.load("model.pt2").module()  # no code but torch's is needed
inputs = np.load("sample_input.npz")
found = model(*(torch.from_numpy(inputs[name]) for name in inputs.files))
expected = np.load("expected_output.npz")
for name, output in zip(expected.files, found):
    print(name, np.abs(output.detach().numpy() - expected[name]).max())
```
"""
_SAFETENSORS = """The file holds weights alone: `config.json` names the class whose they are, and its arguments.

```python
import json

from safetensors.torch import load_file

weights = load_file("model.safetensors")
config = json.load(open("config.json"))["model"]
module, name = config["class"].split(":")
model = getattr(__import__(module, fromlist=[name]), name)(**config["arguments"])  # from the project's folder
model.load_state_dict(weights)
model.eval()
```
"""


def readme(facts: Mapping[str, Any], *, reads_inputs: bool, sample: str | None) -> str:
    """
    Args:
        facts: what facts.json holds.
        reads_inputs: predict.py takes the network's inputs, since it does not know the conversion of raw data.
        sample: the file of raw samples.
    """
    parts = [
        f"# {facts['study']}, {facts['model']}",
        _what(facts),
        "## How good is it?",
        _how_good(facts),
        "## How is it used?",
        _use(facts, reads_inputs=reads_inputs, sample=sample),
        "## What is in this folder?",
        _files(facts, sample=sample),
        "## What does it not do?",
        _limits(facts),
        f"Made by {', '.join(f'{name} {version}' for name, version in facts['versions'].items())}.",
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _what(facts: Mapping[str, Any]) -> str:
    config, kind = facts["config"], facts["format"]
    data = config.get("data", {}).get("class", "the model's own data")
    what = f"`{config['model']['class']}`, trained on `{data}`, as {kind} in `{facts['file']}`."
    final = facts.get("final")
    if final and "validation" in final["trained_on"]:
        what += " It has learnt from the training and the validation part."
    if final and len(final["members"]) > 1:
        what += f" It is the average of {len(final['members'])} networks."
    if facts.get("others"):
        more = ", ".join(f"`{each['file']}`" for each in facts["others"])
        what += f" Those that take other inputs are in {more}; `weight` in facts.json is of each in the average."
    if facts["class_names"]:
        names = facts["class_names"]
        shown = ", ".join(f"`{name}`" for name in names[:20]) + (" and more" if len(names) > 20 else "")
        return f"{what}\n\nIt tells {len(names)} classes apart: {shown}."
    if facts["target_names"]:
        return f"{what}\n\nIt predicts {', '.join(f'`{name}`' for name in facts['target_names'])}, in the data's unit."
    return what


def _how_good(facts: Mapping[str, Any]) -> str:
    lines = []
    final = facts.get("final")
    if facts.get("value") is not None:
        chosen = (
            "It is among the trainings that `hpo finalize` repeated the best trial with, and was chosen by it"
            if final
            else f"The search chose this trial by it, among {facts['trials']}"
        )
        lines.append(
            f"- {facts['metric']} {facts['value']:.4g} on the validation part, at {facts['unit']} "
            f"{facts['best_epoch']} ({facts['direction']}). {chosen}, so that it is somewhat too good: new data score "
            "lower."
        )
    if facts.get("remark"):
        lines.append(f"- The trial was not trained to its end: {facts['remark']}.")
    if final and final.get("test"):
        scores = ", ".join(_with_interval(name, score) for name, score in final["test"].items())
        lines.append(f"- On the test part, which chose nothing, with intervals of 95 %: {scores}.")
    else:
        lines.append("- It has not been scored on the test part, as `hpo finalize --test` does.")
    found = facts["comparison"]
    lines.append(
        f"- The outputs differ from the original's by at most {found['largest_difference']:.1e} on the "
        f"{found['samples']:,} samples of the validation part, where they are up to {found['largest_value']:.3g}."
    )
    return "\n".join(lines)


def _with_interval(name: str, score: Mapping[str, Any]) -> str:
    if score.get("low") is None or score.get("high") is None:
        return f"{name} {score['value']:.4g}"
    return f"{name} {score['value']:.4g} ({score['low']:.4g} to {score['high']:.4g})"


def _use(facts: Mapping[str, Any], *, reads_inputs: bool, sample: str | None) -> str:
    if facts["format"] == "torch-export":
        return _TORCH_EXPORT
    if facts["format"] == "safetensors":
        return _SAFETENSORS
    source = sample or ("sample_input.npz" if reads_inputs else "NEWDATA")
    how = f"```sh\npip install onnxruntime numpy\npython predict.py --check\npython predict.py {source}\n```\n\n"
    if reads_inputs:
        return f"{how}NEWDATA is an .npz with the network's inputs, converted as the data module does it."
    proba = " `--proba` adds the probability of each class." if facts["class_names"] else ""
    return f"{how}It converts raw data by `preprocessing.npz`, as in the training, and writes a CSV.{proba}"


def _files(facts: Mapping[str, Any], *, sample: str | None) -> str:
    shapes = "; ".join(
        f"`{each['name']}` {each['dtype']} ({', '.join(map(str, each['shape']))})" for each in facts["inputs"]
    )
    lines = [
        f"- `{facts['file']}`: takes {shapes}; gives {', '.join(f'`{name}`' for name in facts['outputs'])}"
        + (", which are those of its `forward`" if facts["is_raw"] else ""),
        "- `facts.json`: names of classes and columns, scores, the trial's configuration, versions",
        "- `sample_input.npz`, `expected_output.npz`: samples as the network takes them, what the original gives",
    ]
    if facts["preprocessing"]:
        lines.append("- `preprocessing.npz`: what was fitted on the training part, as arrays and JSON")
    for each in facts.get("others", ()):
        shapes = "; ".join(f"`{one['name']}` ({', '.join(map(str, one['shape']))})" for one in each["inputs"])
        lines.append(f"- `{each['file']}`: takes {shapes}; the files beside it end in -{each['number']} too")
    if sample:
        lines.append(f"- `{sample}`, `sample_predictions.csv`: raw samples, and what `hpo predict` makes of them")
    return "\n".join(lines)


def _limits(facts: Mapping[str, Any]) -> str:
    fixed = [each["name"] for each in facts["inputs"] if "batch" not in each["shape"]]
    lines = ["- It computes in single precision on the CPU, or where the runtime puts it."]
    if "time" in [size for each in facts["inputs"] for size in each["shape"]]:
        lines.append("- It takes any number of samples, and sequences of any length.")
    elif not fixed:
        lines.append("- It takes any number of samples, of the shape above.")
    if facts["format"] == "onnx":
        lines.append(
            "- predict.py reads plain files: numbers like 1200.5, dates like 2025-12-31. What it is not sure of it "
            "refuses; `hpo predict` reads more."
        )
    return "\n".join(lines)
