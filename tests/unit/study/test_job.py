"""A worker's jobs for a process: they arrive as they were sent, and define which jobs may follow each other."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from hpo.ipc.channel import Channel
from hpo.study.job import Call, DataJob, Job, NestedObject, StudyJob, TrialJob, job_message, job_of

NET = Call("projects.nets:Line", {"lr": 0.1, "sizes": [1, 2], "name": "α", "rest": None})
POINTS = Call("projects.nets:Points")
LEAST = TrialJob(trial=3, study="s", project="/p", model=NET, data=POINTS, metric="val_loss", epochs=9, seed=1)
MOST = TrialJob(
    trial=0,
    study="größer",
    project="/p q",
    model=NET,
    data=POINTS,
    metric="val_accuracy",
    epochs=1,
    seed=2**31 - 1,
    unit="step",
    training=2,
    trainings=5,
    folds=5,
    trained_on="train+validation",
    precision="bf16-mixed",
    strategy="ddp",
    use_distributed_sampler=False,
    executor="lean",
    cuda_graphs=True,
    logger="tensorboard",
    track=["mlflow", "wandb"],
    credentials={"WANDB_API_KEY": "k"},
    accelerator="gpu",
    devices=["0", "MIG-1"],
    threads=4,
    ranks=2,
    rank=1,
    rendezvous="/r",
    directory="/a/00000",
    root="/a/00000/root",
    resume=["/a/last.ckpt", "/a/previous.ckpt"],
    keeps_last=True,
    batches=1,
    trainer={"gradient_clip_val": 0.5, "callbacks": [{"class": "mine:Watch"}]},
    is_reusable=True,
)
JOBS: list[Job] = [
    LEAST,
    MOST,
    StudyJob(
        "/p",
        {"model": "nets:Line", "data": "nets:Points"},
        objects=[NestedObject(["space", "head", 1], "nets:Head", ["width"])],
    ),
    DataJob("/p", POINTS, seed=3, title="Points", picture=""),
]


@pytest.mark.parametrize("job", JOBS, ids=["least", "most", "study", "data"])
def test_a_job_arrives_as_it_was_sent(job: Job) -> None:
    ours, end = Channel.pair()
    theirs = Channel(end)

    ours.send(job_message(job))
    received = job_of(theirs.receive())
    ours.close()
    theirs.close()

    assert received == job


def test_every_field_of_a_trials_job_is_sent() -> None:
    assert all(getattr(MOST, field.name) != field.default for field in fields(TrialJob))
    assert job_message(MOST).keys() == {"kind", *(field.name for field in fields(TrialJob))}


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"kind": "fork"}, KeyError),
        ({"kind": "study", "project": "/p", "classes": {}, "more": 1}, TypeError),
        ({"kind": "study", "project": "/p"}, TypeError),
    ],
)
def test_what_is_no_job_is_an_error(message: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        job_of(message)


SAME: list[dict[str, Any]] = [
    {"trial": 4}, {"model": POINTS}, {"data": NET}, {"metric": "loss"}, {"epochs": 1}, {"seed": 9}, {"rank": 0},
    {"precision": "64-true"}, {"executor": "lightning"}, {"logger": "none"}, {"directory": "/b"}, {"root": "/b"},
    {"resume": ["/c"]},
]  # fmt: skip
OTHER: list[dict[str, Any]] = [
    {"project": "/q"}, {"study": "t"}, {"accelerator": "gpu"}, {"devices": ["1"]}, {"threads": 2},
]  # fmt: skip


@pytest.mark.parametrize("change", SAME, ids=lambda change: next(iter(change)))
def test_jobs_of_a_place_may_follow_each_other_whatever_they_train(change: dict[str, Any]) -> None:
    job = replace(LEAST, is_reusable=True)

    assert replace(job, **change).place == job.place is not None


@pytest.mark.parametrize("change", OTHER, ids=lambda change: next(iter(change)))
def test_jobs_of_other_studies_devices_or_threads_are_of_another_place(change: dict[str, Any]) -> None:
    job = replace(LEAST, is_reusable=True)

    assert replace(job, **change).place not in (job.place, None)


def test_a_process_that_is_used_once_has_no_place() -> None:
    assert [job.place for job in JOBS if job is not MOST] == [None, None, None]


def test_a_trials_log_is_in_its_folder() -> None:
    assert MOST.log == "/a/00000/log.txt"
    assert LEAST.log is None
