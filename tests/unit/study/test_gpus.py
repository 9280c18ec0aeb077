"""Which GPUs there are, by what `nvidia-smi -L` prints and by CUDA_VISIBLE_DEVICES."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hpo.errors import SpecError
from hpo.study import gpus
from hpo.study.devices import slots_of
from hpo.study.gpus import Gpu, free_share, has_mps, total_bytes, visible_gpus
from hpo.study.resources import Resources

TWO = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aaaa1111-0000-0000-0000-000000000000)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bbbb2222-0000-0000-0000-000000000000)
"""
DIVIDED = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaa1111-0000-0000-0000-000000000000)
  MIG 1g.5gb      Device  0: (UUID: MIG-cccc3333-0000-0000-0000-000000000000)
  MIG 2g.10gb     Device  1: (UUID: MIG-dddd4444-0000-0000-0000-000000000000)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbb2222-0000-0000-0000-000000000000)
"""
C3, D4 = "MIG-cccc3333-0000-0000-0000-000000000000", "MIG-dddd4444-0000-0000-0000-000000000000"
LOST = "Unable to determine the device handle for gpu 0000:02:00.0: GPU is lost.  Reboot the system to recover this GPU"

Driver = Callable[[str], Path]


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    """Installs an `nvidia-smi` that runs these lines of a shell, and counts its calls."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    calls = tmp_path / "calls"

    def install(lines: str) -> Path:
        program = tmp_path / "nvidia-smi"
        program.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n{lines}\n')
        program.chmod(0o755)
        return calls

    return install


def printing(text: str) -> str:
    return f"cat <<'END'\n{text}END\n"


