"""Trials that are tracked: MLflow, TensorBoard and W&B have each epoch as the store has it, and hold up nothing."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from projects.launch import PROJECT, Hpo

from hpo.errors import LoggerError
from hpo.ipc.environment import clean_environment, credentials_of
from hpo.ipc.fork_server import ForkServer
from hpo.results.trial import TrialRecord
from hpo.service.assembly import Workspace, begin
from hpo.store import Store
from hpo.study.job import Call, TrialJob
from hpo.study.study_file import read_study
from hpo.training.trackers import MLFLOW_RUN, Trackers, check_installed

JOB = TrialJob(
    trial=0, study="s", project="/p", model=Call("a:B"), data=Call("a:C"), metric="val_loss", epochs=1, seed=1
)


def search(folder: Path, server: ForkServer, **keys: Any) -> list[TrialRecord]:
    """The trials of the study `tracked`, in a store and artifacts in this folder."""
    hpo = Hpo(folder, f"sqlite:///{folder}/hpo.db")
    plain = {"model": "projects.nets:Line", "data": "projects.nets:Points", "space": {"lr": [0.01, 0.1]}}
    file = hpo.study("tracked", **{**plain, "epochs": 3, "pruner": "none", "budget": {"trials": 2}, **keys})
    with Store.create(hpo.url) as store:
        begin(Workspace(server, PROJECT, store, folder / "art"), *read_study(file)).worker.run_until_done()
    return hpo.trials("tracked")


def losses(trial: TrialRecord) -> dict[int, float]:
    return {epoch: metrics["val_loss"] for epoch, metrics in trial.curve}


def test_mlflow_has_the_epochs_and_the_parameters_of_each_trial(
    tmp_path: Path, server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = search(tmp_path, server, track="mlflow")

    assert [trial.state for trial in trials] == ["complete"] * 2, [trial.error for trial in trials]
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    client = MlflowClient((tmp_path / "art" / "mlruns").as_uri())
    [experiment] = [one for one in client.search_experiments() if one.name == "tracked"]
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"trial 0", "trial 1"}
    for trial in trials:
        run = runs[f"trial {trial.number}"]
        assert run.info.status == "FINISHED"
        told = {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, "val_loss")}
        assert told == pytest.approx(losses(trial))
        assert float(run.data.params["model.lr"]) == trial.params["lr"]
        assert run.data.params["model"] == "projects.nets:Line"
        assert (Path(trial.checkpoint or "").parent / MLFLOW_RUN).read_text() == run.info.run_id


def test_tensorboard_has_each_trial_as_a_run_beside_its_csv(tmp_path: Path, server: ForkServer) -> None:
    trials = search(tmp_path, server, track=["tensorboard"])

    assert [trial.state for trial in trials] == ["complete"] * 2, [trial.error for trial in trials]
    for trial in trials:
        folder = Path(trial.checkpoint or "").parent
        [events] = folder.glob("events.out.tfevents.*")
        assert scalars_of(events, "val_loss") == pytest.approx(losses(trial))
        assert (folder / "metrics.csv").exists()


def test_wandb_writes_a_run_for_each_trial_where_nobody_has_logged_in(
    tmp_path: Path, server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = search(tmp_path, server, track="wandb", budget={"trials": 1})

    assert [trial.state for trial in trials] == ["complete"], [trial.error for trial in trials]
    [run] = (Path(trials[0].checkpoint or "").parent / "wandb").glob("offline-run-*")
    [file] = run.glob("run-*.wandb")
    assert told_to_wandb(file, "val_loss") == pytest.approx(losses(trials[0]))
    log = (Path(trials[0].checkpoint or "").parent / "log.txt").read_text()
    assert "track:" not in log, log


def test_a_tracker_that_hangs_or_refuses_ends_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    folder = tmp_path / "art" / "study" / "00000"
    folder.mkdir(parents=True)
    job = TrialJob(**{**vars(JOB), "directory": str(folder), "track": ["mlflow"]})
    for delay, waits, why in ((30.0, 1.0, "has not taken all of it in 1 s"), (0.0, 60.0, "was not told of the rest: ")):
        warnings: list[str] = []
        with web_server(delay) as url, monkeypatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", url)
            patch.setattr("hpo.training.trackers.END_SECONDS", waits)
            began = time.monotonic()
            with Trackers(job, {"lr": 1.0}, warnings.append):
                pass
            assert waits > 1 or time.monotonic() - began < 25
            [warning] = warnings
        assert why in warning


def test_what_is_not_installed_is_told_before_the_first_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("hpo.training.trackers.find_spec", lambda name: None)
        with pytest.raises(LoggerError, match=r"^mlflow and wandb are not installed here: pip install 'hpo-.*mlflow,w"):
            check_installed(["mlflow", "wandb"])

    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "sitecustomize.py").write_text(
        "import importlib.util as u\nfound = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'wandb' else found(name, *more)\n"
    )
    path = f"{tmp_path}/without:{os.environ.get('PYTHONPATH', '')}"
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db", environment={"PYTHONPATH": path})
    file = hpo.study("tracked", track=["wandb", "mlflow"])
    code, output = hpo.run("run", file)

    assert code == 2, output
    assert "track: wandb is not installed here: pip install 'hpo-service[wandb]'" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"track": "neptune"}, "track"),
        ({"track": ["wandb", "wandb"]}, "names a tracker twice"),
        ({"track": "tensorboard", "logger": "tensorboard"}, "writes the same files already"),
    ],
)
def test_a_mistake_in_the_file_is_told(tmp_path: Path, keys: dict[str, Any], message: str) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    file = hpo.study("tracked", **keys)

    code, output = hpo.run("check", file)

    assert code == 2, output
    assert message in output


def test_only_trials_that_are_tracked_there_get_the_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t")

    assert not {"WANDB_API_KEY", "MLFLOW_TRACKING_TOKEN"} & set(clean_environment(None))
    assert credentials_of(["wandb", "tensorboard"]) == {"WANDB_API_KEY": "k" * 40}
    assert credentials_of([]) == {}
    job = TrialJob(**{**vars(JOB), "credentials": credentials_of(["wandb", "mlflow"])})
    assert "kkkk" not in repr(job)


def scalars_of(events: Path, tag: str) -> dict[int, float]:
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    found: dict[int, float] = {}
    data = events.read_bytes()
    while data:
        length = int.from_bytes(data[:8], "little")
        assert int.from_bytes(data[8:12], "little") == masked_crc32c(data[:8])
        event = Event.FromString(data[12 : 12 + length])
        for value in event.summary.value:
            if value.tag == tag:
                found[event.step] = value.simple_value
        data = data[16 + length :]
    return found


def told_to_wandb(file: Path, name: str) -> dict[int, float]:
    from wandb.proto import wandb_internal_pb2

    messages: Any = wandb_internal_pb2  # whose classes are made at its import
    found: dict[int, float] = {}
    for data in records_of(file.read_bytes()):
        told = messages.Record.FromString(data).history.item
        items = {item.key or item.nested_key[0]: item.value_json for item in told if item.key or item.nested_key}
        if name in items:
            found[int(items["trainer/global_step"])] = float(items[name])
    return found


def records_of(data: bytes) -> Iterator[bytes]:
    """Of a log in LevelDB's form, after W&B's seven bytes: parts with a checksum, a length and a kind, in blocks."""
    place, record = 7, b""
    while place + 7 <= len(data):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


class web_server:  # noqa: N801 (reads as what it does)
    """A server that answers 500 after a delay."""

    def __init__(self, delay: float) -> None:
        over = self._over = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                over.wait(delay)
                self.send_response(500)
                self.end_headers()

            do_POST = do_GET  # noqa: N815 (the name is the library's)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> str:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
