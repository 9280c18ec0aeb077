"""How fast the server answers: the first answer of a study's page, and many requests at once, with its memory.

    python benchmarks/serving.py [--trials 1000 10000] [--at-once 200] [--seconds 60] [--write]

Prints the table of benchmarks/README.md, with --write into it. The stores are made by inserting rows. The clients run
on the same machine. Each of those at once asks for one path after the other, over one connection.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import readme
from looking import dashboard, fill

PATHS = ("/", "/dashboard", "/api/studies", "/api/studies/1", "/api/v1/studies", "/metrics", "/healthz", "/readyz")

PARTS = 4  # of the time, after which the server's memory is read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--at-once", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    readme.add_options(parser)
    options = parser.parse_args()
    output = readme.Output("serving", options)
    output.line("| | | CPU seconds of the server |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for number in options.trials:
            store = f"sqlite:///{folder}/{number}.db"
            fill(store, studies=1, trials=number)
            with dashboard(store, Path(folder)) as (url, process):
                began, started = cpu(process), time.perf_counter()
                size = len(urllib.request.urlopen(f"{url}/api/studies/1").read())
                seconds = time.perf_counter() - started
                told = f"first answer of a study of {number:,} trials ({size / 2**20:.1f} MiB)"
                output.line(f"| {told} | {seconds:.2f} s | {cpu(process) - began:.2f} |")
        with dashboard(f"sqlite:///{folder}/{options.trials[0]}.db", Path(folder)) as (url, process):
            asyncio.run(ask(url, options.at_once, options.seconds / 4))  # what is loaded once is loaded
            before, began = process.memory_info().rss, cpu(process)
            answers, sizes = [], []
            for _ in range(PARTS):
                answers += asyncio.run(ask(url, options.at_once, options.seconds / PARTS))
                sizes.append(f"{process.memory_info().rss / 2**20:.0f}")
            ended = cpu(process)
        failed = sum(status != 200 for status, _ in answers)
        taken = [seconds for _, seconds in answers]
        label = f"{options.at_once} requests at once for {options.seconds:g} s"
        output.line(f"| {label}: answers, and those that failed | {len(answers)}, {failed} | {ended - began:.1f} |")
        output.line(f"| seconds to an answer: median, 99 % | {_part(taken, 0.5):.2f}, {_part(taken, 0.99):.2f} | |")
        output.line(f"| memory before, and after each quarter | {before / 2**20:.0f} MiB, {', '.join(sizes)} MiB | |")
    output.write()


def cpu(process: psutil.Process) -> float:
    """The seconds that a process has computed: on a machine that is busy with something else, these are what counts."""
    times = process.cpu_times()
    return times.user + times.system


async def ask(url: str, clients: int, seconds: float) -> list[tuple[int, float]]:
    """The status of each answer, and how long it took; 0 where there was none."""
    until = time.perf_counter() + seconds
    found = await asyncio.gather(*(_client(url, number, until) for number in range(clients)))
    return [answer for answers in found for answer in answers]


async def _client(url: str, number: int, until: float) -> list[tuple[int, float]]:
    host, port = urlsplit(url).hostname, urlsplit(url).port
    found = []
    reader, writer = await asyncio.open_connection(host, port)
    while time.perf_counter() < until:
        path = PATHS[number % len(PATHS)]
        number += 1
        started = time.perf_counter()
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: gzip\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin1").lower()
            await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0]))
            status = int(head.split()[1])
        except (OSError, asyncio.IncompleteReadError, ValueError):
            found.append((0, time.perf_counter() - started))
            reader, writer = await asyncio.open_connection(host, port)
            continue
        found.append((200 if status == 302 else status, time.perf_counter() - started))
    writer.close()
    return found


def _part(values: list[float], part: float) -> float:
    return sorted(values)[int(part * (len(values) - 1))]


if __name__ == "__main__":
    main()
