"""What `hpo data describe` does: the facts of a study's data, from a process that imports it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpo.errors import SpecError
from hpo.ipc.channel import ChannelClosedError, Message
from hpo.service.prepare import PreparedStudy
from hpo.study.job import OWN_LOADERS, Call, DataJob

PICTURES = (".png", ".svg", ".pdf")


def describe_data(prepared: PreparedStudy, *, picture: Path) -> dict[str, Any]:
    """The facts of a study's training and validation parts, as its default configuration has them.

    Args:
        picture: the file that a picture of the data is written to.

    Returns:
        What `hpo data describe --json` prints.

    Raises:
        SpecError: the data cannot be read; with its own error and the lines of the project that raised it.
    """
    label = prepared.spec.data.label
    if label == OWN_LOADERS:
        text = (
            f"is not given: {prepared.spec.model_in_words} has its own loaders, and only a data module can be described"
        )
        raise prepared.source.error([(("data",), text)])
    facts = _facts(prepared, picture)
    return {
        "study": prepared.spec.study,
        "data": {"class": label, "arguments": facts["arguments"], "changed": facts["changed"]},
        **{name: facts[name] for name in ("holds", "task", "parts", "features", "examples", "facts", "remarks")},
        "warnings": facts["warnings"],
        "picture": str(picture),
    }


def picture_file(option: Path | None, study: str) -> Path:
    """Where the picture goes: the option, else `STUDY-data.png` in the current folder.

    Raises:
        SpecError: nothing can be written there.
    """
    chosen = (option or Path(f"{study}-data.png".replace("/", "-"))).resolve()
    if chosen.suffix.lower() not in PICTURES:
        raise SpecError(f"--out {option}: a picture's name ends in one of {', '.join(PICTURES)}")
    if not chosen.parent.is_dir():
        raise SpecError(f"--out {option}: there is no folder {chosen.parent}")
    if chosen.is_dir():
        raise SpecError(f"--out {option}: is a folder")
    return chosen


def _facts(prepared: PreparedStudy, picture: Path) -> Message:
    spec, resolved, source = prepared.spec, prepared.resolved, prepared.source
    process = prepared.server.fork(
        DataJob(
            project=str(prepared.project),
            data=Call(spec.data.label, resolved.arguments("data", resolved.space.defaults())),
            seed=spec.seed,
            title=f"{spec.study}: {spec.data.label}",
            picture=str(picture),
        )
    )
    try:
        answer = process.channel.receive()
    except ChannelClosedError as error:
        end = prepared.server.end_of(process)
        raise source.error([(("data",), f"the process that read the data exited without reporting{end}")]) from error
    finally:
        process.kill()
        process.channel.close()
    if answer["kind"] == "failed":
        raise source.error([(("data",), answer["reason"])])
    return answer
