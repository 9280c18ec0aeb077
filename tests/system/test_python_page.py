"""The Python of docs/python.md runs as it is written, in order, as the cells of a notebook in a project folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")


def test_the_page_runs_as_it_is_written(tmp_path: Path) -> None:
    project = tmp_path / "project"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HPO_")}
    subprocess.run([sys.executable, "-m", "hpo", "init", str(project)], check=True, capture_output=True)
    cells = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert len(cells) == 6

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-"],
        input="\n".join([*cells, "\nprint('\\n', study.status().state, type(model) is Net)"]),
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )

    assert done.returncode == 0, done.stderr
    best, checked, submitted, *_, final, after, ended = (line for line in done.stdout.splitlines() if line.strip())
    assert float(best.split()[0]) > 0.5
    assert "'width'" in best
    assert checked.startswith("('depth', 'lr', 'batch_size') ('val_accuracy',) ")
    assert submitted == "running {'target': 20.0, 'spent': 0.0}"
    # the progress has no end of a line
    assert re.match(r"6/6 trials-?[\d.e-]+ \(-?[\d.e-]+ to -?[\d.e-]+\) ", final), final
    assert "study='digits-dnn.final', trial=" in final
    assert after.split(" ", 1)[1].startswith("report.html ('0', '1', ")
    assert ended.strip() == "done True"
