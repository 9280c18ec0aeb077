"""Artifacts in an object store: trials move between machines that share nothing but it and the database."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from object_store import KEYS, Bucket, object_store
from projects.launch import PROJECT, Hpo, finish, trial_processes, wait_for

SLOW = {"class": "projects.nets:Telling", "seconds": 0.4}  # an epoch
EPOCHS = 12


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with object_store() as found:
        yield found


def machine(tmp_path: Path, bucket: Bucket, name: str, **more: str) -> Hpo:
    """A machine with a cache of its own; all of a test share its database."""
    folder = tmp_path / name
    folder.mkdir()
    own = Bucket(f"{bucket.url}/{tmp_path.name}", bucket.environment)
    return Hpo(folder, f"sqlite:///{tmp_path}/hpo.db", environment={**own.machine(folder / "cache"), **more})


def objects(tmp_path: Path, bucket: Bucket) -> list[str]:
    return [key.partition("/")[2] for key in Bucket(f"{bucket.url}/{tmp_path.name}", bucket.environment).names()]


def submit(hpo: Hpo, *, trials: int = 1, **keys: Any) -> None:
    code, output = hpo.run("submit", hpo.study("s", **{"model": SLOW, "epochs": EPOCHS, **keys}), "--trials", trials)
    assert code == 0, output


def test_a_drained_trial_goes_on_elsewhere_and_trains_no_epoch_twice(tmp_path: Path, bucket: Bucket) -> None:
    first, second, third = (machine(tmp_path, bucket, name) for name in ("first", "second", "third"))
    submit(first)
    worker = first.start("worker", "s")
    wait_for(lambda: any(len(trial.curve) > 2 for trial in first.trials("s")))
    worker.terminate()
    assert finish(worker)[0] == 75
    assert "00000/last.ckpt" in objects(tmp_path, bucket)

    code, output = second.run("worker", "s", "--until-idle")

    assert code == 0, output
    assert "fetched" in output
    assert "resumes after epoch" in output
    [trial] = second.trials("s")
    assert (trial.state, trial.attempts) == ("complete", 2)
    log = third.run("logs", "s", 0)[1]
    trained = [line for line in log.splitlines() if line.startswith("trained epoch")]
    assert trained == [f"trained epoch {epoch}" for epoch in range(1, EPOCHS + 1)]
    assert trial.checkpoint is not None
    assert trial.checkpoint.startswith(bucket.url)
    assert not [key for key in objects(tmp_path, bucket) if "last" in key]


def test_a_killed_workers_trial_goes_on_from_what_was_uploaded(tmp_path: Path, bucket: Bucket) -> None:
    first, second = machine(tmp_path, bucket, "first"), machine(tmp_path, bucket, "second")
    submit(first, epochs=60, model={**SLOW, "seconds": 0.3})
    worker = first.start("worker", "s")
    wait_for(lambda: "00000/last.ckpt" in objects(tmp_path, bucket))
    worker.send_signal(signal.SIGKILL)
    finish(worker)
    first.expire_leases()

    code, output = second.run("worker", "s", "--until-idle")

    assert code == 0, output
    assert "resumes after epoch" in output
    assert [trial.state for trial in second.trials("s")] == ["complete"]


def test_a_trial_whose_checkpoint_is_nowhere_begins_again_and_says_what_is_lost(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/hpo.db"
    machines = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        machines.append(Hpo(tmp_path / name, url))
    submit(machines[0])
    worker = machines[0].start("worker", "s")
    wait_for(lambda: any(len(trial.curve) > 2 for trial in machines[0].trials("s")))
    worker.terminate()
    finish(worker)

    code, output = machines[1].run("worker", "s", "--until-idle")

    assert code == 0, output
    assert "WARNING" in output
    assert "begins again, and trains" in output


def test_another_machine_uses_the_best_model(tmp_path: Path, bucket: Bucket) -> None:
    first, second = machine(tmp_path, bucket, "first"), machine(tmp_path, bucket, "second")
    keys: dict[str, Any] = {
        "model": "models.dnn:DNN",
        "data": "models.data:Digits",
        "objective": {"metric": "val_accuracy", "direction": "maximize"},
        "space": {"width": 16, "depth": 1, "optimizer": "adam"},
        "keep": {"checkpoints": 1},
    }
    code, output = first.run("run", first.study("s", **keys), "--trials", 3)
    assert code == 0, output
    wait_for(lambda: len([key for key in objects(tmp_path, bucket) if key.endswith("best.ckpt")]) == 1)

    text = "import hpo, sys; print(hpo.open_study('s', sys.argv[1]).best(1)[0].load_model(project=sys.argv[2]))"
    command = [sys.executable, "-c", text, second.url, str(PROJECT)]
    loaded = subprocess.run(command, capture_output=True, text=True, env=second._environment, cwd=second.folder)

    assert "DNN(" in loaded.stdout, loaded.stderr
    shown = json.loads(second.run("show", "s", 0, "--json")[1])
    assert "log.txt" in shown["files"]
    code, output = second.run("export", "s", "--format", "onnx", "-o", second.folder / "exported")
    assert code == 0, output
    assert second.run("report", "s", "-o", second.folder / "report.html")[0] == 0
    code, output = second.run("export", "s", "--format", "archive", "-o", second.folder / "s.zip")
    assert code == 0, output
    assert "1 checkpoint" in output
    code, output = second.run("rename", "s", "t")
    assert code == 2
    assert f"study 's' has its files in {bucket.url}" in output
    assert "where nothing can be renamed" in output


def test_an_archive_is_imported_into_an_object_store(tmp_path: Path, bucket: Bucket) -> None:
    here = Hpo(tmp_path, f"sqlite:///{tmp_path}/here.db")
    code, output = here.run("run", here.study("s"), "--trials", 2)
    assert code == 0, output
    assert here.run("export", "s", "--format", "archive", "-o", tmp_path / "s.zip")[0] == 0
    first, second = machine(tmp_path, bucket, "first"), machine(tmp_path, bucket, "second")

    code, output = first.run("import", tmp_path / "s.zip")

    assert code == 0, output
    assert any(key.endswith("best.ckpt") for key in objects(tmp_path, bucket))
    text = "import hpo, sys; print(hpo.open_study('s', sys.argv[1]).best(1)[0].load_model(project=sys.argv[2]))"
    command = [sys.executable, "-c", text, second.url, str(PROJECT)]
    loaded = subprocess.run(command, capture_output=True, text=True, env=second._environment, cwd=second.folder)
    assert "Line(" in loaded.stdout, loaded.stderr


def test_the_credentials_are_kept_from_trials(tmp_path: Path, bucket: Bucket) -> None:
    hpo = machine(tmp_path, bucket, "one")
    submit(hpo)
    worker = hpo.start("worker", "s")
    [trial, *_] = wait_for(lambda: trial_processes(worker))

    variables = trial.environ()

    worker.terminate()
    _, output = finish(worker)
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in str(variables)
    assert KEYS["AWS_ACCESS_KEY_ID"] not in [value for name, value in variables.items() if name.startswith("AWS")]
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in output


def test_what_no_trial_needs_is_removed_there(tmp_path: Path, bucket: Bucket) -> None:
    first, second = machine(tmp_path, bucket, "first"), machine(tmp_path, bucket, "second")
    submit(first, trials=2, epochs=2, model="projects.nets:Line")
    assert first.run("worker", "--until-idle")[0] == 0
    study = Bucket(f"{bucket.url}/{tmp_path.name}", bucket.environment)
    folder = next(key for key in study.names() if key.endswith("best.ckpt")).partition("/")[0]
    study.put(f"{folder}/00000/last.ckpt", b"left")
    study.put(f"{folder}/00077/best.ckpt", b"of no trial")
    study.put("other-20260101-000000/notes.txt", b"of somebody")

    code, output = second.run("clean", "--dry-run")
    assert code == 0, output
    assert "last.ckpt" in output or "2 files" in output, output
    code, output = second.run("clean", "--yes")

    assert code == 0, output
    left = study.names()
    assert f"{folder}/00000/last.ckpt" not in left
    assert f"{folder}/00077/best.ckpt" not in left
    assert f"{folder}/00000/best.ckpt" in left
    assert "other-20260101-000000/notes.txt" in left
    code, output = second.run("delete", "s", "--yes")
    assert code == 0, output
    assert study.names() == ["other-20260101-000000/notes.txt"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"HPO_ARTIFACTS": "s3://nowhere/searches"}, "there is no such bucket: create it"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "it cannot be reached"),
        ({"HPO_ARTIFACTS": "s3://"}, "should be a folder, or an address such as s3://BUCKET/FOLDER"),
        ({"HPO_ARTIFACTS": "gs://bucket/searches"}, "should be a folder, or an address such as s3://BUCKET/FOLDER"),
    ],
)
def test_an_object_store_that_cannot_be_used_is_told_before_the_first_trial(
    tmp_path: Path, bucket: Bucket, change: dict[str, str], message: str
) -> None:
    hpo = machine(tmp_path, bucket, "one", **change)

    code, output = hpo.run("run", hpo.study("s"), "--trials", 1)

    assert code == 2, output
    assert message in output
    assert "Traceback" not in output


def test_keys_that_are_not_accepted_are_told_without_them(tmp_path: Path) -> None:
    with object_store(checks_keys=True) as bucket:
        hpo = machine(tmp_path, bucket, "one")

        code, output = hpo.run("worker", "--until-idle")

    assert code == 2, output
    assert "set AWS_ACCESS_KEY_ID" in output
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in output


def test_without_the_package_the_advice_is_to_install_it(tmp_path: Path, bucket: Bucket) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "obstore.py").write_text("raise ImportError('not here')")
    path = f"{tmp_path / 'hidden'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    hpo = machine(tmp_path, bucket, "one", PYTHONPATH=path)

    code, output = hpo.run("worker", "--until-idle")

    assert code == 2, output
    assert "pip install 'hpo-service[s3]'" in output
