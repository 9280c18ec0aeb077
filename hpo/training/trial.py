"""One trial, or one rank of it: builds the data and the model, trains, and reports to the worker as it goes."""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from hpo.errors import HpoError
from hpo.ipc.channel import Channel
from hpo.ipc.messages import LOST_RANK, OUT_OF_MEMORY, UNWRITABLE, Done, Failed, Started, Trained, Warned
from hpo.loading import load_class
from hpo.study.artifacts import sha256_of
from hpo.study.job import BEST_CHECKPOINT, TELLS_STACKS, TrialJob
from hpo.study.length import Unit
from hpo.study.writable import disk_error, error_in_words
from hpo.training.arguments import given_by_data, plain, recorded, resolved_defaults
from hpo.training.both_parts import as_trained
from hpo.training.build import build, complete_arguments
from hpo.training.checkpoint import RestoringCheckpointIO
from hpo.training.devices import join_ranks, precision_remark, prepare_device, trainer_devices
from hpo.training.executor import choose_executor, use
from hpo.training.loggers import make_logger
from hpo.training.lost_rank import is_lost_rank
from hpo.training.measure import Measure
from hpo.training.out_of_memory import is_out_of_memory
from hpo.training.output import TrialOutput
from hpo.training.own_loaders import OwnLoaders
from hpo.training.peak_memory import restart_peak
from hpo.training.probing import Probing, RefusedError
from hpo.training.process_state import ProcessState
from hpo.training.report import Report
from hpo.training.resume import find_saved
from hpo.training.scored_weights import ScoredWeights
from hpo.training.step_limit import StepLimit
from hpo.training.trackers import Trackers
from hpo.training.trainer_options import trainer_options
from hpo.training.worker_connection import WorkerConnection


def run_jobs(job: TrialJob, channel: Channel) -> None:
    """Train the trial of the job, and then those of further jobs, while the process is clean.

    Every outcome, also a failure, is reported to the worker.
    """
    worker = WorkerConnection(channel)
    process_state: ProcessState | None = None
    kept: list[Any] = []  # the data module of the previous trial
    output = TrialOutput(lambda text: worker.send(Warned(text)))
    # Into the log, whichever that is: the worker asks for it when there are no steps any more.
    faulthandler.register(TELLS_STACKS, file=2, all_threads=True)
    while True:
        worker.trial = job.trial
        try:
            output.redirect(job.log)
            prepare_device(job)
            restart_peak()
            classes = _load(job)
            # After the imports, whose changes are the same for all trials.
            process_state = process_state or ProcessState(Path(job.project))
            _train_all(job, worker, classes, kept)
        except RefusedError:
            output.flush()
            worker.send(Done(takes_another=False))
            break
        except BaseException as error:  # of any kind: it is reported to the worker
            failed = _failed(error, job)
            sys.stdout.write(f"{failed.error.rstrip()}\n")
            output.flush()
            worker.send(failed)
            break
        changed = _changed(process_state) if job.is_reusable else ""
        if changed:
            sys.stdout.write(f"process: not reused for another trial, because {changed}\n")
        takes_another = job.is_reusable and not changed
        output.flush()
        worker.send(Done(takes_another, _hash_of_best(job)))
        if not takes_another:
            break
        output.redirect(None)
        process_state.tidy()  # while the worker records the end, and samples the next trial
        job = worker.next_job()
    # Without the interpreter's clean-up: nothing is left to save, and native libraries may hang in it.
    os._exit(0)


def _changed(process_state: ProcessState) -> str:
    """What is not as before the trial; an error of the comparison is no error of the trial, which has ended well."""
    try:
        return process_state.changed()
    except Exception as error:
        return f"its state cannot be read ({type(error).__name__}: {error})"


def _hash_of_best(job: TrialJob) -> str | None:
    """The hash of the best weights' file, also of one that an earlier attempt has written."""
    if job.directory is None or job.rank != 0:
        return None
    with contextlib.suppress(OSError):  # there is none
        return sha256_of(Path(job.directory) / BEST_CHECKPOINT)
    return None


