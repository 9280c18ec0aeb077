"""The content of a study file as frozen, validated data; `study_file.py` reads the file, with line numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from hpo.study.budget import Budget, FrontTarget
from hpo.study.constraints import Constraint, constraints_of, parse
from hpo.study.families import FAMILIES
from hpo.study.job import OWN_LOADERS
from hpo.study.length import Unit
from hpo.study.naming import LONGEST_NAME, NAME_PATTERN, too_long_for_a_folder
from hpo.study.notify import Targets
from hpo.study.objectives import Objectives
from hpo.study.python_values import as_in_a_file, direction_of
from hpo.study.resources import Resources
from hpo.study.section import PositiveFloat, PositiveInt, Section
from hpo.study.states import AttemptEnd, Direction
from hpo.study.trainer_options import TrainerOptions

Scalar = bool | int | float | str | None
Count = Annotated[int, Field(ge=0, strict=True)]

AUTO: Literal["auto"] = "auto"
DEFAULT_EPOCHS = 100  # at most: early stopping and the pruner end most trials before
VALIDATIONS = 20  # of a trial whose length is given in steps, unless the study file says how often


class ClassSpec(Section):
    """A class by import path, with constructor arguments: `models.cnn:CNN`, or `{class: models.cnn:CNN, depth: 3}`."""

    label: str = Field(alias="class", pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    arguments: dict[str, Any] = Field(default_factory=dict)


class AlgorithmSpec(Section):
    """A sampler or pruner: by our name for it, or by class; everything else is its options."""

    name: str | None = None
    label: str | None = Field(default=None, alias="class")
    options: dict[str, Any] = Field(default_factory=dict)


class FurtherObjective(Section):
    """Another metric to optimise: one that the model logs, or one of MEASURED."""

    metric: str = Field(min_length=1)
    direction: Direction


class Objective(Section):
    """The metric to optimise, as the model logs it, and those besides it.

    A study file writes several as a list: `[{metric: val_accuracy, direction: maximize}, parameters]`.
    """

    metric: str = Field(min_length=1)
    direction: Direction
    further: tuple[FurtherObjective, ...] = ()
    # how the sampler treats a trial that failed by a metric of NaN or infinity: as the worst, as infeasible, not at all
    diverged: Literal["worst", "infeasible", "ignore"] = "worst"
    # and one that raised an error, hung, or had no epoch within its time
    failed: Literal["infeasible", "worst", "ignore"] = "infeasible"


class EarlyStopping(Section):
    """End a trial whose objective has not improved by more than `min_delta` for `patience` epochs, or validations.

    By itself, it waits for a third of those so far, at least ten, and for an improvement of more than the noise of the
    curve; and it leaves trials alone whose learning rate follows a plan, since they improve most at its end.
    """

    patience: PositiveInt | Literal["auto"] = AUTO
    min_delta: Annotated[float, Field(ge=0)] | Literal["auto"] = AUTO

    @model_validator(mode="before")
    @classmethod
    def _of_a_given_patience(cls, value: Any) -> Any:
        is_given = isinstance(value, dict) and value.get("patience", AUTO) != AUTO
        return {"min_delta": 0.0, **value} if is_given else value

    @property
    def is_auto(self) -> bool:
        return self.patience == AUTO


class LengthRange(Section):
    """The number of epochs or of steps, when it is searched."""

    low: PositiveInt
    high: PositiveInt
    log: bool = False

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self


class Retries(Section):
    """How often a trial is retried, by how its attempt ended.

    Attributes:
        accumulate: after memory ran out, the next attempt takes batches of half the size, and twice as many a step.
    """

    crash: Count = 2
    oom: Count = 1
    preempted: Count = 100
    stalled: Count = 1
    overtime: Count = 0
    error: Count = 0
    accumulate: bool = False

    def of(self, end: AttemptEnd) -> int:
        """How many attempts of a trial that end in this way are retried."""
        return int(getattr(self, end, 0))


class Keep(Section):
    """What is kept in the artifact folder when a trial has ended.

    Attributes:
        checkpoints: of how many trials, the best ones, also of those that were pruned.
        last: of these also the state after their last epoch, from which their training can go on.
    """

    checkpoints: Count = 5
    last: bool = False


Trainings = Annotated[int, Field(ge=2, le=100, strict=True)]
ConstraintText = Annotated[str, AfterValidator(lambda text: parse(text).text)]  # `peak_memory <= 8 GiB`


class StudySpec(Section):
    """The content of a study file: `StudySpec(model=MyNet, data=MyData, objective="val_loss", ...)`.

    Classes may stand where a file names import paths, and instances of `Float`, `Int` and `Choice` where it describes
    ranges. The constructor raises pydantic's ValidationError; `hpo.run` and `hpo.submit`, which take the same keys,
    raise SpecError.
    """

    study: str = Field(min_length=1, max_length=LONGEST_NAME, pattern=NAME_PATTERN)
    model: ClassSpec | tuple[ClassSpec, ...]  # several: which one is a parameter of the search
    data: ClassSpec = ClassSpec(label=OWN_LOADERS)
    objective: Objective
    constraints: tuple[ConstraintText, ...] = ()  # on what a trial measures and logs: hpo.study.constraints
    space: dict[str, Any] = Field(default_factory=dict)
    epochs: PositiveInt | LengthRange | None = DEFAULT_EPOCHS  # None with `steps`
    steps: PositiveInt | LengthRange | None = None
    first_trial: Literal["defaults", "portfolio", "sampled"] = "defaults"
    points: tuple[dict[str, Any], ...] = ()  # that are tried first, each once
    start_from: tuple[str, ...] = ()  # earlier studies, of this store or as `study@URL`
    sampler: AlgorithmSpec = AlgorithmSpec(name="auto")
    pruner: AlgorithmSpec = AlgorithmSpec(name="asha")
    early_stopping: EarlyStopping | None = EarlyStopping()
    folds: Trainings | None = None  # a trial is judged by the mean over so many folds of the data
    repeats: Trainings | None = None  # or by that over so many trainings with other seeds
    # of a trial whose objective became NaN or infinite after good epochs: keep its best epoch, or fail the trial
    diverged: Literal["keep", "fail"] = "keep"
    budget: Budget = Budget()
    resources: Resources = Resources()
    trainer: TrainerOptions = TrainerOptions()
    executor: Literal["auto", "lean", "lightning"] = "auto"
    cuda_graphs: bool = False  # replay steps as CUDA graphs on a GPU, where that gives the same
    logger: Literal["csv", "tensorboard", "none"] = "csv"
    track: tuple[Literal["mlflow", "tensorboard", "wandb"], ...] = ()  # what a team has: told of each epoch
    reuse_processes: bool = True
    retries: Retries = Retries()
    priority: PositiveFloat = 1.0
    keep: Keep = Keep()
    notify: Targets = ()  # who is told of it: hpo.study.notify
    seed: Annotated[int, Field(ge=0, lt=2**32, strict=True)] = 0

    @field_validator("study")
    @classmethod
    def _names_a_folder(cls, value: str) -> str:
        if (problem := too_long_for_a_folder(value)) is not None:
            raise ValueError(f"the name {problem}")
        return value

    @field_validator("model", "data", mode="before")
    @classmethod
    def _class_or_label(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, list | tuple) and info.field_name == "model":
            if len(value) < 2:
                raise ValueError("is a list of at least two classes, or one class")
            return tuple(cls._class_or_label(one, info) for one in value)
        if value is None and info.field_name == "data":
            return {"class": OWN_LOADERS}
        if isinstance(value, str):
            return {"class": value}
        if isinstance(value, dict) and "label" not in value:
            rest = {key: item for key, item in value.items() if key != "class"}
            return {"class": value["class"], "arguments": rest} if "class" in value else {"arguments": rest}
        return value

    @field_validator("objective", mode="before")
    @classmethod
    def _led_by_the_first(cls, value: Any) -> Any:
        if not isinstance(value, list):
            return {"metric": value, "direction": direction_of(value)} if isinstance(value, str) else value
        if not value:
            raise ValueError("is an empty list: name a metric that the model logs, such as val_loss")
        first, *further = map(cls._led_by_the_first, value)
        return {**first, "further": further} if further and isinstance(first, dict) else first

    @field_validator("constraints", "track", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return () if value is None else [value] if isinstance(value, str) else value

    @field_validator("sampler", "pruner", mode="before")
    @classmethod
    def _name_or_options(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str):
            return {"class" if ":" in value else "name": value}
        if value is None and info.field_name == "pruner":
            return {"name": "none"}
        if isinstance(value, dict) and "options" not in value:
            options = {key: item for key, item in value.items() if key not in ("name", "class")}
            if "name" in value and "class" in value:
                raise ValueError("takes either 'name' or 'class', not both")
            if "class" in value:
                return {"class": value["class"], "options": options}
            default = cls.model_fields[str(info.field_name)].default.name
            return {"name": value.get("name", default), "options": options}
        return value

    @field_validator("early_stopping", mode="before")
    @classmethod
    def _auto_or_none(cls, value: Any) -> Any:
        return {AUTO: {}, "none": None}.get(value, value) if isinstance(value, str) else value

    @field_validator("points", "start_from", mode="before")
    @classmethod
    def _list(cls, value: Any, info: ValidationInfo) -> Any:
        if info.field_name == "start_from" and isinstance(value, str):
            return (value,)
        kind, example = (Mapping, "{lr: 1.0e-3}") if info.field_name == "points" else (str, "digits-dnn")
        if not isinstance(value, list | tuple) or not all(isinstance(one, kind) for one in value):
            raise ValueError(f"should be a list, such as [{example}]")
        return tuple(value)

    @field_validator("space", mode="before")
    @classmethod
    def _empty_space(cls, value: Any) -> Any:
        return {} if value is None else value

    @model_validator(mode="before")
    @classmethod
    def _in_one_unit(cls, value: Any) -> Any:
        is_in_steps = isinstance(value, dict) and value.get("steps") is not None
        return {"epochs": None, **value} if is_in_steps else value

    @model_validator(mode="before")
    @classmethod
    def _families(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.get("model") != AUTO:
            return value
        data = value.get("data")
        label = str(data.get("class") if isinstance(data, dict) else data)
        if label not in FAMILIES:
            raise ValueError(f"model: auto knows models for {', '.join(FAMILIES)}: for other data, name a model")
        models = FAMILIES[label]
        return {**value, "model": models[0] if len(models) == 1 else list(models)}

    @field_validator("epochs", "steps", mode="before")
    @classmethod
    def _every_epoch(cls, value: Any) -> Any:
        is_every = isinstance(value, dict) and value.get("step") == 1  # from an hpo.Int
        return {key: item for key, item in value.items() if key != "step"} if is_every else value

    @field_validator("*", mode="before")  # the last of these validators is the first to run
    @classmethod
    def _as_in_a_file(cls, value: Any) -> Any:
        return value if isinstance(value, Section) else as_in_a_file(value)

    @property
    def objectives(self) -> Objectives:
        """All objectives, the leading one first."""
        first, further, target = self.objective, self.objective.further, self.budget.target
        metrics = (first.metric, *(one.metric for one in further))
        reference = None
        if isinstance(target, FrontTarget):
            reference = tuple(target.reference[metric] for metric in metrics)
        return Objectives((first.direction, *(one.direction for one in further)), metrics, reference)

    @property
    def models(self) -> tuple[ClassSpec, ...]:
        """The model, or all that the study chooses among."""
        return self.model if isinstance(self.model, tuple) else (self.model,)

    @property
    def classes(self) -> dict[str, str]:
        """The import paths of its classes: of its `model`, of others as `model 2`, `model 3`, and of its `data`."""
        labels = {"model" if not place else f"model {place + 1}": one.label for place, one in enumerate(self.models)}
        return {**labels, "data": self.data.label}

    @property
    def model_in_words(self) -> str:
        """`models.dnn:DNN`, or `models.dnn:DNN or models.cnn:CNN`."""
        return " or ".join(one.label for one in self.models)

    @property
    def limits_of_trials(self) -> tuple[Constraint, ...]:
        """Its `constraints`, read."""
        return constraints_of(self.constraints)

    @property
    def judged_by(self) -> dict[str, int]:
        """The `folds` or `repeats` that judge a trial, as in its configuration; empty where it is trained once."""
        counts = {"folds": self.folds, "repeats": self.repeats}
        return {name: count for name, count in counts.items() if count}

    @property
    def trainings(self) -> int:
        """How often a trial is trained: once, on each fold, or with each seed."""
        return self.folds or self.repeats or 1

    @property
    def unit(self) -> Unit:
        """What the length of its trials is counted in."""
        return Unit.EPOCH if self.steps is None else Unit.STEP

    @property
    def length(self) -> int | LengthRange:
        """Of a trial, in the study's unit."""
        found = self.epochs if self.steps is None else self.steps
        assert found is not None  # `contradictions` refuses it
        return found

    @property
    def max_epochs(self) -> int:
        """The largest length of a trial, in the study's unit."""
        return self.length.high if isinstance(self.length, LengthRange) else self.length

    @property
    def interval(self) -> int:
        """How far apart a trial's reports are, in the study's unit: an epoch, or the steps between validations."""
        if self.unit == Unit.EPOCH:
            return 1
        given = self.trainer.val_check_interval
        return int(given) if given is not None else max(1, self.max_epochs // VALIDATIONS)

    @property
    def trainer_options(self) -> dict[str, Any]:
        """The options of the Trainer that differ from Lightning's own."""
        if self.unit == Unit.EPOCH:
            return self.trainer.given
        return {**self.trainer.given, "val_check_interval": self.interval, "check_val_every_n_epoch": None}
