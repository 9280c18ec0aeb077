"""The devices of a trial: its cores or GPUs, and the process group of its ranks when it has several."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning import Trainer
from pytorch_lightning.strategies import DDPStrategy, Strategy

from hpo.errors import HpoError
from hpo.study.job import EvaluationJob, TrialJob
from hpo.study.simulated_gpus import are_simulated


@dataclass(frozen=True)
class Ranks:
    """The processes that train one trial together; `wait` returns when all have called it."""

    count: int
    wait: Callable[[], object]


def prepare_device(job: TrialJob | EvaluationJob) -> None:
    """Limit this process to its own devices and cores, before any computation.

    Raises:
        HpoError: torch cannot use the GPU.
    """
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(job.devices) if job.accelerator == "gpu" else ""
    if accelerator_of(job) == "gpu":
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # in which nvidia-smi counts
        if not torch.cuda.is_available():
            raise _error("accelerator", _why_no_cuda(job.devices))
    if job.accelerator == "mps" and not torch.backends.mps.is_available():
        raise _error("accelerator", f"torch {torch.__version__} cannot use this Mac's GPU: write accelerator: cpu")
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(job.threads)  # for processes that the trial starts, such as data loaders
    if torch.get_num_threads() != job.threads:
        torch.set_num_threads(job.threads)


def accelerator_of(job: TrialJob | EvaluationJob) -> str:
    """By Lightning's name; the CPU in place of a simulated GPU."""
    return "cpu" if job.accelerator == "gpu" and are_simulated() else job.accelerator


def _why_no_cuda(devices: list[str]) -> str:
    remedy = "to train on the CPU, write accelerator: cpu"
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA: install a build for GPUs; {remedy}"
    return (
        f"torch cannot use GPU {', '.join(devices)}: it may not be there, be in an exclusive mode, or have a driver "
        f"that is too old for CUDA {torch.version.cuda} (nvidia-smi shows all three); {remedy}"
    )


def _error(place: str, text: str) -> HpoError:
    """The error of a key of `resources`."""
    error = HpoError(text)
    error.owner, error.place = "resources", place  # type: ignore[attr-defined]
    return error


def join_ranks(job: TrialJob) -> Ranks:
    """Form the process group of a trial on several devices, through a file: a port could be taken by another trial.

    Lightning uses an existing group, and then does not launch our command line again.
    """
    if job.ranks == 1:
        return Ranks(1, lambda: None)
    os.environ |= {
        "RANK": str(job.rank),
        "LOCAL_RANK": str(job.rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(job.ranks),
        "LOCAL_WORLD_SIZE": str(job.ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "0",
        "TORCHELASTIC_RUN_ID": f"trial-{job.trial}",
    }
    is_gpu = accelerator_of(job) == "gpu"
    # By default Gloo listens on the interface of the host's name; the ranks of a trial are on one machine.
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    device = torch.device("cuda", job.rank) if is_gpu else None
    if device is not None:
        torch.cuda.set_device(device)
    torch.distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if is_gpu else "gloo",  # samples may stay in the machine's memory
        init_method=f"file://{job.rendezvous}",
        rank=job.rank,
        world_size=job.ranks,
        device_id=device,
    )
    return Ranks(job.ranks, torch.distributed.barrier)


def trainer_devices(job: TrialJob, ranks: Ranks) -> dict[str, Any]:
    """The Trainer's arguments for this device, or for this rank of several."""
    accelerator = accelerator_of(job)
    if ranks.count == 1:
        # Named, because Lightning would otherwise look for the environment of a cluster.
        return {"accelerator": accelerator, "devices": 1, "plugins": [LightningEnvironment()]}
    return {
        "accelerator": accelerator,
        "devices": ranks.count,
        "strategy": _strategy(job.strategy, accelerator),
        "plugins": [TorchElasticEnvironment()],
    }


def precision_remark(asked: str, trainer: Trainer) -> str | None:
    """What is to be known about a precision that the device lacks; None where it has it."""
    if str(trainer.precision) != asked:
        return f"precision {asked} is not computed on this device: Lightning takes {trainer.precision} in its place"
    device = trainer.strategy.root_device
    if "bf16" in asked and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        name = torch.cuda.get_device_name(device)
        return f"{name} only emulates bfloat16, which is slow: write precision: 16, or 32"
    return None


def _strategy(name: str, accelerator: str) -> Strategy:
    if name == "fsdp":
        if accelerator != "gpu":
            raise _error("strategy", "fsdp requires a GPU accelerator: on the CPU, ddp trains on several processes")
        from hpo.training.fsdp import PlainFSDPStrategy  # it imports the compiler

        return PlainFSDPStrategy()
    return DDPStrategy(find_unused_parameters=name == "ddp_find_unused_parameters_true")
