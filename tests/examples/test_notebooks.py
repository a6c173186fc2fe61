"""The notebooks of examples/ are stored without outputs, use the project alone, and run without an error."""

import ast
import json
import re
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient

from tests.paths import ROOT
from tests.source_tree import PACKAGES, parse_sources
from tests.test_repository import read_requirements

NOTEBOOKS = {path.name: nbformat.read(path, as_version=4) for path in sorted((ROOT / "examples").glob("*.ipynb"))}
MAX_CELL_LINES = 20
EXECUTION_TIMEOUT_S = 1_800  # of one cell; the processors may be shared

# For each notebook: an expression over its variables, with a measurement as its value, and the range of this value.
MEASUREMENTS = {
    "digits.ipynb": ("small['energy'][1]", 0.8, 1.0),  # accuracy of the model that the notebook trains
    "mazes.ipynb": ("results['energy'][1]", 0.65, 0.9),  # accuracy of the bundled model
    "parity.ipynb": ("small['certainty'][1]", 0.5, 1.0),
}


def list_cells(name: str, cell_type: str) -> list[str]:
    """Return the sources of all cells of a type."""
    return [cell.source for cell in NOTEBOOKS[name].cells if cell.cell_type == cell_type]


def test_every_notebook_is_measured():
    assert NOTEBOOKS.keys() == MEASUREMENTS.keys()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_is_valid_and_has_no_outputs(name):
    notebook = NOTEBOOKS[name]
    nbformat.validate(notebook)
    code_cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not [cell.source for cell in code_cells if cell.outputs or cell.execution_count is not None]
    assert not [cell.metadata for cell in notebook.cells if cell.metadata], "clear the metadata of the cells"
    assert notebook.metadata.kernelspec.name == "python3"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_says_how_to_run_it(name):
    first = list_cells(name, "markdown")[0]
    assert f"jupyter notebook examples/{name}" in first and "Colab" in first and "git clone" in first


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_code_cells_are_short_and_parse(name):
    for source in list_cells(name, "code"):
        ast.parse(source)
        assert len(source.splitlines()) <= MAX_CELL_LINES, f"split this cell:\n{source}"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_import_is_of_the_project_or_of_the_requirements(name):
    available = {re.split(r"[\[=]", line)[0].lower() for line in read_requirements("requirements.txt")}
    available |= {*PACKAGES, *sys.stdlib_module_names} - {"ui", "benchmarks"}
    (source,) = parse_sources({name: "\n".join(list_cells(name, "code"))})
    imports = {module.partition(".")[0] for _, module in source.iterate_imports()}
    assert {"ctm", "matplotlib"} <= imports <= available


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_links_lead_to_files(name):
    targets = re.findall(r"\]\(((?!https?:)[^)#]+)", "\n".join(list_cells(name, "markdown")))
    assert targets
    missing = [target for target in targets if not (ROOT / "examples" / target).is_file()]
    assert not missing


def test_notebooks_are_formatted():
    command = [sys.executable, "-m", "ruff", "format", "--check", *NOTEBOOKS]
    result = subprocess.run(command, cwd=ROOT / "examples", capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_runs_and_measures_what_it_should(name, monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    expression, low, high = MEASUREMENTS[name]
    notebook = nbformat.from_dict(NOTEBOOKS[name])
    notebook.cells.append(nbformat.v4.new_code_cell(f"print({expression})"))
    client = NotebookClient(
        notebook, timeout=EXECUTION_TIMEOUT_S, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    assert low <= json.loads(notebook.cells[-1].outputs[0].text) <= high
    figures = [
        output for cell in notebook.cells for output in cell.get("outputs", ()) if "image/png" in output.get("data", ())
    ]
    assert len(figures) >= 4
    assert (tmp_path / "runs").is_dir()
