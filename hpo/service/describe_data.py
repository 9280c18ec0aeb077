"""Before the first trial: what a study's data is like, as a process tells that may import it."""

from __future__ import annotations

from pathlib import Path

from hpo.errors import SpecError
from hpo.ipc.channel import ChannelClosedError, Message
from hpo.ipc.fork_server import ForkServer
from hpo.study.job import Call, DataJob
from hpo.study.resolved_study import ResolvedStudy
from hpo.study.study_file import Source

PICTURES = (".png", ".svg", ".pdf")


def inspect_data(
    definition: ResolvedStudy, source: Source, *, server: ForkServer, project: Path, picture: Path
) -> Message:
    """The facts of a study's training and validation parts, as its default configuration has them.

    Args:
        picture: the file that a picture of the data is written to.

    Raises:
        SpecError: the data cannot be read; in its own words, with the lines of the project that say so.
    """
    spec = definition.spec
    process = server.fork(
        DataJob(
            project=str(project),
            data=Call(spec.data.label, definition.arguments("data", definition.space.defaults())),
            seed=spec.seed,
            title=f"{spec.study}: {spec.data.label}",
            picture=str(picture),
        )
    )
    try:
        answer = process.channel.receive()
    except ChannelClosedError as error:
        end = server.end_of(process)
        raise source.error([(("data",), f"the process that read the data exited without reporting{end}")]) from error
    finally:
        process.kill()
        process.channel.close()
    if answer["kind"] == "failed":
        raise source.error([(("data",), answer["reason"])])
    return answer


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
