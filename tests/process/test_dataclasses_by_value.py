"""A dataclass of a script or notebook, which its study's server gets by value."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import cloudpickle


def test_its_fields_keep_their_defaults_in_another_process(tmp_path: Path) -> None:
    @dataclass
    class Config:
        width: int
        rate: float = 0.5
        sizes: list[int] = field(default_factory=lambda: [3])

    packed = tmp_path / "packed"
    packed.write_bytes(cloudpickle.dumps(Config))
    script = (
        "import pickle, sys; from hpo.space.entries import fields_of; kind = pickle.load(open(sys.argv[1], 'rb')); "
        "print([(f.name, f.default if f.has_default else None) for f in fields_of(kind)])"
    )

    done = subprocess.run([sys.executable, "-c", script, str(packed)], capture_output=True, text=True)

    assert done.stdout == "[('width', None), ('rate', 0.5), ('sizes', [3])]\n", done.stderr
