"""Every block of bash, Python and TOML in the README and the docs runs as it stands.

Pages of RUN are run in an empty folder from the first block to the last. The other pages speak of data sets and
machines that are not here, so bash runs their blocks with programs that only write down how they were called; what was
asked of `bivo-robust` is then read by its own parser.
"""

import ast
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from robustbench_bi.cli import cli
from robustbench_bi.errors import DataError, InputError, WeightsError

ROOT = Path(__file__).parent.parent
RUN = ("docs/quantisation.md", "docs/sweeps.md", "docs/your_own_network.md")
RECIPES = {
    ("docs/models.md", "An ensemble"): "",
    ("docs/models.md", "A network behind"): "",
    ("docs/models.md", "open_clip"): "open_clip",
    ("docs/models.md", "Keras 3"): "keras",
    ("docs/detection.md", "Recipe: DETR"): "transformers",
    ("docs/detection.md", "Recipe: an ONNX"): "onnxruntime",
}
"""Sections by their page and how their headings begin, each run apart, and the package that it needs."""
ASKED_FOR = {"docs/transforms.md": "albumentations"}
"""Pages with a block of Python that imports a package which the extra `test` does not bring."""
LINES = {"docs/models.md": 15, "docs/detection.md": 26}
"""A recipe's longest function has less."""
PAGES = ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.md"))]
WRITTEN_DOWN = ("bivo-robust", "torchrun", "srun", "scontrol", "pip", "pytest", "make", "python", "python3")
SLURM = {"SLURM_JOB_NODELIST": "node", "SLURM_NNODES": "1", "SLURM_JOB_ID": "1", "i": "0"}
# The one run that the pages name.
NAMED_RUN = "runs/resnet50-c390cc43345b"
SHIM = """#!{python}
import json, os, sys
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
"""
PROGRAM = """#!{python}
from robustbench_bi.__main__ import main
main()
"""


def sections_of(page):
    """What stands before the first heading, and each section with its heading."""
    return re.split(r"^## ", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE)


def blocks_of(page):
    """The blocks of a page as (language, text), but for its recipes."""
    recipes = tuple(heading for own, heading in RECIPES if own == page)
    sections = [section for section in sections_of(page) if not recipes or not section.startswith(recipes)]
    return blocks_in("".join(sections))


def blocks_in(text):
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def programs_in(folder, text, names):
    folder.mkdir()
    for name in names:
        path = folder / name
        path.write_text(text.format(python=sys.executable), encoding="utf-8")
        path.chmod(0o755)
    return f"{folder}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def run_bash(text, folder, **environment):
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text], check=False, cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]), "HOME": str(folder), **environment},
    )  # fmt: skip
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.mark.parametrize("page", RUN)
def test_a_page_runs_from_top_to_bottom(page, tmp_path):
    path = programs_in(tmp_path / "bin", PROGRAM, ["bivo-robust"])
    folder = tmp_path / "work"
    folder.mkdir()
    for language, text in blocks_of(page):
        name = re.match(r"# (\S+\.(?:toml|py))", text)
        if language == "bash":
            run_bash(text, folder, PATH=path)
        else:
            assert name, f"a block of {page} does not begin with the name of its file"
            (folder / name[1]).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(("page", "heading"), RECIPES)
def test_a_recipe_is_a_short_function_and_runs(page, heading, tmp_path):
    package = RECIPES[page, heading]
    if package and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    (section,) = (section for section in sections_of(page) if section.startswith(heading))
    path = programs_in(tmp_path / "bin", PROGRAM, ["bivo-robust"])
    for language, text in blocks_in(section):
        if language == "bash":
            run_bash(text, tmp_path, PATH=path)
        else:
            (tmp_path / re.match(r"# (\S+\.py)", text)[1]).write_text(text, encoding="utf-8")
            functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
            assert max((node.end_lineno - node.lineno + 1 for node in functions), default=0) < LINES[page]


def commands_in(calls):
    """Arguments of what was asked of our program, also by way of a launcher."""
    for call in calls:
        if call[0] == "bivo-robust":
            yield call[1:]
        elif "robustbench_bi" in call:
            yield call[call.index("robustbench_bi") + 1 :]
        elif "bivo-robust" in call:
            yield call[call.index("bivo-robust") + 1 :]


@pytest.mark.parametrize("page", [page for page in PAGES if page not in RUN])
def test_what_a_page_says_to_type_can_be_typed(page, tmp_path, monkeypatch):
    (tmp_path / "sweep.toml").write_text('model = "resnet50"\n', encoding="utf-8")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").touch()
    calls = tmp_path / "calls"
    calls.touch()
    path = programs_in(tmp_path / "bin", SHIM, WRITTEN_DOWN)
    blocks = [text for language, text in blocks_of(page) if language == "bash"]
    for text in blocks:
        run_bash(text, tmp_path, PATH=path, CALLS=str(calls), **SLURM)
    made = [json.loads(line) for line in calls.read_text(encoding="utf-8").splitlines()]
    assert bool(made) == bool(blocks)
    monkeypatch.chdir(tmp_path)
    for name, *arguments in commands_in(made):
        if "…" in arguments:
            continue  # the page leaves out the rest, which stands above it
        try:
            cli.get_command(click.Context(cli), name).make_context(name, arguments, **cli.context_settings)
        except (DataError, WeightsError):
            pass  # the folders and files of the page are not here
        except InputError as error:
            assert "there is no such module" in str(error)
        except click.UsageError as error:
            pytest.fail(f"{shlex.join([name, *arguments])}: {error.format_message()}")


def test_a_mistyped_command_on_a_page_is_found(tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text("```bash\nbivo-robust eval --modle resnet50\n```\n", encoding="utf-8")
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    with pytest.raises(pytest.fail.Exception, match="No such option"):
        test_what_a_page_says_to_type_can_be_typed("README.md", tmp_path, monkeypatch)


@pytest.mark.parametrize("page", [page for page in PAGES if page not in RUN])
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    from robustbench_bi import evaluate

    blocks = [text for text in python_of(page) if not imports(text, ASKED_FOR.get(page))]
    if not blocks:
        return
    monkeypatch.chdir(tmp_path)
    if any(NAMED_RUN in text for text in blocks):
        run = evaluate("resnet50", suite="contrast", severities=3, limit=4)
        (tmp_path / NAMED_RUN).symlink_to(run.directory)
    for text in blocks:
        run_python(text, tmp_path)


@pytest.mark.parametrize(("page", "package"), ASKED_FOR.items())
def test_the_python_that_needs_a_package_more_runs(page, package, tmp_path):
    blocks = [text for text in python_of(page) if imports(text, package)]
    assert blocks
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    for text in blocks:
        run_python(text, tmp_path)


def python_of(page):
    return [text for language, text in blocks_of(page) if language == "python"]


def imports(text, package):
    return package is not None and re.search(rf"^(import|from) {package}\b", text, flags=re.MULTILINE) is not None


def run_python(text, folder):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    subprocess.run([sys.executable, "-c", text], cwd=folder, check=True, env={**os.environ, "PYTHONPATH": path})


def test_there_is_something_to_run():
    assert {language for page in PAGES for language, _ in blocks_of(page)} >= {"bash", "python", "toml"}
    assert {*RUN, *LINES} < set(PAGES)


def test_every_section_of_the_recipes_for_networks_is_run():
    _, *sections = sections_of("docs/models.md")
    assert len(sections) == sum(page == "docs/models.md" for page, _ in RECIPES)
