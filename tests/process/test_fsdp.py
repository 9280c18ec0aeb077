"""A model that FSDP trains in two processes is saved, resumed, and loaded without them; on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from projects.launch import PROJECT
from projects.sharded import Wide

from hpo.training.load_model import load_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes have trained."""
    folder = tmp_path_factory.mktemp("sharded")
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "projects.sharded", str(rank), str(folder)],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    for process in processes:
        output = process.communicate(timeout=300)[0]
        assert process.returncode == 0, output
    return folder


def test_a_training_that_resumes_ends_with_the_weights_of_one_that_was_not_interrupted(folder: Path) -> None:
    weights = json.loads((folder / "weights.json").read_text())

    assert weights["whole"]
    assert weights["resumed"] == weights["whole"]


def test_load_model_and_lightnings_own_loader_read_its_checkpoint(folder: Path) -> None:
    weights = json.loads((folder / "weights.json").read_text())["whole"]
    config = {"model": {"class": "projects.sharded:Wide", "width": 8}}

    ours = load_model(config, folder / "whole.ckpt", PROJECT)
    lightnings = Wide.load_from_checkpoint(folder / "whole.ckpt")

    for model in (ours, lightnings):
        assert {name: tensor.tolist() for name, tensor in model.state_dict().items()} == weights
    assert torch.load(folder / "whole.ckpt", weights_only=True)["optimizer_states"][0]["state"]
