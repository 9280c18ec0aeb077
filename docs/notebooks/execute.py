"""Runs the notebooks of this folder and writes their outputs into them, so that they open with these in place.

python docs/notebooks/execute.py          writes them
python docs/notebooks/execute.py --check  runs them, and says where their outputs are of other kinds than those written

Each figure of plotly is also written as a picture, for pages that run no script, such as GitHub's: Chromium draws it,
where there is one.
"""

from __future__ import annotations

import base64
import io
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).resolve().parent
FIGURE, PICTURE = "application/vnd.plotly.v1+json", "image/png"
SECONDS = 1800  # for a cell, on a busy machine
SIZE = {"width": 800, "height": 400}  # of a picture
COLOURS = 64  # of it, which take a third of the bytes
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def executed(path: Path) -> Any:
    """The notebook with the outputs of a run in an empty folder, with this checkout."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook, timeout=SECONDS, record_timing=False, resources={"metadata": {"path": folder}}
        )
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HPO_")}
        ours = {"PYTHONPATH": str(HERE.parents[1]), "PLOTLY_RENDERER": "plotly_mimetype"}
        client.execute(env=kept | ours | {"IPYTHONDIR": str(Path(folder) / ".ipython")})
    for data in _data_of(notebook):
        if FIGURE in data or "text/html" in data:
            data.pop("text/plain", None)  # all numbers once more, and the folder of this run
    return notebook


def shape(notebook: Any) -> list[list[tuple[str, ...]]]:
    """Of each cell, the kinds of its outputs; a picture is the figure that it shows."""
    return [
        [(one.output_type, *sorted(set(one.get("data", {})) - {PICTURE})) for one in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def add_pictures(notebook: Any) -> None:
    """Draw each figure; without Chromium, none."""
    program = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if program is None:
        return
    from plotly.offline import get_plotlyjs
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    browser = Chrome(options, ChromeService(shutil.which("chromedriver")))
    draw = (
        "const [figure, size, done] = arguments;"
        "Plotly.toImage({data: figure.data, layout: figure.layout}, {format: 'png', ...size}).then(done, done);"
    )
    try:
        browser.set_script_timeout(60)
        browser.execute_script(get_plotlyjs())
        for data in _data_of(notebook):
            if FIGURE in data:
                url = browser.execute_async_script(draw, data[FIGURE], SIZE)
                drawn = io.BytesIO(base64.b64decode(str(url).removeprefix("data:image/png;base64,"), validate=True))
                small = io.BytesIO()
                Image.open(drawn).convert("RGB").quantize(COLOURS).save(small, "PNG", optimize=True)
                data[PICTURE] = base64.b64encode(small.getvalue()).decode()
    finally:
        browser.quit()


def _data_of(notebook: Any) -> list[Any]:
    return [output.data for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output]


def main() -> None:
    """Write the outputs of each notebook, or compare their kinds."""
    for path in sorted(HERE.glob("*.ipynb")):
        found = executed(path)
        if "--check" in sys.argv[1:]:
            written = shape(nbformat.read(path, as_version=4))
            if (now := shape(found)) != written:
                sys.exit(f"{path.name}: its cells have outputs {now}, but written are {written}: run execute.py again")
        else:
            add_pictures(found)
            nbformat.validate(found)
            nbformat.write(found, path)


if __name__ == "__main__":
    main()
