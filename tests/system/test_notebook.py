"""A search in the cells of a real kernel: its live table, an interrupt, and the notebook of the documentation."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from projects.launch import Hpo, wait_for

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "docs" / "notebooks"
SECONDS = 600  # for a cell, on a busy machine

CLASSES = """
import os, time
from pathlib import Path
from typing import Annotated
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
import hpo

class Points(pl.LightningDataModule):
    def setup(self, stage):
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
        self.rows = TensorDataset(x, x.sum(1, keepdim=True))
    def train_dataloader(self):
        return DataLoader(self.rows, 8)
    def val_dataloader(self):
        return DataLoader(self.rows, 8)

class Net(pl.LightningModule):
    def __init__(self, lr: Annotated[float, hpo.Float(1e-3, 1e-1, log=True)] = 1e-2):
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(4, 1)
    def training_step(self, batch, batch_idx):
        if not Path("fast").exists():
            time.sleep(0.1)
        return nn.functional.mse_loss(self.layer(batch[0]), batch[1])
    def validation_step(self, batch, batch_idx):
        self.log("val_loss", nn.functional.mse_loss(self.layer(batch[0]), batch[1]))
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.hparams["lr"])
"""
RUN = """
study = hpo.run(name="net", model=Net, data=Points, objective="val_loss", trials=3, slots=2, epochs=20,
                sampler="random", pruner="none", early_stopping=None, resources={"accelerator": "cpu"})
study
"""


class Kernel:
    """A kernel in a folder; cells are executed one after another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notebook = nbformat.v4.new_notebook()  # type: ignore[no-untyped-call]
        self.client = NotebookClient(
            self.notebook, timeout=SECONDS, allow_errors=True, resources={"metadata": {"path": str(folder)}}
        )

    @contextlib.contextmanager
    def started(self) -> Iterator[Kernel]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HPO_")}
        ours = {"PYTHONPATH": str(ROOT), "IPYTHONDIR": str(self.folder / ".ipython"), "HPO_TIMING": "poll=0.2"}
        with self.client.setup_kernel(env=kept | ours):
            yield self

    def run(self, source: str) -> list[Any]:
        """The outputs of a cell."""
        cell = nbformat.v4.new_code_cell(source)  # type: ignore[no-untyped-call]
        self.notebook.cells.append(cell)
        self.client.execute_cell(cell, len(self.notebook.cells) - 1)
        return list(cell.outputs)

    def interrupt(self) -> None:
        """As a notebook's button does: a signal for the kernel and all processes of its group."""
        assert self.client.km is not None
        interrupting: Any = self.client.km.interrupt_kernel()
        asyncio.run(interrupting)


def html_of(outputs: list[Any]) -> list[str]:
    return [one.data["text/html"] for one in outputs if "data" in one and "text/html" in one.data]


def test_an_interrupted_cell_goes_on_when_it_is_run_again(tmp_path: Path) -> None:
    looking = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    with Kernel(tmp_path).started() as kernel:
        assert kernel.run(CLASSES) == []

        def interrupt() -> None:
            wait_for(lambda: sum(trial.epochs > 1 for trial in looking.trials("net")) == 2, seconds=SECONDS)
            kernel.interrupt()

        interrupting = threading.Thread(target=interrupt)
        interrupting.start()
        interrupted = kernel.run(RUN)
        interrupting.join()
        before = looking.trials("net")

        (tmp_path / "fast").touch()
        went_on = kernel.run(RUN)
        again = kernel.run(RUN)
        best = kernel.run("study.best(1)[0].load_model().hparams['lr'] == study.best(1)[0].params['lr']")
        table = kernel.run("study.best(3)")
        figure = kernel.run("study.plot.history()")

    [error] = [one for one in interrupted if one.output_type == "error"]
    assert (error.ename, error.evalue) == (
        "KeyboardInterrupt",
        "study net was interrupted: the same call continues it",
    )
    [live] = html_of(interrupted)  # one output, however often it was replaced
    assert "net: 0 of 3 trials" in live
    assert [trial.state for trial in before] == ["idle", "idle"]
    assert all(1 < trial.epochs < 20 for trial in before)

    after = looking.trials("net")
    assert [(trial.state, trial.epochs) for trial in after] == [("complete", 20)] * 3
    assert [trial.attempts for trial in after] == [2, 2, 1]
    live, shown = html_of(went_on)
    assert "3 of 3 trials" in live
    assert "3 complete, 0 pruned, 0 failed" in live
    assert "net: done" in shown
    assert all("<script" not in html for html in (live, shown))
    assert "3 of 3 trials" in html_of(again)[0]
    assert best[0].data["text/plain"] == "True"
    assert html_of(table)[0].count("<tr") == 4
    assert "application/vnd.plotly.v1+json" in figure[0].data


def test_on_frame_replaces_the_table(tmp_path: Path) -> None:
    (tmp_path / "fast").touch()
    call = RUN.replace("trials=3", "trials=1, on_frame=lambda counts: print(counts.ended)").replace("\nstudy\n", "")
    with Kernel(tmp_path).started() as kernel:
        kernel.run(CLASSES)
        outputs = kernel.run(call)

    assert {(one.output_type, one.get("name")) for one in outputs} == {("stream", "stdout")}, outputs
    assert "".join(one.text for one in outputs).split()[-1] == "1"


def test_the_notebook_of_the_documentation_gives_the_outputs_that_are_written() -> None:
    done = subprocess.run(
        [sys.executable, str(NOTEBOOKS / "execute.py"), "--check"], capture_output=True, text=True, timeout=1500
    )

    assert done.returncode == 0, done.stderr


def test_the_notebook_opens_with_its_outputs_and_is_small() -> None:
    path = NOTEBOOKS / "first_search.ipynb"
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)

    outputs = [one for cell in notebook.cells for one in cell.get("outputs", ())]
    figures = [one.data for one in outputs if "application/vnd.plotly.v1+json" in one.get("data", {})]

    assert path.stat().st_size < 300_000
    assert len(figures) >= 4
    assert all("image/png" in data for data in figures)
    assert not [one for one in outputs if one.output_type in ("error", "stream")]
    assert "24 of 24 trials" in str(outputs)


@pytest.mark.parametrize("text", ["/tmp/", "/root/", "/home/", "Traceback"])
def test_the_notebook_names_no_place_of_the_machine_that_ran_it(text: str) -> None:
    assert text not in (NOTEBOOKS / "first_search.ipynb").read_text(encoding="utf-8")
