"""The jobs that a worker gives to its processes, and the names of the files that both sides use.

Jobs are sent as JSON lines. Trial processes read them, so nothing here imports pydantic or a database library.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, get_args

from hpo.loading import OWN_LOADERS as OWN_LOADERS
from hpo.study.plan import TRAIN

BEST_CHECKPOINT = "best.ckpt"  # the weights after the best epoch
LAST_CHECKPOINT, PREVIOUS_CHECKPOINT = "last.ckpt", "previous.ckpt"
# The state after the last epochs: when the newer file cannot be read, an attempt resumes from the older one.
RESUME_CHECKPOINTS = (LAST_CHECKPOINT, PREVIOUS_CHECKPOINT)
PREPROCESSING = "preprocessing.npz"  # what the data module has fitted, beside the weights after the best epoch
TELLS_STACKS = getattr(signal, "SIGRTMIN", signal.SIGUSR2)  # asks a trial's process where it is
LOG, CONFIG = "log.txt", "config.json"
SEED_STEP = 0x9E3779B9  # between the seeds of a trial's repeats: that of Weyl's sequence, 2 ** 32 / the golden ratio


def training_folder(directory: str | Path, number: int) -> str:
    """Of one of a trial's trainings, on a fold or with another seed; the first one's is the trial's."""
    return str(directory) if number == 1 else str(Path(directory) / f"training-{number}")


@dataclass(frozen=True)
class Call:
    """A class by its import path, and the arguments of its constructor."""

    label: str  # package.module:Class
    arguments: dict[str, Any] = field(default_factory=dict)  # plain values by name


class Place(NamedTuple):
    """What jobs have in common that may follow each other in one process."""

    project: str
    study: str
    accelerator: str
    devices: tuple[str, ...]
    threads: int


@dataclass(frozen=True)
class TrialJob:
    """Train one trial, or one rank of it."""

    kind: ClassVar[str] = "trial"
    trial: int  # its number within the study
    study: str  # name
    project: str  # the folder that classes are imported from
    model: Call
    data: Call
    metric: str  # the leading objective, as the model logs it
    epochs: int  # the maximum, in its unit
    seed: int  # of weights, order and augmentation
    further: list[str] = field(default_factory=list)  # other objectives, logged or measured
    unit: str = "epoch"  # a `Unit`, of its length and of its reports
    trained_on: str = TRAIN  # or also on the validation part, of `hpo.study.plan`
    training: int = 1  # the first to do of the trial's trainings, on folds or with seeds
    trainings: int = 1  # the last to do
    folds: int = 0  # of the data; 0 when the trainings differ in their seeds
    precision: Any = "32-true"  # Lightning's name
    strategy: str = "auto"  # of several devices: auto, ddp, ddp_find_unused_parameters_true, fsdp
    use_distributed_sampler: bool = True  # divide the data among the ranks
    executor: Literal["auto", "lean", "lightning"] = "auto"
    cuda_graphs: bool = False  # replay steps of the lean executor as CUDA graphs
    logger: Literal["csv", "tensorboard", "none"] = "csv"
    track: list[str] = field(default_factory=list)  # names of trackers
    credentials: dict[str, str] = field(default_factory=dict, repr=False)  # variables by which these log in
    accelerator: str = "cpu"  # cpu or gpu
    devices: list[str] = field(default_factory=list)  # in the form of CUDA_VISIBLE_DEVICES; empty on the CPU
    threads: int = 1  # cores of this process
    ranks: int = 1  # processes that train the trial together
    rank: int = 0  # of this one
    rendezvous: str | None = None  # the file through which the ranks meet
    directory: str | None = None  # for checkpoints and the log; nothing is kept without it
    root: str | None = None  # the folder for files of the logger and of the model's callbacks
    resume: list[str] = field(default_factory=list)  # checkpoints to resume from: the first readable one is used
    keeps_last: bool = False  # write the state after the last epoch, too
    batches: int | None = None  # an epoch, to try it out and to time it; all by default
    trainer: dict[str, Any] = field(default_factory=dict)  # the study file's options of the Trainer
    probed: list[str] = field(default_factory=list)  # names of constraints that are checked before it trains
    is_reusable: bool = False  # the process may do another job of the same place

    def of_training(self, number: int) -> TrialJob:
        """The job of one of the trial's trainings, each in a folder of its own."""
        if number == 1:
            return self
        folders: dict[str, Any] = {
            name: training_folder(folder, number)
            for name in ("directory", "root")
            if (folder := getattr(self, name)) is not None
        }
        resume = [training_folder(Path(path).parent, number) + f"/{Path(path).name}" for path in self.resume]
        seed = self.seed if self.folds else (self.seed + SEED_STEP * (number - 1)) % 2**32
        return replace(self, training=number, seed=seed, resume=resume, **folders)

    @property
    def log(self) -> str | None:
        """The file for the trial's output."""
        return None if self.directory is None else str(Path(self.directory) / LOG)

    @property
    def place(self) -> Place | None:
        """Equal for jobs that may follow each other in one process; None if the process is used once."""
        if not self.is_reusable:
            return None
        return Place(self.project, self.study, self.accelerator, tuple(self.devices), self.threads)


