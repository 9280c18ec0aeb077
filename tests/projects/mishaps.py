"""Models that fail as often as requested, and then train normally."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Annotated, Literal

import torch
from torch import Tensor

from hpo.space import Choice, Float
from projects.nets import Batch, Line

Mishap = Literal["learn", "killed", "exit", "memory", "eat", "raise", "hang", "hang in setup"]


class Unlucky(Line):
    """Something happens in epoch `at`, counted from 0, in the first `times` attempts; an epoch lasts for `seconds`.

    Args:
        folder: where attempts leave a mark, so that the next one knows that there was one.
    """

    def __init__(
        self,
        folder: str,
        does: Annotated[Mishap, Choice()] = "learn",
        lr: float = 1e-2,
        seconds: float = 0.0,
        at: int = 0,
        times: int = 1,
    ) -> None:
        super().__init__(lr=lr, seconds=seconds)
        self.save_hyperparameters()
        self.folder = Path(folder)
        self.does = does
        self.at = at
        self.times = times
        if does == "hang in setup" and self._is_time():
            time.sleep(600)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        is_due = batch_idx == 1 and self.current_epoch == self.at
        if is_due and self.does != "learn" and self._is_time():
            match self.does:
                case "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "exit":
                    os._exit(3)
                case "memory":
                    raise MemoryError
                case "eat":
                    self._eaten = [b"x" * (64 << 20) for _ in range(200)]
                case "raise":
                    raise RuntimeError("it did not go well")
                case "hang":
                    time.sleep(600)
        return super().training_step(batch, batch_idx)

    def _is_time(self) -> bool:
        mark = self.folder / self.does
        happened = mark.stat().st_size if mark.exists() else 0
        if happened >= self.times:
            return False
        with mark.open("a", encoding="ascii") as file:
            file.write(".")
        return True


class Relapsing(Line):
    """Is killed in the fourth epoch of its first attempt; every later attempt hangs before it begins.

    Args:
        folder: where the first attempt leaves a mark.
    """

    def __init__(self, folder: str, lr: Annotated[float, Float(1e-3, 1e-1, log=True)] = 1e-2) -> None:
        super().__init__(lr=lr)
        self.save_hyperparameters()
        self._mark = Path(folder) / "begun"
        if self._mark.exists():
            time.sleep(600)

    def on_train_epoch_start(self) -> None:
        if self.current_epoch == 3:
            self._mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Babbling(Line):
    """Says something else than it should to its worker, in the second epoch."""

    def __init__(
        self,
        says: Annotated[Literal["nothing", "garbage", "no message", "odd epoch", "endless line"], Choice()] = "nothing",
        lr: Annotated[float, Float(1e-3, 1e-1, log=True)] = 1e-2,
    ) -> None:
        super().__init__(lr=lr)
        self.says = says

    def on_train_epoch_start(self) -> None:
        if self.current_epoch == 0 or self.says == "nothing":
            return
        lines = {
            "garbage": b"\x00\xff what a mess\n",
            "no message": b"[1, 2, 3]\n",
            "odd epoch": b'{"kind":"epoch","epoch":"two","value":0.1,"metrics":{},"seconds":1.0}\n',
            "endless line": b"x" * (70 << 20),
        }
        for descriptor in list(Path("/proc/self/fd").iterdir()):
            with contextlib.suppress(OSError):
                if descriptor.readlink().name.startswith("socket:"):
                    with open(int(descriptor.name), "wb", closefd=False) as channel:
                        channel.write(lines[self.says])


class Odd(Line):
    """Logs values, and raises errors, that are hard to keep."""

    def __init__(
        self,
        logs: Annotated[
            Literal["nan", "inf", "-inf", "whole", "truth", "half", "text", "pair", "huge error", "odd error", "fine"],
            Choice(),
        ] = "fine",
        lr: Annotated[float, Float(1e-3, 1e-1, log=True)] = 1e-2,
    ) -> None:
        super().__init__(lr=lr)
        self.logs = logs

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loss = self._loss(batch)
        self.log("noise", loss * float("nan"))
        match self.logs:
            case "nan" | "inf" | "-inf":
                loss = torch.tensor(float(self.logs))
            case "whole":
                loss = torch.tensor(3)
            case "truth":
                loss = torch.tensor(True)
            case "half":
                loss = loss.to(torch.bfloat16)
            case "text":
                loss = "low"  # type: ignore[assignment]
            case "pair":
                loss = torch.tensor([1.0, 2.0])
            case "huge error":
                raise RuntimeError("much " * 1_000_000 + "at the end")
            case "odd error":
                raise RuntimeError("a zero byte \0 and half a character \ud83d at the end")
        self.log("val_loss", loss)


class Closing(Line):
    """Closes all files of its process in the second epoch of its first attempt, as code that becomes a daemon does.

    Args:
        folder: where the first attempt of each leaves the id of its process.
    """

    def __init__(
        self, folder: str, then: Annotated[Literal["trains on", "waits", "forks"], Choice()] = "trains on"
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self._mark = Path(folder) / then
        self.then = then

    def on_train_epoch_start(self) -> None:
        if self.current_epoch != 1 or self._mark.exists():
            return
        if self.then == "forks" and os.fork():
            os._exit(0)
        self._mark.write_text(str(os.getpid()), encoding="ascii")
        os.closerange(3, 4096)
        if self.then == "waits":
            time.sleep(600)


class Daemons(Line):
    """Starts a program in the second epoch that becomes a daemon, of a session of its own and with init as its parent.

    Args:
        folder: where the program writes its number.
        execs: start another program; otherwise a copy of this process is the daemon.
    """

    def __init__(
        self, folder: str, lr: Annotated[float, Float(1e-3, 1e-1, log=True)] = 1e-2, *, execs: bool = True
    ) -> None:
        super().__init__(lr=lr)
        self.save_hyperparameters()
        self._mark = Path(folder) / f"daemon-{execs}"
        self.execs = execs

    def on_train_epoch_start(self) -> None:
        if self.current_epoch != 1:
            return
        first = os.fork()
        if first:
            os.waitpid(first, 0)
            return
        os.setsid()
        if os.fork():
            os._exit(0)
        self._mark.write_text(str(os.getpid()), encoding="ascii")
        os.closerange(0, 4096)
        if self.execs:
            os.execlp("sleep", "sleep", "600")
        time.sleep(600)
