"""The notebooks of the documentation are shown as they were executed, and run from top to bottom."""

import json
import re
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.ipynb"))
of_each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code(path):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


@of_each
def test_what_is_shown_was_executed_in_order_and_without_errors(path):
    cells = code(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"execute_result", "display_data", "stream"}
    assert not re.search(r"/(home|root|tmp|work|Users)/", json.dumps(outputs)), "a path of somebody's machine"


@of_each
def test_its_links_lead_somewhere(path):
    links = re.findall(r"\]\(([^)#:]+)", json.dumps(json.loads(path.read_text())["cells"]))
    assert all((path.parent / link).exists() for link in links)


@pytest.mark.slow
@of_each
def test_it_runs_from_top_to_bottom(path, real_data, tmp_path, monkeypatch):
    pytest.importorskip("ipykernel")
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    monkeypatch.setenv("JAXREC_DATA", str(real_data("ml-100k").parent))
    notebook = nbformat.read(path, 4)
    for cell in notebook.cells:
        cell.source = cell.source.replace("epochs=30", "epochs=2")
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
