"""A study that starts from another study's weights: `trial:STUDY/best` among its arguments."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from projects.launch import Hpo
from stores import study_exists

from hpo.errors import SpecError
from hpo.ipc.fork_server import ForkServer
from hpo.queue.studies import create_or_continue
from hpo.results.warm_start import find_weights
from hpo.service.prepare import prepare
from hpo.store import Store
from hpo.study.study_file import read_study

FOREIGN = Path(__file__).parents[1] / "foreign"


class Foreign(Hpo):
    """The command line, with a folder of modules that have nothing to do with this project."""

    def _options(self) -> list[str]:
        return ["--project", str(FOREIGN), "--store", self.url]


def checksum(checkpoint: str) -> float:
    weights = torch.load(checkpoint, weights_only=True)["state_dict"]
    return float(torch.nn.utils.parameters_to_vector(weights.values()).double().sum().float())


@pytest.fixture(scope="module")
def hpo(tmp_path_factory: pytest.TempPathFactory) -> Foreign:
    """With a study, `first`, of which one trial's checkpoint is kept."""
    folder = tmp_path_factory.mktemp("weights")
    hpo = Foreign(folder, f"sqlite:///{folder}/hpo.db")
    file = study(hpo, "first", space={"lr": [0.01, 0.1, 0.3]}, budget={"trials": 3}, sampler="grid")
    code, output = hpo.run("run", file, "--set", "keep.checkpoints=1")
    assert code == 0, output
    return hpo


def study(hpo: Foreign, name: str, **keys: object) -> Path:
    return hpo.study(name, **{"model": "warm:Warm", "data": "warm:Blobs", "space": {"lr": [0.1, 0.2]}, **keys})


def test_the_trial_starts_from_the_named_trials_weights(hpo: Foreign) -> None:
    words = "trial:first/best"
    file = study(hpo, "second", model={"class": "warm:Warm", "start": words}, budget={"trials": 2})

    code, output = hpo.run("run", file)

    assert code == 0, output
    first = next(record for record in hpo.trials("first") if record.checkpoint is not None)
    assert first.checkpoint is not None
    for record in hpo.trials("second"):
        assert record.curve[0][1]["checksum"] == pytest.approx(checksum(first.checkpoint), rel=1e-6)
        # the study's words stand, and beside them what they meant
        assert record.config["model"]["start"] == words
        assert record.config["weights"] == {words: {"trial": first.number, "checkpoint": first.checkpoint}}
        kept = torch.load(record.checkpoint or "", weights_only=True)["state_dict"]
        loaded = record.load_model(project=FOREIGN).state_dict()
        assert all(torch.equal(loaded[name], kept[name]) for name in kept)
    # and the same file is the same study
    code, output = hpo.run("run", file, "--trials", "3")
    assert code == 0, output
    assert "extended from 2 trials to 3 trials" in output


def test_where_to_start_from_can_be_searched(hpo: Foreign) -> None:
    best = next(record.number for record in hpo.trials("first") if record.checkpoint is not None)
    words = f"trial:first/{best}"
    file = study(hpo, "searched", space={"start": ["", words]}, sampler="grid", budget={"trials": 2})

    code, output = hpo.run("run", file)

    assert code == 0, output
    cold, warm = hpo.trials("searched")
    assert "weights" in warm.config
    assert warm.params == {"start": words}
    assert warm.curve[0][1]["checksum"] != cold.curve[0][1]["checksum"]


def test_the_file_beside_a_checkpoint_rebuilds_its_model(hpo: Foreign) -> None:
    record = next(record for record in hpo.trials("first") if record.checkpoint is not None)
    assert record.checkpoint is not None

    config = json.loads((Path(record.checkpoint).parent / "config.json").read_text())

    # also what the model put in the place of a default
    assert config == record.config
    assert config["model"] == {"class": "warm:Warm", "lr": record.params["lr"], "start": "", "hidden": 4}
    assert config["data"] == {"class": "warm:Blobs", "batch_size": 16, "samples": 64}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("trial:frist/best", "the store has no study 'frist', did you mean 'first'?"),
        ("trial:first/17", "study 'first' has no trial 17"),
        ("trial:first", "should be trial:STUDY/best, or trial:STUDY/NUMBER"),
        ("trial:first/{dropped}", "has no checkpoint: a study keeps those of its best trials"),
    ],
)
def test_missing_weights_are_reported_with_the_line_of_the_file(
    hpo: Foreign, server: ForkServer, words: str, message: str
) -> None:
    dropped = next(record.number for record in hpo.trials("first") if record.checkpoint is None)
    words = words.format(dropped=dropped)
    file = study(hpo, "wrong", model={"class": "warm:Warm", "start": words})
    line = 1 + next(n for n, text in enumerate(file.read_text().splitlines()) if words in text)
    spec, source = read_study(file)
    with prepare(spec, source, server=server, project=FOREIGN) as prepared:
        resolved = prepared.resolved

    with Store.open(hpo.url) as store, pytest.raises(SpecError) as error:
        find_weights(store, resolved, source)

    assert str(error.value).startswith(f"{file}:{line}: model.start: '{words}'")
    assert message in str(error.value)


def test_the_command_line_reports_it_before_anything_is_created(hpo: Foreign) -> None:
    file = study(hpo, "hasty", model={"class": "warm:Warm", "start": "trial:nothing/best"})

    code, output = hpo.run("run", file)

    assert code == 2, output
    assert "the store has no study 'nothing'" in output
    with Store.open(hpo.url) as store:
        assert not study_exists(store, "hasty")


def test_a_checkpoint_that_goes_missing_ends_the_study_on_this_worker(hpo: Foreign, server: ForkServer) -> None:
    dropped = next(record for record in hpo.trials("first") if record.checkpoint is None)
    with Store.open(hpo.url) as store:
        file = study(hpo, "orphan", model={"class": "warm:Warm", "start": f"trial:first/{dropped.number}"})
        with prepare(*read_study(file), server=server, project=FOREIGN) as prepared:
            create_or_continue(store, prepared.resolved)  # as it was when there still was a checkpoint

    code, output = hpo.run("worker", "orphan", "--until-idle")

    assert code == 2, output
    assert "study orphan cannot continue on this worker" in output
    assert "has no checkpoint" in output
    assert hpo.counts("orphan") == {}
