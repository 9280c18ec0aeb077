"""The `trainer:` section of a study file: the options of Lightning's Trainer that make sense within a trial."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from hpo.loading import is_object
from hpo.study.section import PositiveInt, Section


def _batches(value: Any) -> Any:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if value is None or is_count or (isinstance(value, float) and 0 < value <= 1):
        return value
    raise ValueError("should be a whole number of batches, such as 100, or a share of them up to 1.0, such as 0.25")


Batches = Annotated[Any, BeforeValidator(_batches)]


class TrainerOptions(Section):
    """Options of Lightning's Trainer, by its own names; a whole number of batches, or a share of all of them.

    Attributes:
        val_check_interval: batches, or a share of an epoch, after which is validated; the epoch's value is the last.
            With `steps`, batches of all epochs.
        check_val_every_n_epoch: epochs after which is validated; null counts the batches of all epochs.
        callbacks: by class, `{class: package.module:Class, ...}`, with the arguments of its constructor.
    """

    accumulate_grad_batches: PositiveInt = 1
    gradient_clip_val: Annotated[float, Field(ge=0)] | None = None
    gradient_clip_algorithm: Literal["norm", "value"] | None = None
    limit_train_batches: Batches = None
    limit_val_batches: Batches = None
    val_check_interval: Batches = None
    check_val_every_n_epoch: PositiveInt | None = 1
    deterministic: bool | Literal["warn"] = False
    callbacks: tuple[dict[str, Any], ...] = ()

    @field_validator("callbacks", mode="before")
    @classmethod
    def _by_class(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise ValueError("is a list of classes: [{class: package.module:Class, ...}]")
        named = [{"class": item} if isinstance(item, str) else item for item in value]
        for item in named:
            if not is_object(item):
                raise ValueError(f"{item!r} does not name a class: write it as {{class: package.module:Class, ...}}")
        return named

    @property
    def given(self) -> dict[str, Any]:
        """The options that differ from Lightning's own."""
        return self.model_dump(exclude_defaults=True)


# Keys of Lightning's Trainer that a study sets otherwise: which key of the study file does it.
SET_ELSEWHERE = {
    "max_epochs": "epochs: 20",
    "min_epochs": "epochs: 20",
    "max_steps": "steps: 2000",
    "min_steps": "steps: 2000",
    "max_time": "budget: {trial_minutes: 30}",
    "devices": "resources: {devices_per_trial: 2}",
    "num_nodes": "resources: {devices_per_trial: 2}, all of one machine",
    "accelerator": "resources: {accelerator: gpu}",
    "strategy": "resources: {strategy: ddp}",
    "precision": "resources: {precision: bf16}",
    "logger": "logger: csv",
    "enable_checkpointing": "keep: {checkpoints: 5}",
    "default_root_dir": "--artifacts, or HPO_ARTIFACTS",
    "fast_dev_run": "'hpo check', which tries one batch",
    "overfit_batches": "limit_train_batches and limit_val_batches",
    "num_sanity_val_steps": "'hpo check', which tries one batch",
}
# Keys that cannot be combined with a search, and why.
NOT_IN_A_TRIAL = {
    "enable_progress_bar": "trials write into their logs, where there is no terminal",
    "enable_model_summary": "'hpo check' counts the parameters",
    "profiler": "profile the model outside of a search",
    "barebones": "trials report what the model logs",
    "plugins": "trials choose them",
    "detect_anomaly": "find the cause outside of a search",
    "limit_test_batches": "a trial trains and validates",
    "limit_predict_batches": "a trial trains and validates",
}