def _load(job: TrialJob) -> tuple[type[Any], type[Any]]:
    """The classes of the data and of the model."""
    project = Path(job.project)
    with _errors_of("data"):
        data_class = load_class(job.data.label, project)
    return data_class, load_class(job.model.label, project)


def _train_all(job: TrialJob, worker: WorkerConnection, classes: tuple[type[Any], type[Any]], kept: list[Any]) -> None:
    """The trial's trainings, one after the other, while the worker wants another."""
    for number in range(job.training, job.trainings + 1):
        one = job.of_training(number)
        if one.directory is not None:
            Path(one.directory).mkdir(exist_ok=True)
        is_trained = _train(one, worker, classes, kept)
        if job.trainings == 1 or not is_trained or worker.ask(Trained()).stop:
            return


def _train(job: TrialJob, worker: WorkerConnection, classes: tuple[type[Any], type[Any]], kept: list[Any]) -> bool:
    """Train; whether it ended as it should, and neither paused nor pruned.

    Args:
        classes: of the data and of the model.
        kept: the data module of the process's last trial, replaced by this one's. If this one has a method `take_over`,
            it is called with the last one, to reuse prepared data.
    """
    ranks = join_ranks(job)
    pl.seed_everything(job.seed, workers=True, verbose=False)
    data_class, model_class = classes
    with _errors_of("data"), warnings.catch_warnings(record=True) as warned:
        data = build(data_class, job.data.arguments, Path(job.project))
        as_trained(data, {"trained_on": job.trained_on, "folds": job.folds, "training": job.training})
        if kept and hasattr(data, "take_over"):
            data.take_over(kept[0])
        kept.clear()  # before there are two of them in memory
        # They run now, since the model's arguments depend on the data; Lightning calls them again.
        data.prepare_data = _once(data.prepare_data)
        data.setup = _once(data.setup)
        if job.rank == 0:
            data.prepare_data()
        ranks.wait()
        data.setup(stage="fit")  # by keyword, as Lightning does, so that the cached call is the same
    for warning in warned:
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    given = given_by_data(model_class, job.model.arguments, data)
    model_arguments = job.model.arguments | given
    # The data module may draw random numbers in its set-up; the weights should not depend on their count.
    pl.seed_everything(job.seed, workers=True, verbose=False)
    model = build(model_class, job.model.arguments, Path(job.project), given=given)
    saved, unusable = find_saved(job.resume)
    scored = ScoredWeights()
    directory = Path(job.directory) if job.directory else None
    last = job.epochs if job.keeps_last else None
    executor = choose_executor(job.executor, model, ranks=ranks.count)

    def warn(text: str) -> None:
        worker.send(Warned(text))

    with _errors_of("track"):
        trackers = Trackers(job, _params_of(job), warn)
    unit = Unit(job.unit)
    report = Report(
        worker, job.metric, directory, scored, given, further=job.further, unit=unit, last=last, tell=trackers.tell
    )
    folder = Path(job.root) if job.root else None
    with _errors_of("trainer"):
        options = trainer_options(job)
    length = [StepLimit(job.epochs)] if job.unit == Unit.STEP else []
    measure = [Measure(worker, job)] if job.batches is not None else []
    # In the first training only: one on another fold, or with another seed, is of the same model.
    probing = [Probing(worker, job)] if job.probed and job.training == 1 else []
    callbacks = [*options.pop("callbacks"), *length, *measure, *probing, scored, report]
    trainer = pl.Trainer(
        **trainer_devices(job, ranks),
        **options,
        precision=job.precision,
        callbacks=callbacks,
        logger=make_logger(job.logger, folder, resumes=saved is not None, warn=warn) or False,
        enable_checkpointing=True,  # which allows our callback
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=job.use_distributed_sampler,
        default_root_dir=job.root,
    )
    if job.batches is not None and (remark := precision_remark(job.precision, trainer)):
        warn(remark)
    use(
        executor,
        trainer,
        warn,
        lambda text: print(f"executor: {text}"),  # noqa: T201 # into the trial's log
        cuda_graphs=job.cuda_graphs,
    )
    if job.rank == 0:
        sys.stdout.write(f"executor: {executor}\n")
        worker.send(
            Started(
                model=recorded(
                    complete_arguments(model_class, model_arguments) | resolved_defaults(model, model_arguments), given
                ),
                data=plain(complete_arguments(data_class, job.data.arguments)),
                parameters=sum(p.numel() for p in model.parameters()),
                executor=str(executor),
                from_epoch=saved.epochs if saved else 0,
                curve=saved.curve if saved else [],
                training=job.training,
                warnings=[str(warning.message) for warning in warned if warning.category is UserWarning],
                unusable=unusable,
            )
        )
    if saved is not None:
        trainer.strategy.checkpoint_io = RestoringCheckpointIO()
    # Otherwise Lightning refuses hyperparameters of model and data that have one name and different values.
    data._log_hyperparams = False
    with trackers:
        trainer.fit(
            model,
            datamodule=None if isinstance(data, OwnLoaders) else data,
            ckpt_path=saved.path if saved else None,
            weights_only=True,
        )
    # References to the model, and cycles of the data module, would keep both in memory.
    data.trainer = None
    del data.prepare_data, data.setup
    kept.append(data)
    return report.is_trained


