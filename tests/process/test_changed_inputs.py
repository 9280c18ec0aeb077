"""A study whose data or code is changed between two runs, or while a worker serves it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from projects.launch import Hpo, wait_for
from projects.service import running

NETS = """
from pathlib import Path
from typing import Annotated

import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch.utils.data import DataLoader, TensorDataset

from hpo import Float


class Net(LightningModule):
    def __init__(self, lr: Annotated[float, Float(1e-3, 1e-1, log=True)] = 1e-2) -> None:
        super().__init__()
        self.layer, self.lr = torch.nn.Linear(1, 1), lr

    def training_step(self, batch, _):
        return (self.layer(batch[0]) - batch[0]).square().mean()

    def validation_step(self, batch, _):
        self.log("val_mean", batch[0].mean())  # of the data: it tells which file was read

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Numbers(LightningDataModule):
    def __init__(self, file: str = "numbers.txt") -> None:
        super().__init__()
        self.file = file

    def setup(self, stage) -> None:
        self.numbers = torch.tensor([[float(line)] for line in Path(self.file).read_text().split()])

    def train_dataloader(self):
        return DataLoader(TensorDataset(self.numbers), 4)

    val_dataloader = train_dataloader
"""


class OwnProject(Hpo):
    """With modules and data in its own folder."""

    def _options(self) -> list[str]:
        return ["--project", str(self.folder), "--store", self.url]

    def write(self, file: str, text: str) -> None:
        (self.folder / file).write_text(text)

    def means(self) -> list[float | None]:
        return [record.value for record in self.trials("line")]


@pytest.fixture
def here(tmp_path: Path) -> OwnProject:
    hpo = OwnProject(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    hpo.write("numbers.txt", "1\n1\n")
    hpo.write("nets.py", NETS)
    objective = {"metric": "val_mean", "direction": "maximize"}
    hpo.study("line", model="nets:Net", data="nets:Numbers", objective=objective, epochs=1)
    return hpo


def test_a_study_does_not_go_on_with_other_data_or_code_unless_that_is_accepted(here: OwnProject) -> None:
    assert here.run("run", "line.yaml", "--trials", 2)[0] == 0
    here.write("nets.py", NETS + "\n# a comment\n")
    assert here.run("run", "line.yaml", "--trials", 3)[0] == 0

    here.write("numbers.txt", "0.5\n0.5\n")
    data_code, data_refused = here.run("run", "line.yaml", "--trials", 4)
    here.write("nets.py", NETS.replace("SGD", "Adam"))
    both_code, both_refused = here.run("run", "line.yaml", "--trials", 4)
    accepted_code, accepted = here.run("run", "line.yaml", "--trials", 4, "--accept-changes")
    again_code, again = here.run("run", "line.yaml", "--trials", 5)

    assert (data_code, both_code, accepted_code, again_code) == (2, 2, 0, 0), accepted + again
    assert "study 'line' began with other data or code:\n  data numbers.txt: other contents\n" in data_refused
    assert "\n  code nets.py: other contents\n  data numbers.txt: other contents\n" in both_refused
    assert "3 trials from before the change are kept, and compared no more" in accepted
    assert here.means() == [1.0, 1.0, 1.0, 0.5, 0.5]
    best = json.loads(here.run("best", "line", "--json")[1])
    assert [(record["number"], record["value"], record["before_change"]) for record in best] == [
        (3, 0.5, None),
        (4, 0.5, None),
    ]
    listed = here.run("trials", "line")[1]
    assert listed.count("from before a change (code nets.py: other contents; data numbers.txt: other contents)") == 3


@pytest.mark.parametrize("is_there", [False, True], ids=["new folder", "empty folder"])
def test_what_the_trials_download_and_write_is_no_change(here: OwnProject, *, is_there: bool) -> None:
    download = """
    def prepare_data(self) -> None:
        Path(self.file).parent.mkdir(exist_ok=True)
        Path(self.file).write_text("1\\n1\\n")
"""
    logs = NETS.replace("lr\n\n    def", 'lr\n        Path(log).open("a").write("a model")\n\n    def', 1)
    logs = logs.replace("self, lr:", 'self, log: str = "made.log", lr:')
    logs = logs.replace('file: str = "numbers.txt"', 'folder: str = "down"').replace(
        "= file", '= f"{folder}/numbers.txt"'
    )
    here.write("nets.py", logs + download)
    if is_there:
        (here.folder / "down").mkdir()

    first, _ = here.run("run", "line.yaml", "--trials", 2)
    again, output = here.run("run", "line.yaml", "--trials", 3)

    assert (first, again) == (0, 0), output
    assert (here.folder / "made.log").exists()
    assert here.means() == [1.0, 1.0, 1.0]


def test_a_worker_does_not_train_on_data_that_was_changed_and_takes_the_study_up_when_that_is_accepted(
    here: OwnProject,
) -> None:
    with running(here, "worker", "--slots", 1):
        assert here.run("submit", "line.yaml", "--trials", 1)[0] == 0
        wait_for(lambda: here.counts("line") == {"complete": 1})
        assert here.run("set", "line", "trials=+1", "hours=100")[0] == 0
        wait_for(lambda: here.counts("line") == {"complete": 2})
        here.write("numbers.txt", "0.5\n0.5\n")
        here.write("nets.py", NETS.replace("batch[0].mean()", "10 * batch[0].mean()"))
        here.run("set", "line", "trials=+1")
        refused, _ = here.run("submit", "line.yaml", "--trials", 3)
        accepted, output = here.run("submit", "line.yaml", "--trials", 3, "--accept-changes")
        wait_for(lambda: here.counts("line") == {"complete": 3})

    assert (refused, accepted) == (2, 0), output
    assert here.means() == [1.0, 1.0, 5.0]
