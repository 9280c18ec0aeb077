"""A process of the fork server that does one job and gives one answer."""

from __future__ import annotations

from hpo.errors import HpoError
from hpo.ipc.channel import ChannelClosedError, Message
from hpo.ipc.fork_server import ForkServer
from hpo.study.job import Job


def answer_of(server: ForkServer, job: Job, *, did: str) -> Message:
    """The answer to a job, whose process has ended then.

    Args:
        did: what the process did, to follow 'the process that', such as `predicted`.

    Raises:
        HpoError: the job failed, with its reason, or the process exited without an answer.
    """
    process = server.fork(job)
    try:
        answer = process.channel.receive()
    except ChannelClosedError as error:
        raise HpoError(f"the process that {did} exited without reporting{server.end_of(process)}") from error
    finally:
        process.kill()
        process.channel.close()
    if answer["kind"] == "failed":
        raise HpoError(answer["reason"])
    return answer
