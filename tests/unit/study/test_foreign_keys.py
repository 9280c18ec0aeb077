"""Objects in the keys of Hydra are refused with ours, instead of being passed on as mappings."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo.errors import SpecError
from hpo.study.study_file import read_study

HEAD = "objective: {metric: val_loss, direction: minimize}\ndata: nets:Points\n"
OURS = "is a key of Hydra's: here, an object is {class: torch.nn:Tanh, ...}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("model: {class: nets:Net, act: {_target_: torch.nn.Tanh}}\n", f"s.yaml:3: model.act._target_: {OURS}"),
        (
            "model:\n  class: nets:Net\n  net:\n    layers:\n      - {_target_: torch.nn.Tanh}\n",
            f"s.yaml:7: model.net.layers.0._target_: {OURS}",
        ),
        ("model: nets:Net\nspace:\n  act: [{_target_: torch.nn.Tanh}]\n", f"space.act.0._target_: {OURS}"),
        (
            "model: {class: nets:Net, optim: {_target_: torch.optim.Adam, _partial_: true}}\n",
            "model.optim._partial_: is a key of Hydra's: a trial builds objects",
        ),
        ("model: {class: nets:Net, act: {_target_: Tanh}}\n", "here, an object is {class: package:Tanh, ...}"),
    ],
)
def test_a_key_of_hydras_is_refused_with_ours(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(HEAD + text, encoding="utf-8")

    with pytest.raises(SpecError) as caught:
        read_study(file)

    assert problem in str(caught.value)


def test_a_partial_that_is_false_is_an_argument_like_others(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(f"{HEAD}model: {{class: nets:Net, options: {{_partial_: false}}}}\n", encoding="utf-8")

    spec, _ = read_study(file)

    assert spec.models[0].arguments == {"options": {"_partial_": False}}