@pytest.fixture
def device_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine has two GPUs, as its folder of devices says."""
    for name in ("nvidia0", "nvidia1", "nvidiactl"):
        (tmp_path / "dev" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "dev" / name).touch()
    monkeypatch.setattr(gpus, "DEVICES", tmp_path / "dev")


# ---- the driver's list


def test_gpus_are_named_by_their_index_in_the_order_of_the_bus(driver: Driver) -> None:
    driver(printing(TWO))

    assert [(gpu.name, gpu.uuid[:8], gpu.model, gpu.is_mig) for gpu in visible_gpus()] == [
        ("0", "GPU-aaaa", "NVIDIA H100 80GB HBM3", False),
        ("1", "GPU-bbbb", "NVIDIA H100 80GB HBM3", False),
    ]


def test_the_instances_of_a_divided_gpu_are_devices_of_their_own(driver: Driver) -> None:
    driver(printing(DIVIDED))

    found = visible_gpus()

    assert [gpu.name for gpu in found] == [C3, D4, "1"]
    assert found[1].model == "NVIDIA A100-SXM4-40GB MIG 2g.10gb"


@pytest.mark.parametrize("lines", ["echo 'No devices were found'; exit 6", "echo 'No devices found.'", "exit 0"])
def test_a_driver_without_gpus_lists_none(driver: Driver, lines: str) -> None:
    driver(lines)

    assert visible_gpus() == []


def test_a_driver_that_fails_where_there_is_no_gpu_is_the_login_node_of_a_cluster(driver: Driver) -> None:
    driver("echo 'NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.'; exit 9")

    assert visible_gpus() == []


@pytest.mark.usefixtures("device_files")
@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("echo 'NVIDIA-SMI has failed because of something'; exit 9", "exit code 9, 'NVIDIA-SMI has failed because"),
        (printing(f"{TWO.splitlines()[0]}\n{LOST}\n"), "GPU is lost"),
        ("sleep 60", "it has not answered for 0.2 s"),
    ],
)
def test_a_driver_that_does_not_list_its_gpus_is_asked_again_and_then_told(
    driver: Driver, lines: str, problem: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gpus, "SECONDS_TO_LIST", 0.2)
    calls = driver(lines)

    with pytest.raises(SpecError) as refused:
        visible_gpus()

    assert problem in str(refused.value)
    assert "to train on the CPU, write resources: {accelerator: cpu}" in str(refused.value)
    assert calls.read_text() == "-L\n" * 3
    assert caplog.text.count("it is asked again") == 2


@pytest.mark.usefixtures("device_files")
def test_a_driver_that_answers_at_the_second_time_is_believed(driver: Driver, tmp_path: Path) -> None:
    driver(f"test -e {tmp_path}/awake || {{ touch {tmp_path}/awake; exit 15; }}\n{printing(TWO)}")

    assert [gpu.name for gpu in visible_gpus()] == ["0", "1"]


@pytest.mark.usefixtures("device_files")
def test_gpus_without_the_program_that_lists_them_are_told_unless_they_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    with pytest.raises(SpecError, match="NVIDIA_DRIVER_CAPABILITIES=compute,utility"):
        visible_gpus()

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert visible_gpus() == [Gpu("1", "1")]


def test_gpus_that_are_named_are_taken_where_the_driver_does_not_list_them(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    driver("exit 15")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")

    assert visible_gpus() == [Gpu("1", "1")]
    assert "those that CUDA_VISIBLE_DEVICES names are taken" in caplog.text


# ---- CUDA_VISIBLE_DEVICES


@pytest.mark.parametrize(
    ("listing", "value", "names"),
    [
        *(
            (TWO, value, names)
            for value, names in [
                ("", []),
                ("0", ["0"]),
                ("1, 0", ["1", "0"]),
                ("0,-1,1", ["0"]),
                ("-1", []),
                ("0,7,1", ["0"]),  # CUDA stops at the first that is none
                ("0,0", []),  # and shows none where one repeats
                ("NoDevFiles", []),
                ("void", []),
                ("none", []),
                ("all", []),  # this is of NVIDIA_VISIBLE_DEVICES
                ("1gpu", ["1"]),
                ("GPU-bbbb", ["1"]),
                ("GPU-bbbb,GPU-aaaa", ["1", "0"]),
                ("GPU-bbbb,0", ["1"]),
                ("GPU-x,GPU-aaaa", []),
                ("MIG-cccc", []),
                (" ", []),
            ]
        ),
        (DIVIDED, "0", [C3]),  # of a divided GPU, the first instance
        (DIVIDED, "1", ["1"]),
        (DIVIDED, "MIG-dddd", [D4]),
        (DIVIDED, "MIG-dddd,MIG-cccc", [D4, C3]),
        (DIVIDED, "GPU-bbbb", ["1"]),
    ],
)
def test_gpus_are_limited_as_cuda_limits_them(
    driver: Driver, listing: str, value: str, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver(printing(listing))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)

    assert [gpu.name for gpu in visible_gpus()] == names


def test_a_name_of_no_gpu_is_told(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    driver(printing(TWO))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")

    assert visible_gpus() == []
    assert "CUDA_VISIBLE_DEVICES=7 names no GPU of this machine" in caplog.text


def test_where_all_are_hidden_the_driver_is_not_asked(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = driver("exit 9")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    assert visible_gpus() == []
    assert not calls.exists()


# ---- memory


@pytest.mark.parametrize(
    ("lines", "share"),
    [
        ("echo '40000, 80000'", 0.5),
        ("echo '40000, 80000'; echo '8000, 80000'", 0.1),
        ("echo '[N/A], [N/A]'", 0.0),  # of a MIG instance
        ("exit 9", 0.0),
        ("exit 0", 0.0),
        ("sleep 60", 0.0),
    ],
)
def test_the_least_share_of_free_memory_counts_and_0_where_nobody_tells(
    driver: Driver, lines: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "SECONDS_TO_ASK", 0.2)
    calls = driver(lines)

    assert free_share(["0", "1"]) == share
    assert calls.read_text().startswith("--id=0,1 --query-gpu=memory.free,memory.total")


def test_a_slot_knows_the_model_of_its_gpus_once(driver: Driver) -> None:
    driver(printing(TWO))

    [slot] = slots_of(Resources(devices_per_trial=2))

    assert (slot.devices, slot.model) == (("0", "1"), "NVIDIA H100 80GB HBM3")


@pytest.mark.parametrize(
    ("printed", "found"),
    [("60000, 81559\n70000, 40960", 40960 * 2**20), ("[N/A], [N/A]", None), ("0, 0", None), ("", None)],
)
def test_the_memory_is_that_of_the_smallest_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str, found: int | None
) -> None:
    driver = tmp_path / "nvidia-smi"
    driver.write_text(f"#!/bin/sh\nprintf '{printed}'\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    assert total_bytes(["0", "1"]) == found


def test_the_multi_process_service_is_found_by_its_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    daemon = tmp_path / "nvidia-cuda-mps-control.pid"

    assert not has_mps()
    daemon.write_text(f"{os.getpid()}\n")
    assert has_mps()
    daemon.write_text("4194303\n")  # no process has this number
    assert not has_mps()


def test_simulated_gpus_are_listed_and_limited_like_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("HPO_SIMULATED_GPUS", "node1:3x1.5")
    of_all = visible_gpus()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    named = visible_gpus()
    monkeypatch.setenv("HPO_SIMULATED_GPUS", "node2:3x1.5")
    elsewhere = visible_gpus()

    assert [gpu.name for gpu in of_all] == ["0", "1", "2"]
    assert [gpu.name for gpu in named] == ["2", "0"]
    assert total_bytes(["0"]) == 1.5 * 2**30
    assert not {gpu.uuid for gpu in named} & {gpu.uuid for gpu in elsewhere}


@pytest.mark.parametrize("text", ["2", "0x16", "2x", "twox16", "2x16x3"])
def test_simulated_gpus_in_another_form_are_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("HPO_SIMULATED_GPUS", text)

    with pytest.raises(SpecError, match=f"HPO_SIMULATED_GPUS={text}: should be a number of GPUs and the GiB of each"):
        visible_gpus()
