"""The fork server: a process that has imported torch and Lightning and forks a process for each trial in milliseconds.

Each worker starts one, as `python -m hpo.training.server DESCRIPTOR`, while the store is being opened. On a request
`{"imports": [...]}` with a socket it imports these modules, if it has not yet, and forks a child, which reads its job
from that socket. A child with a study's job imports the study's modules and then serves forks itself, so that trials
start with these imported too. The server answers `{"forked": pid}` in the order of the requests, and sends
`{"exited": pid, "status": s}` when a child exits.

Nothing here may run a tensor operation or touch CUDA: neither survives a fork.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import selectors
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path

from hpo.ipc.channel import Channel, ChannelClosedError, Message
from hpo.ipc.environment import HIDDEN_FILE
from hpo.study.job import DataJob, EvaluationJob, ExportJob, Job, PredictJob, StudyJob, TrialJob, WeightsJob, job_of
from hpo.training.hidden_file import hide
from hpo.training.left_behind import OWNER, adopt_orphans, end_orphans

# Jobs of one answer, and the function that gives it: imported by the process that needs it.
ANSWERED_BY: dict[type[Job], str] = {
    DataJob: "hpo.training.inspection:run_inspection",
    EvaluationJob: "hpo.training.evaluation:run_evaluation",
    ExportJob: "hpo.training.export.run:run_export",
    PredictJob: "hpo.training.prediction.run:run_prediction",
    WeightsJob: "hpo.training.compare_weights:run_comparison",
}


def serve(control: Channel) -> Channel | None:
    """Fork on request until the worker exits; None then. In a forked child, returns the child's own channel."""
    wake_read, wake_write = socket.socketpair()
    wake_write.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    previous_wakeup = signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)
    children: set[int] = set()
    # The present objects are never garbage: a collection in a child would only copy their pages.
    gc.collect()
    gc.freeze()
    adopt_orphans()
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(wake_read, selectors.EVENT_READ)
        while True:
            selector.select()
            with contextlib.suppress(BlockingIOError):
                wake_read.recv(4096, socket.MSG_DONTWAIT)
            requests, is_open = control.receive_ready()
            for request in requests:
                _import(request["imports"])
                descriptor = control.take_descriptor()
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(previous_wakeup)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    selector.close()
                    for inherited in (control, wake_read, wake_write):
                        inherited.close()
                    return Channel(socket.socket(fileno=descriptor))
                os.close(descriptor)
                children.add(pid)
                is_open = is_open and _send(control, {"forked": pid})
            for pid, status in _reap(children):
                is_open = is_open and _send(control, {"exited": pid, "status": status})
            end_orphans(children if is_open else ())
            if not is_open:
                signal.set_wakeup_fd(previous_wakeup)
                for pid in children:
                    _kill_group(pid)
                end_orphans(())
                return None


def become_child(channel: Channel) -> None:
    """Run a forked process: make a process group, ignore Ctrl-C, enter the project folder, and do the job."""
    with contextlib.suppress(PermissionError):
        os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    job = job_of(channel.receive())
    os.environ[OWNER] = str(os.getpid())
    # Paths in a study file start from the project folder. If there is none, loading a class raises the error.
    with contextlib.suppress(OSError):
        os.chdir(job.project)
    if isinstance(job, StudyJob):
        from hpo.training.cuda_forks import CudaCalls
        from hpo.training.describe import describe

        calls = CudaCalls()
        with calls.noted():
            answer = describe(job)
        # Such modules are imported by each trial's own process instead.
        answer["unforkable"] = _what_is_lost_in_a_fork(calls.obstacle())
        channel.send(answer)
        child = serve(channel)
        if child is not None:
            become_child(child)
        return
    if type(job) in ANSWERED_BY:
        module, _, function = ANSWERED_BY[type(job)].partition(":")
        getattr(importlib.import_module(module), function)(job, channel)
        return
    assert isinstance(job, TrialJob)
    from hpo.training.trial import run_jobs

    run_jobs(job, channel)


def _import(names: Sequence[str]) -> None:
    """Import what many children need, once for all."""
    for name in names:
        if name not in sys.modules:
            with contextlib.suppress(ImportError):  # then the child says so
                importlib.import_module(name)
            gc.collect()
            gc.freeze()


def _reap(children: set[int]) -> list[tuple[int, int]]:
    ended = []
    for pid in list(children):
        with contextlib.suppress(ChildProcessError):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            _kill_group(pid)  # its remaining children; its pid cannot be reused before waitpid
            _, status = os.waitpid(pid, 0)
            children.discard(pid)
            ended.append((pid, os.waitstatus_to_exitcode(status)))
    return ended


def _send(control: Channel, message: Message) -> bool:
    try:
        control.send(message)
    except ChannelClosedError:
        return False
    return True


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _what_is_lost_in_a_fork(cuda_call: str) -> str:
    """What a study's imports have done that forks cannot use, as a text that follows 'its imports'; "" if nothing."""
    if threads := _other_threads():  # their locks stay locked
        return f"start threads ({', '.join(threads)}), which do not survive a fork"
    return f"use CUDA, which does not survive a fork: {cuda_call}" if cuda_call else ""


def _other_threads() -> list[str]:
    """The names of this process's other threads, including those that native libraries started."""
    names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    tasks = Path("/proc/self/task")
    if tasks.is_dir():
        native = [path for path in tasks.iterdir() if int(path.name) != threading.get_native_id()]
        known = {str(thread.native_id) for thread in threading.enumerate()}
        names += [(path / "comm").read_text().strip() for path in native if path.name not in known]
    return sorted(names)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A signal to the whole job (by Slurm, systemd or a person) drains the worker, which lets trials finish their epoch.
    # Blocked, not ignored: Lightning sets a handler of its own, and processes of data loaders inherit the mask.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2})
    control = Channel(socket.socket(fileno=int(sys.argv[1])))
    hidden = os.environ.pop(HIDDEN_FILE, None)
    obstacle = None if hidden is None else hide(Path(hidden))
    gc.disable()  # imported objects are permanent: collections during the imports take a tenth of their time
    try:
        import hpo.training.preload  # imported to have them in memory
        import hpo.training.trial  # noqa: F401
    except BaseException:
        _send(control, {"failed": traceback.format_exc()})
        raise
    gc.enable()
    _send(control, {"ready": os.getpid(), "readable": obstacle})
    child = serve(control)
    if child is None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # the worker waits, and torch's clean-up would take a quarter of a second
    with contextlib.suppress(ChannelClosedError):
        become_child(child)


if __name__ == "__main__":
    main()
