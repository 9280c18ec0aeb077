from __future__ import annotations

from pathlib import Path

import pytest

from hpo.worker.oom_kills import oom_kills


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="ascii")


@pytest.mark.parametrize(
    ("cgroup", "file", "text"),
    [
        ("0::/user.slice/job 1\n", "user.slice/job 1/memory.events", "low 0\nhigh 3\nmax 9\noom 4\noom_kill 2\n"),
        ("0::/\n", "memory.events", "oom 4\noom_kill 2\noom_group_kill 1\n"),
        ("0::/docker/abc\n", "memory.events", "oom_kill 2\n"),  # seen from within a container
        ("1:name=systemd:/a\n4:cpu,memory:/slurm/7\n0::/\n", "memory/slurm/7/memory.oom_control", "oom_kill 2\n"),
        ("4:memory:/docker/abc\n0::/\n", "memory/memory.oom_control", "under_oom 0\noom_kill 2\n"),
    ],
)
def test_the_kernel_tells_of_its_kills_in_a_control_group(tmp_path: Path, cgroup: str, file: str, text: str) -> None:
    write(tmp_path / "proc/self/cgroup", cgroup)
    write(tmp_path / "proc/vmstat", "pgfault 1\noom_kill 99\n")
    write(tmp_path / "groups" / file, text)

    assert oom_kills(tmp_path / "proc", tmp_path / "groups") == 2


def test_where_a_group_does_not_tell_the_machine_does(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "0::/\n")
    write(tmp_path / "proc/vmstat", "pgfault 1\noom_kill 99\n")

    assert oom_kills(tmp_path / "proc", tmp_path / "groups") == 99


def test_where_nothing_tells_nothing_is_known(tmp_path: Path) -> None:
    assert oom_kills(tmp_path / "proc", tmp_path / "groups") is None
