"""Workers that share the GPUs of a machine, which here are only named, and are trained on by nobody."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from projects.launch import Hpo, finish, wait_for
from sqlalchemy import select

from hpo.store import Store
from hpo.store.tables import hpo_workers

GPU = {"CUDA_VISIBLE_DEVICES": "GPU-of-two-workers"}


def test_a_second_worker_gets_no_gpu_that_another_holds_and_is_told_who(tmp_path: Path) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db", environment=GPU)
    Store.create(hpo.url).close()
    first = hpo.start("worker")
    wait_for(lambda: _workers(hpo))

    code, output = hpo.run("worker", "--until-idle")
    first.kill()
    first.communicate()
    after, _ = hpo.run("worker", "--until-idle")

    assert code == 2, output
    assert f"no GPU is free: gpu GPU-of-two-workers is used by process {first.pid} of " in output
    assert "Traceback" not in output
    assert after == 0


def test_workers_with_other_gpus_do_not_disturb_each_other(tmp_path: Path) -> None:
    one, two = (
        Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db", environment={"CUDA_VISIBLE_DEVICES": f"GPU-of-{name}"})
        for name in ("one", "two")
    )
    Store.create(one.url).close()
    first = one.start("worker")
    wait_for(lambda: _workers(one))

    code, output = two.run("worker", "--until-idle")
    first.terminate()

    assert code == 0, output
    assert finish(first)[0] == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_torch_that_cannot_use_the_gpu_is_told_before_the_first_trial(tmp_path: Path) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db", environment={"CUDA_VISIBLE_DEVICES": "GPU-of-no-torch"})
    file = hpo.study("hopeful", resources={"accelerator": "auto"})

    code, output = hpo.run("run", file)

    assert code == 2, output
    assert "resources.accelerator: " in output
    assert f"torch {torch.__version__} is built without CUDA" in output or "torch cannot use GPU" in output
    assert "to train on the CPU, write accelerator: cpu" in output
    assert "Traceback" not in output
    assert "Misconfiguration" not in output


def _workers(hpo: Hpo) -> list[int]:
    with Store.open(hpo.url) as store, store.read() as connection:
        return list(connection.scalars(select(hpo_workers.c.pid)))
