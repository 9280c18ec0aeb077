"""A trial that is trained again is bit-equal: also one that was killed and resumed, or that followed others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from projects.interrupted import MARK
from projects.launch import PROJECT, Hpo, finish, wait_for

from hpo.ipc.fork_server import ForkServer
from hpo.results.study import Study
from hpo.service.assembly import Workspace, begin
from hpo.service.replay_result import Replay
from hpo.service.replay_stored import replay_stored
from hpo.store import Store
from hpo.study.study_file import read_study

DATA = PROJECT.parent / "studies" / "data"
# Each draws random numbers wherever it can: weights, order, dropout, augmentation.
FAMILIES: dict[str, dict[str, Any]] = {
    "dnn": {
        "model": "models.dnn:DNN",
        "data": {"class": "models.data:Digits", "only": "0123"},
        "space": {
            "depth": 2, "width": 64, "dropout": {"low": 0.1, "high": 0.5}, "batch_norm": True, "batch_size": 32,
            "activation": ["relu", "gelu"], "optimizer": ["adam", "sgd"], "lr": {"low": 1e-4, "high": 1e-3},
            "schedule": "cosine", "residual": False, "scaling": "standard",
        },
        "epochs": 8,
    },
    "cnn": {
        "model": "models.cnn:CNN",
        "data": {"class": "models.data:Digits", "only": "0123"},
        "space": {
            "depth": 2, "width": 8, "dropout": 0.3, "batch_size": 128, "kernel": 3, "head": 32, "schedule": "one_cycle",
            "optimizer": ["adam", "adamw"], "lr": {"low": 1e-4, "high": 1e-3}, "pooling": ["max", "average"],
            "scaling": "standard", "average": 0.95,
        },
        "epochs": 8,
    },
    "lstm": {
        "model": "models.recurrent:Recurrent",
        "data": {"class": "models.data:Sequences", "path": str(DATA / "japanese_vowels.npz")},
        "space": {
            "cell": "lstm", "layers": 2, "hidden": 8, "bidirectional": False, "dropout": 0.2, "readout": "attention",
            "noise": 0.2, "time_warp": 0.4, "batch_size": 64, "optimizer": ["adam", "sgd"], "schedule": "plateau",
            "lr": {"low": 1e-4, "high": 1e-3},
        },
        "epochs": 8,
    },
}  # fmt: skip
# The trials: undisturbed; its process is killed; its worker is; undisturbed after it in one process.
FIRST, KILLED, LOST, FOLLOWS = range(4)


@pytest.fixture(scope="module")
def hpo(tmp_path_factory: pytest.TempPathFactory) -> Hpo:
    """A study of each family, whose second trial has lost its process, and whose third has lost its worker."""
    folder = tmp_path_factory.mktemp("replay")
    hpo = Hpo(folder, f"sqlite:///{folder}/hpo.db")
    for name, family in FAMILIES.items():
        search(hpo, name, **family)
    return hpo


def search(hpo: Hpo, name: str, **keys: Any) -> None:
    """Four trials, one after the other: the process of the second is killed, and the worker of the third."""
    plain: dict[str, Any] = {
        "objective": {"metric": "val_accuracy", "direction": "maximize"},
        "budget": {"trials": 4},
        "trainer": {
            "callbacks": [{"class": "projects.interrupted:Interrupted", "killed": KILLED, "waiting": LOST}],
        },
    }
    study = hpo.study(name, **(plain | keys))
    worker = hpo.start("run", study, "--slots", 1)
    wait_for(lambda: any((hpo.folder / "art").glob(f"{name}-*/{LOST:05d}/{MARK}")) or worker.poll() is not None)
    worker.kill()
    print(finish(worker)[1])  # shown when a test fails
    hpo.expire_leases()
    code, output = hpo.run("run", study, "--slots", 1)
    assert code == 0, output


def replay(hpo: Hpo, server: ForkServer, study: str, number: int, epochs: int | None = None) -> Replay:
    """What `hpo replay` does, without another import of torch."""
    with Store.open(hpo.url) as store:
        return replay_stored(store, study, number, epochs=epochs, server=server, project=PROJECT)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "number", [FIRST, KILLED, LOST, FOLLOWS], ids=["undisturbed", "killed", "of a lost worker", "after others"]
)
def test_a_trial_is_replayed_bit_by_bit(hpo: Hpo, server: ForkServer, family: str, number: int) -> None:
    record, resumed = hpo.trials(family)[number], attempts_from(hpo, family, number)
    assert record.state == "complete"
    if number in (KILLED, LOST):
        assert len(resumed) == 2
        assert 0 < resumed[1] < (record.max_epochs or 0)
    if number == FOLLOWS:
        assert processes(hpo, family, FOLLOWS) == processes(hpo, family, LOST)[-1:]

    found = replay(hpo, server, family, number)

    assert found.is_equal, str(found)
    assert found.epochs == record.epochs == record.max_epochs
    assert set(found.metrics) == set(record.curve[0][1])
    assert found.tensors > 4, found.weights_note
    # The checkout of these tests may get a commit meanwhile.
    assert [change for change in found.provenance_changes if not change.startswith(("commit", "work tree"))] == []
    assert str(found).endswith(found.verdict)
    assert found.verdict.startswith("reproduced bit by bit: all of its ")


# ---- modules of one's own


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"trainer": {"check_val_every_n_epoch": 2}},
        {"trainer": {"check_val_every_n_epoch": 2}, "executor": "lightning"},
        {"data": {"class": "projects.drawing:Shuffled", "workers": 1}},
        {"reuse_processes": False},
    ],
    ids=["plain", "every second epoch", "every second epoch, lightning", "workers", "apart"],
)
def test_a_module_of_ones_own_that_was_killed_is_replayed_bit_by_bit(
    tmp_path: Path, server: ForkServer, keys: dict[str, Any]
) -> None:
    hpo = search_of_ones_own(tmp_path, server, **keys)

    replays = [replay(hpo, server, "own", number) for number in (FIRST, KILLED)]

    assert [found.is_equal for found in replays] == [True, True], "\n".join(map(str, replays))
    assert [found.tensors for found in replays] == [2, 2]


def test_a_replay_names_the_resumption_after_which_persistent_workers_drew_other_numbers(
    tmp_path: Path, server: ForkServer
) -> None:
    data = {"class": "projects.drawing:Shuffled", "workers": 1, "persistent": True}
    hpo = search_of_ones_own(tmp_path, server, data=data)
    [_, resumed_after] = attempts_from(hpo, "own", KILLED)

    undisturbed, killed = (replay(hpo, server, "own", number) for number in (FIRST, KILLED))

    assert undisturbed.is_equal
    assert min(difference.epoch for difference in killed.differences) == resumed_after + 1
    assert f"an attempt was resumed after epoch {resumed_after}, and something" in str(killed)


def search_of_ones_own(folder: Path, server: ForkServer, **keys: Any) -> Hpo:
    """Two trials, one after the other: the process of the second is killed."""
    hpo = Hpo(folder, f"sqlite:///{folder}/hpo.db")
    callback = {"class": "projects.interrupted:Interrupted", "killed": KILLED, "waiting": 99}
    trainer = {"callbacks": [callback], **keys.get("trainer", {})}
    plain = {"model": "projects.drawing:Drawing", "data": "projects.drawing:Shuffled", "epochs": 10}
    file = hpo.study("own", **{**plain, "budget": {"trials": 2}, **keys, "trainer": trainer})
    with Store.create(hpo.url) as store:
        begin(Workspace(server, PROJECT, store, folder / "art"), *read_study(file)).worker.run_until_done()
    [first, second] = attempts_from(hpo, "own", KILLED)
    assert first == 0
    assert 0 < second < 10
    return hpo


def processes(hpo: Hpo, study: str, number: int) -> list[int]:
    """Those that have trained a trial, the first one first."""
    [log] = (hpo.folder / "art").glob(f"{study}-*/{number:05d}/log.txt")
    return [int(line.split()[1]) for line in log.read_text().splitlines() if line.startswith("process ")]


def attempts_from(hpo: Hpo, study: str, number: int) -> list[int]:
    """The epochs that a trial's attempts have resumed from."""
    with Store.open(hpo.url) as store:
        return [attempt.from_epoch or 0 for attempt in Study(store, study).attempts(number)]
