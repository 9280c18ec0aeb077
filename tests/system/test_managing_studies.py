"""Asking for points, renaming, deleting, cleaning and reading logs: the command line beside real workers."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from projects.launch import PROJECT, Hpo, finish, trial_processes, wait_for
from projects.service import invoke, running, submit
from sqlalchemy import select

from hpo.ipc.fork_server import ForkServer
from hpo.queue.control import request_study
from hpo.results.study import Study
from hpo.store import Store, StoreUrl, child_environment
from hpo.store.optuna_storage import optuna_storage
from hpo.store.tables import hpo_attempts, trials
from hpo.study.folder_mark import mark_folder
from hpo.study.states import StudyState

SLOW = {"class": "projects.nets:Line", "seconds": 0.3}  # an epoch
CHATTY = {"class": "projects.chatty:Chatty", "seconds": 0.3}
SEARCHED = {"lr": {"low": 1e-3, "high": 1e-1, "log": True}, "batch_size": {"low": 4, "high": 8}}


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    server = ForkServer.start(child_environment(None))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hpo]:
    """A store, and a worker that trains whatever is open in it; its output must hold no traceback."""
    folder = tmp_path_factory.mktemp("managing")
    hpo = Hpo(folder, f"sqlite:///{folder}/hpo.db")
    process = hpo.start("worker", "--slots", 2)
    yield hpo
    process.terminate()
    code, output = finish(process, timeout=60)
    print(output)
    assert code == 0
    assert "Traceback" not in output


def is_training(hpo: Hpo, study: str, count: int) -> Callable[[], bool]:
    """Whether so many trials have an epoch behind them and go on."""
    return lambda: sum(record.state == "running" and record.epochs > 0 for record in hpo.trials(study)) == count


def folders(hpo: Hpo, study: str) -> list[Path]:
    return sorted((hpo.folder / "art").glob(f"{study}-*"))


# ---- enqueue


def test_a_point_that_was_asked_for_is_trained_with_the_rest_sampled(served: Hpo, server: ForkServer) -> None:
    submit(served, served.study("asked", space=SEARCHED, budget={"trials": 1}), server)
    wait_for(lambda: served.counts("asked") == {"complete": 1})

    code, output = invoke(served, "enqueue", "asked", "lr=2e-2")
    again = invoke(served, "enqueue", "asked", "lr=0.02")
    wrong = invoke(served, "enqueue", "asked", "lr=2", "batchsize=4")
    invoke(served, "set", "asked", "trials=+1")
    wait_for(lambda: served.counts("asked") == {"complete": 2})

    assert code == 0
    assert output == (
        "study asked: trial 1 waits for a worker\n"
        "its budget has no room for all that wait: 'hpo set asked trials=+1' makes room\n"
    )
    assert again[0] == 0
    assert again[1].startswith("study asked: trial 1 waits already with an equal point\n")
    assert wrong[0] == 2
    assert "'batchsize' is not searched, did you mean 'batch_size'?" in wrong[1]
    assert "'lr': 2 lies outside 0.001 to 0.1, log" in wrong[1]
    record = served.trials("asked")[1]
    assert record.params["lr"] == record.config["model"]["lr"] == 0.02
    assert 4 <= record.params["batch_size"] <= 8


def test_points_come_from_a_file(served: Hpo, server: ForkServer) -> None:
    submit(served, served.study("filed", space=SEARCHED, budget={"trials": 1}), server)
    wait_for(lambda: served.counts("filed") == {"complete": 1})
    file = served.folder / "points.csv"
    file.write_text("lr,batch_size\n0.002,\n0.003,5\n")

    code, output = invoke(served, "enqueue", "filed", "--from", file)
    nothing, _ = invoke(served, "enqueue", "filed")
    invoke(served, "set", "filed", "trials=3")
    wait_for(lambda: served.counts("filed") == {"complete": 3})

    assert (code, nothing) == (0, 2)
    assert "trials 1, 2 wait for a worker" in output
    assert [record.params["lr"] for record in served.trials("filed")[1:]] == [0.002, 0.003]
    assert served.trials("filed")[2].params["batch_size"] == 5


# ---- rename


def test_a_paused_study_is_renamed_and_goes_on_where_it_was(served: Hpo, server: ForkServer) -> None:
    submit(served, served.study("before", model=SLOW, epochs=100, budget={"trials": 2}), server)
    wait_for(is_training(served, "before", 2))

    refused = invoke(served, "rename", "before", "after")
    invoke(served, "pause", "before")
    wait_for(lambda: "running" not in served.counts("before"))
    paused = served.trials("before")
    code, output = invoke(served, "rename", "before", "after", "--artifacts", served.folder / "art")
    unknown, error = invoke(served, "status", "before")
    invoke(served, "resume", "after")
    wait_for(lambda: is_training(served, "after", 2)() and all(t.attempts == 2 for t in served.trials("after")))
    wait_for(lambda: all(now.epochs > was.epochs for now, was in zip(served.trials("after"), paused, strict=True)))

    assert refused[0] == 2
    assert "study 'before' is being trained (trials 0, 1 by " in refused[1]
    assert (code, output.splitlines()[0]) == (0, "study before was renamed to after")
    assert (unknown, "no study 'before'" in error) == (2, True)
    assert (folders(served, "before"), len(folders(served, "after"))) == ([], 1)
    with Store.open(served.url) as store, store.read() as connection:
        chosen = select(hpo_attempts.c.from_epoch).join(trials, trials.c.trial_id == hpo_attempts.c.trial_id)
        wanted = trials.c.study_id == Study(store, "after")._study_id
        from_epochs = list(connection.scalars(chosen.where(wanted, hpo_attempts.c.number == 2)))
    assert sorted(from_epochs) == sorted(record.epochs for record in paused)
    assert folders(served, "before") == []
    with Store.open(served.url) as store:
        request_study(store, "after", StudyState.KILLED)
    wait_for(lambda: served.counts("after") == {"failed": 2})


# ---- delete


def test_a_study_that_is_trained_is_deleted_by_force_and_the_worker_goes_on(served: Hpo, server: ForkServer) -> None:
    file = served.study("doomed", model=SLOW, epochs=1000, budget={"trials": 2})
    submit(served, file, server)
    wait_for(is_training(served, "doomed", 2))
    art = ("--artifacts", served.folder / "art")

    asked = invoke(served, "delete", "doomed", *art)
    refused = invoke(served, "delete", "doomed", "--yes", *art)
    code, output = invoke(served, "delete", "doomed", "--yes", "--force", *art)
    again = invoke(served, "delete", "doomed", "--yes", *art)
    submit(served, served.study("next", budget={"trials": 4}), server)
    wait_for(lambda: served.counts("next") == {"complete": 4})
    submit(served, served.study("doomed", budget={"trials": 2}), server)  # another one of that name
    wait_for(lambda: served.counts("doomed") == {"complete": 2})
    invoke(served, "clean", "--yes", *art)

    assert asked[0] == 2
    assert "Without a terminal, confirm it by --yes: hpo delete doomed --yes" in asked[1]
    assert refused[0] == 2
    assert "with --force it is deleted anyway" in refused[1]
    assert (code, output.startswith("study doomed deleted: 2 trials, ")) == (0, True)
    assert again[0] == 2
    assert len(folders(served, "doomed")) == 1


def test_a_run_whose_study_is_deleted_ends_with_a_message(tmp_path: Path) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    run = hpo.start("run", hpo.study("brief", model=SLOW, epochs=1000, budget={"trials": 2}), "--slots", 1)
    wait_for(is_training(hpo, "brief", 1))

    code, _ = invoke(hpo, "delete", "brief", "--yes", "--force", "--artifacts", tmp_path / "art")
    ended, output = finish(run, timeout=60)

    assert (code, ended) == (0, 1)
    assert output.rstrip().endswith("error: study brief was stopped: the study was deleted"), output
    assert "Traceback" not in output


def test_a_worker_that_was_asked_for_a_study_outlives_its_end_and_takes_the_next_of_that_name(
    tmp_path: Path, server: ForkServer
) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    submit(hpo, hpo.study("named", model=SLOW, epochs=1000, budget={"trials": 2}), server)
    with running(hpo, "worker", "named", "--slots", 1) as worker:
        wait_for(is_training(hpo, "named", 1))
        invoke(hpo, "delete", "named", "--yes", "--force", "--artifacts", tmp_path / "art")
        wait_for(lambda: not trial_processes(worker))
        submit(hpo, hpo.study("named", budget={"trials": 2}), server)
        wait_for(lambda: hpo.counts("named") == {"complete": 2})
        assert worker.poll() is None


# ---- at a terminal


def at_terminal(hpo: Hpo, *arguments: object, answer: str) -> tuple[int, str]:
    """`hpo ARGUMENTS` with a terminal, at which somebody answers the first question."""
    ours, theirs = pty.openpty()

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    command = [sys.executable, "-m", "hpo", *map(str, arguments), "--store", hpo.url, "--project", str(PROJECT)]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=take_terminal)
    os.close(theirs)
    output = b""
    while b"[y/N]" not in output:
        output += os.read(ours, 1000)
    os.write(ours, f"{answer}\n".encode())
    try:
        while part := os.read(ours, 1000):
            output += part
    except OSError:  # the terminal is closed
        pass
    os.close(ours)
    return process.wait(60), output.decode()


def test_people_are_asked_before_anything_goes(tmp_path: Path) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    Store.create(hpo.url).close()
    with optuna_storage(StoreUrl.parse(hpo.url)) as storage:
        optuna.create_study(study_name="[red]odd", storage=storage)
    left = tmp_path / "art" / "gone-20240101-000000" / "00000"
    left.mkdir(parents=True)
    (left / "best.ckpt").write_bytes(b"x" * 100)
    mark_folder(left.parent, hpo.url)

    kept = at_terminal(hpo, "delete", "[red]odd", "--artifacts", tmp_path / "art", answer="n")
    still_there = hpo.trials("[red]odd")
    gone = at_terminal(hpo, "delete", "[red]odd", "--artifacts", tmp_path / "art", answer="y")
    not_cleaned = at_terminal(hpo, "clean", "--artifacts", tmp_path / "art", answer="n")
    is_left = left.exists()
    cleaned = at_terminal(hpo, "clean", "--artifacts", tmp_path / "art", answer="y")

    assert kept[0] == 1
    assert "study [red]odd: 0 trials and 0.0 MiB of artifacts. Delete them? [y/N]" in kept[1]
    assert "error: nothing was deleted" in kept[1]
    assert still_there == []
    assert (gone[0], "study [red]odd deleted" in gone[1]) == (0, True)
    assert (not_cleaned[0], is_left) == (0, True)
    assert (cleaned[0], left.exists()) == (0, False)


# ---- clean


def test_clean_shows_what_studies_take_and_removes_only_when_it_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    Store.create(hpo.url).close()
    art = ("--artifacts", tmp_path / "art")
    empty = invoke(hpo, "clean", *art)
    left = tmp_path / "art" / "gone-20240101-000000" / "00000"
    left.mkdir(parents=True)
    (left / "best.ckpt").write_bytes(b"x" * 2**20)
    mark_folder(left.parent, hpo.url)
    size = 2**20 + (left.parent / "store.txt").stat().st_size
    (tmp_path / "art" / "[red]-20240101-000000").mkdir()

    shown = invoke(hpo, "clean", *art)
    dry = invoke(hpo, "clean", "--dry-run", "--yes", *art)
    code, plain = invoke(hpo, "clean", "--json", *art)
    is_left = left.exists()
    removed = invoke(hpo, "clean", "--yes", *art)
    again = invoke(hpo, "clean", "--yes", "--json", *art)

    assert empty == (0, f"no study has artifacts in {tmp_path}/art\n")
    assert shown[0] == dry[0] == code == removed[0] == 0
    assert "not needed: gone-20240101-000000 (1.0 MiB): the store does not know its study" in shown[1]
    assert "nothing was removed: 'hpo clean --yes' does it" in shown[1]
    assert json.loads(plain)["unneeded_bytes"] == size
    assert is_left
    assert "removed 1.0 MiB" in removed[1]
    assert not left.exists()
    assert json.loads(again[1])["unneeded_bytes"] == 0
    assert (tmp_path / "art" / "[red]-20240101-000000").exists()


# ---- logs


def test_a_log_is_printed_and_followed_over_all_attempts(served: Hpo, server: ForkServer) -> None:
    submit(served, served.study("talks", model=CHATTY, epochs=8, budget={"trials": 1}), server)
    wait_for(is_training(served, "talks", 1))
    follower = served.start("logs", "talks", 0, "-f")
    invoke(served, "pause", "talks")
    wait_for(lambda: "running" not in served.counts("talks"))
    held = served.run("logs", "talks", 0)
    invoke(served, "resume", "talks")
    wait_for(lambda: served.counts("talks") == {"complete": 1})

    followed = finish(follower)
    code, whole = served.run("logs", "talks", 0)
    _, plain = served.run("logs", "talks", 0, "--json")

    def epochs(output: str) -> list[str]:
        return [line.split()[1] for line in output.splitlines() if line.startswith("epoch ")]

    assert (code, followed[0]) == (0, 0)
    assert epochs(whole) == [str(epoch) for epoch in range(8)]
    assert followed[1] == whole
    assert 1 <= len(epochs(held[1])) < 8
    document = json.loads(plain)
    assert (document["study"], document["trial"], document["state"]) == ("talks", 0, "complete")
    assert document["log"] == whole


def test_where_there_is_no_log_it_is_said_why(served: Hpo, server: ForkServer) -> None:
    submit(served, served.study("silent", budget={"trials": 1}), server)
    wait_for(lambda: served.counts("silent") == {"complete": 1})
    invoke(served, "enqueue", "silent", "lr=0.02")

    waiting = invoke(served, "logs", "silent", 1)
    absent = invoke(served, "logs", "silent", 7)
    unknown = invoke(served, "logs", "silnt", 0)
    both = invoke(served, "logs", "silent", 0, "-f", "--json")
    elsewhere = served.run("logs", "silent", 0, "--artifacts", served.folder / "none")
    shutil.rmtree(folders(served, "silent")[0])
    gone = invoke(served, "logs", "silent", 0, "--artifacts", served.folder / "art")

    worker = served.trials("silent")[0].worker
    assert waiting == (2, "error: trial 1 of study 'silent' waits for a worker: it has no log\n")
    assert absent == (2, "error: study 'silent' has no trial 7; 'hpo trials silent' lists those it has\n")
    assert (unknown[0], "did you mean 'silent'?" in unknown[1]) == (2, True)
    assert (both[0], "give one of them" in both[1]) == (2, True)
    assert elsewhere[0] == 0  # the store names the checkpoint beside it
    assert gone[0] == 2
    assert f"trial 0 of study 'silent' has no log on this machine: it was trained by {worker}." in gone[1]
