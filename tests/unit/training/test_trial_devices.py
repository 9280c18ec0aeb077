"""What a trial on GPUs asks of torch, which this machine need not have."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest
import torch

from hpo.errors import HpoError
from hpo.study.job import Call, TrialJob
from hpo.training.devices import join_ranks, prepare_device

JOB = TrialJob(
    trial=0, study="s", project="/p", model=Call("m:M"), data=Call("d:D"), metric="loss", epochs=1, seed=0,
    accelerator="gpu", devices=["2", "3"], ranks=2, rank=1, rendezvous="/r",
)  # fmt: skip


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    os.environ.pop("CUDA_DEVICE_ORDER", None)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)


def test_the_ranks_of_gpus_exchange_tensors_of_both_memories(monkeypatch: pytest.MonkeyPatch) -> None:
    joined: list[Any] = []
    monkeypatch.setattr(torch.cuda, "set_device", joined.append)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *given, **named: joined.append((given, named)))

    join_ranks(JOB)

    device, (given, named) = joined
    assert given == ("cpu:gloo,cuda:nccl",)
    assert device == named["device_id"] == torch.device("cuda", 1)
    assert (named["rank"], named["world_size"]) == (1, 2)


def test_a_trial_sees_its_gpus_in_the_order_of_the_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    prepare_device(JOB)
    assert (os.environ["CUDA_VISIBLE_DEVICES"], os.environ["CUDA_DEVICE_ORDER"]) == ("2,3", "PCI_BUS_ID")

    prepare_device(replace(JOB, accelerator="cpu", devices=[]))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize(
    ("version", "message"), [(None, "is built without CUDA"), ("13.0", r"torch cannot use GPU 2, 3: .* CUDA 13\.0")]
)
def test_a_gpu_that_torch_cannot_use_is_told(
    version: str | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", version)

    with pytest.raises(HpoError, match=message):
        prepare_device(JOB)
