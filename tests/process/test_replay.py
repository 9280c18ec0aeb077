"""A trial that is trained again is bit-equal: also one that was killed and resumed, or that followed others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from projects.interrupted import MARK
from projects.launch import PROJECT, Hpo, finish, wait_for

from hpo.ipc.fork_server import ForkServer
from hpo.results.study import Study
from hpo.results.trial import TrialRecord
from hpo.service.replay_result import Replay
from hpo.service.replay_stored import replay_stored
from hpo.store import Store

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
        "epochs": 12,
    },
    "cnn": {
        "model": "models.cnn:CNN",
        "data": {"class": "models.data:Digits", "only": "0123"},
        "space": {
            "depth": 2, "width": 8, "dropout": 0.3, "batch_size": 128, "kernel": 3, "head": 32, "schedule": "one_cycle",
            "optimizer": ["adam", "adamw"], "lr": {"low": 1e-4, "high": 1e-3}, "pooling": ["max", "average"],
        },
        "epochs": 12,
    },
    "lstm": {
        "model": "models.recurrent:Recurrent",
        "data": {"class": "models.data:Sequences", "path": str(DATA / "japanese_vowels.npz")},
        "space": {
            "cell": "lstm", "layers": 2, "hidden": 8, "bidirectional": True, "dropout": 0.2, "readout": "attention",
            "noise": 0.2, "time_warp": 0.4, "batch_size": 64, "optimizer": ["adam", "sgd"], "schedule": "plateau",
            "lr": {"low": 1e-4, "high": 1e-3},
        },
        "epochs": 12,
    },
}  # fmt: skip
FIRST, KILLED, LOST = 0, 1, 2  # the trials: undisturbed; its process is killed; its worker is


@dataclass
class Outcome:
    """A study of each family, whose second trial lost its process, and whose third lost its worker."""

    hpo: Hpo

    def trial(self, study: str, number: int) -> TrialRecord:
        return self.hpo.trials(study)[number]

    def attempts(self, study: str, number: int) -> list[tuple[str | None, int | None]]:
        with Store.open(self.hpo.url) as store:
            return [(attempt.end, attempt.from_epoch) for attempt in Study(store, study).attempts(number)]

    def process(self, study: str, number: int) -> list[str]:
        """The ids of the processes that have trained it."""
        [log] = (self.hpo.folder / "art").glob(f"{study}-*/{number:05d}/log.txt")
        return [line.split()[-1] for line in log.read_text().splitlines() if line.startswith("process ")]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("replay")
    hpo = Hpo(folder, f"sqlite:///{folder}/hpo.db")
    for name, family in FAMILIES.items():
        search(hpo, name, **family)
    return Outcome(hpo)


def search(hpo: Hpo, name: str, **keys: Any) -> None:
    """Three trials, one after the other: the process of the second is killed, and the worker of the third."""
    plain: dict[str, Any] = {
        "objective": {"metric": "val_accuracy", "direction": "maximize"},
        "budget": {"trials": 3},
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
@pytest.mark.parametrize("number", [FIRST, KILLED, LOST], ids=["undisturbed", "killed", "of a lost worker"])
def test_a_trial_is_replayed_bit_by_bit(outcome: Outcome, server: ForkServer, family: str, number: int) -> None:
    record = outcome.trial(family, number)
    ends = outcome.attempts(family, number)
    assert record.state == "complete"
    if number != FIRST:  # it was resumed in the middle
        assert len(ends) == 2
        assert 0 < (ends[1][1] or 0) < (record.max_epochs or 0)

    found = replay(outcome.hpo, server, family, number)

    assert found.is_equal, str(found)
    assert found.epochs == record.epochs == record.max_epochs
    assert set(found.metrics) == set(record.curve[0][1])
    assert found.tensors > 4, found.weights_note
    assert found.provenance_changes == ()
    assert str(found).endswith(found.verdict)
    assert found.verdict.startswith("reproduced bit by bit: all of its ")