@dataclass(frozen=True)
class NestedObject:
    """An object that is an argument of another one, `{class: package.module:Class, ...}`."""

    path: list[str | int]  # in the study file
    label: str  # package.module:Class
    names: list[str]  # of its arguments


@dataclass(frozen=True)
class StudyJob:
    """Import a study's classes, report their search spaces, and then fork its trials."""

    kind: ClassVar[str] = "study"
    project: str  # the folder that classes are imported from
    classes: dict[str, str]  # import paths by owner: model, data, or any
    by_value: dict[str, Any] = field(default_factory=dict)  # of a script or notebook, from hpo.study.by_value
    objects: list[NestedObject] = field(default_factory=list)  # whose classes are checked, and imported once for all

    @property
    def place(self) -> None:
        return None


@dataclass(frozen=True)
class DataJob:
    """Describe a study's data, and draw it."""

    kind: ClassVar[str] = "data"
    project: str  # the folder that classes are imported from
    data: Call
    seed: int
    title: str  # of the picture
    picture: str  # file to write; none when empty

    @property
    def place(self) -> None:
        return None


@dataclass(frozen=True)
class TrainedModel:
    """A trial's model, alone or in an ensemble, whose outputs are averaged."""

    config: dict[str, Any]  # of the trial
    checkpoint: str  # of its best epoch
    weight: int = 1  # in the average


@dataclass(frozen=True)
class EvaluationJob:
    """Evaluate trained models together on one part of their data."""

    kind: ClassVar[str] = "evaluation"
    project: str  # the folder that classes are imported from
    models: list[TrainedModel]
    part: Literal["validation", "test"]
    metric: str  # the objective, as the models log it
    seed: int
    precision: Any = "32-true"
    accelerator: str = "cpu"
    devices: list[str] = field(default_factory=list)
    threads: int = 1
    checks_only: bool = False  # only count the batches of the part
    explains: bool = False  # also show mistakes, and why the models decide so
    selects: bool = False  # instead, choose some of the models for an ensemble

    @property
    def place(self) -> None:
        return None


@dataclass(frozen=True)
class PredictJob:
    """Predict new data with trained models together, and write a CSV."""

    kind: ClassVar[str] = "predict"
    project: str  # the folder that classes are imported from
    models: list[TrainedModel]
    source: str  # the new data
    output: str  # the file to write
    proba: bool = False  # with the probabilities of classes

    @property
    def place(self) -> None:
        return None


@dataclass(frozen=True)
class ExportJob:
    """Write trained models, together, in a form that runs without this package."""

    kind: ClassVar[str] = "export"
    project: str  # the folder that classes are imported from
    models: list[TrainedModel]
    format: str  # onnx, torch-export or safetensors
    folder: str  # an empty one, to write to
    about: dict[str, Any]  # what is known of the trial, for facts.json: study, trial, score, ...
    baseline: str = ""  # the simple model of this name instead, of the same data

    @property
    def place(self) -> None:
        return None


@dataclass(frozen=True)
class WeightsJob:
    """Compare the weights in two checkpoints of one model."""

    kind: ClassVar[str] = "weights"
    project: str  # the folder that classes are imported from
    one: str  # file
    other: str  # file

    @property
    def place(self) -> None:
        return None


Job = TrialJob | StudyJob | DataJob | EvaluationJob | PredictJob | WeightsJob | ExportJob


def job_message(job: Job) -> dict[str, Any]:
    """The job as a message."""
    return {"kind": job.kind, **asdict(job)}


def job_of(message: Mapping[str, Any]) -> Job:
    """The job of a message that `job_message` made."""
    fields = {name: value for name, value in message.items() if name != "kind"}
    for name in ("model", "data"):
        if name in fields:
            fields[name] = Call(**fields[name])
    if "models" in fields:
        fields["models"] = [TrainedModel(**found) for found in fields["models"]]
    if "objects" in fields:
        fields["objects"] = [NestedObject(**found) for found in fields["objects"]]
    kinds: dict[str, type[Job]] = {kind.kind: kind for kind in get_args(Job)}
    return kinds[message["kind"]](**fields)
