from __future__ import annotations

from hpo.ipc.channel import Channel
from hpo.ipc.fork_server import ForkedProcess, ForkServer
from hpo.study.job import Place


def test_idle_processes_are_found_and_ended_by_their_gpus() -> None:
    control, theirs = Channel.pair()
    server = ForkServer(control, ForkedProcess(control), restart=lambda: server)
    pairs = [Channel.pair() for _ in range(3)]
    on_0, on_1, on_both = (
        ForkedProcess(channel, place=Place("/p", "s", "gpu", devices, 1))
        for (channel, _), devices in zip(pairs, [("0",), ("1",), ("0", "1")], strict=True)
    )
    server._idle = [on_0, on_1, on_both]

    assert server.idle_on(["0"]) == [on_0, on_both]
    assert server.idle_on([]) == []
    server.dismiss(server.idle_on(["0"]))

    assert server.idle_on(["0", "1"]) == [on_1]
    server.dismiss([on_1])
    control.close()
    for end in (theirs, *(end for _, end in pairs)):
        end.close()
