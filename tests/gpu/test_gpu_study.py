"""A whole study on a GPU, from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from projects.launch import Hpo

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]


def test_a_study_on_a_gpu_replays_its_steps_and_logs_it(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    rows = [f"{number % 7},{number % 11},{'yes' if number % 7 > 3 else 'no'}" for number in range(4000)]
    table.write_text("\n".join(["a,b,y", *rows]), encoding="ascii")
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    file = hpo.study(
        "onagpu",
        model="models.dnn:DNN",
        data={"class": "models.data:Table", "source": str(table), "target": "y"},
        objective={"metric": "val_accuracy", "direction": "maximize"},
        resources={"accelerator": "gpu", "slots": 1},
        budget={"trials": 3},
        space={"batch_size": 16},  # so that an epoch has enough steps
        epochs=5,
        cuda_graphs=True,
    )

    code, output = hpo.run("run", file)

    assert code == 0, output
    assert hpo.counts("onagpu") == {"complete": 3}
    logs = [log.read_text() for log in (hpo.folder / "art").glob("onagpu-*/*/log.txt")]
    assert len(logs) == 3
    assert all("executor: steps are replayed as a CUDA graph" in log for log in logs), logs
