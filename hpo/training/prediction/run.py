"""Predicts a file for `hpo predict`, in a process of the fork server."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch

from hpo.ipc.channel import Channel
from hpo.study.job import PredictJob
from hpo.training.output import TrialOutput
from hpo.training.prediction.loading import load_predictor
from hpo.training.trial import reason_of


def run_prediction(job: PredictJob, channel: Channel) -> None:
    """Write the predictions of the job, and answer with one message: what was predicted, or why nothing was."""
    TrialOutput(lambda _: None).redirect(None)
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    try:
        predictor = load_predictor(job.models, Path(job.project))
        started = time.perf_counter()
        frame = predictor.predict(job.source, proba=job.proba)
        frame.to_csv(job.output, index=False, lineterminator="\n")
        answer = {"kind": "predicted", "rows": len(frame), "remarks": predictor.remarks}
        answer["seconds"] = time.perf_counter() - started
    except BaseException as error:  # of any kind: it is reported
        answer = {"kind": "failed", "reason": reason_of(error, Path(job.project))}
    channel.send(answer)
    # Without the interpreter's clean-up, in which native libraries may hang.
    os._exit(0)