def _params_of(job: TrialJob) -> dict[str, Any]:
    """What trackers are told of a trial's configuration."""
    own = {"study": job.study, "trial": job.trial, "seed": job.seed, "model": job.model.label, "data": job.data.label}
    calls = {"model": job.model, "data": job.data}
    return own | {f"{owner}.{name}": value for owner, call in calls.items() for name, value in call.arguments.items()}


@contextlib.contextmanager
def _errors_of(owner: str) -> Iterator[None]:
    """Mark errors raised within as caused by this section of the study file."""
    try:
        yield
    except BaseException as error:
        error.owner = owner  # type: ignore[attr-defined]
        raise


def _once(method: Any) -> Any:
    return functools.cache(method)


def _failed(error: BaseException, job: TrialJob) -> Failed:
    """The report of an error."""
    reason, text, cause = reason_of(error, Path(job.project)), _text_of(error), _cause_of(error)
    place = getattr(error, "place", "")
    owner = ".".join(part for part in (getattr(error, "owner", "model"), place) if part)
    if job.directory is not None and cause != OUT_OF_MEMORY:
        folders = {Path(folder) for folder in (job.directory, job.root) if folder}
        unwritten = disk_error(error, folders)
        if unwritten is not None:
            return Failed(
                UNWRITABLE, f"{UNWRITABLE}, another attempt goes on: {reason}", error_in_words(unwritten), owner
            )
    return Failed(cause, text, reason, owner)


def _cause_of(error: BaseException) -> str:
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    return LOST_RANK if is_lost_rank(error) else f"error: {type(error).__name__}"


def _text_of(error: BaseException) -> str:
    if isinstance(error, HpoError):
        return str(error)
    return "".join(traceback.format_exception(error))


def reason_of(error: BaseException, project: Path) -> str:
    """A short text: the exception, and the lines of the project's own code that led to it.

    Of a ValueError that is raised on purpose, only the last line: its message explains the rest.
    """
    if isinstance(error, HpoError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    engine, folder = Path(__file__).parent, project.resolve()
    own = [
        frame
        for frame in frames
        if (path := Path(frame.filename)).is_relative_to(folder)
        and not path.is_relative_to(engine)
        and "site-packages" not in path.parts
    ]
    if own and isinstance(error, ValueError) and (own[-1].line or "").startswith("raise "):
        own = own[-1:]
    places = [f"\n  {frame.filename}, line {frame.lineno}: {frame.line}" for frame in own or frames[-1:]]
    return "".join(traceback.format_exception_only(error)).strip() + "".join(places)
