"""Pages of the site that are made from what stands elsewhere: the start, the gallery and the reference.

MkDocs calls `on_files` and `on_page_content` (`hooks` in mkdocs.yml).
"""

import importlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
# Figures and pages of reports/, in the order of the gallery, each with what it is and how it is made.
GALLERY = (
    ("demo/comparison/fig3.png", "Change in top-1 from a baseline, after Fig. 3 of the paper", "compare"),
    ("demo/comparison/fig3_paper.png", "The same in the paper's own form", "compare"),
    ("demo/comparison/severity_curves.png", "Top-1 against severity", "compare"),
    ("demo/comparison/category_bars.png", "Top-1 by category", "compare"),
    ("demo/comparison/heat_table.png", "Networks and corruptions", "compare"),
    ("demo/comparison/reliability_diagram.png", "Accuracy against confidence", "compare"),
    ("fig4/spectra.png", "Power spectra of corrupted images, as in Fig. 4, right", "spectra"),
    ("fig4/heatmaps.png", "How well features survive noise, as in Fig. 4, left", "heatmaps"),
    ("real-check/heatmaps.png", "The same on photographs, for a network trained on ImageNet", "heatmaps"),
    ("cifar10/heatmaps.png", "The same for networks trained on CIFAR-10", "heatmaps"),
    ("fig4/all/spectra.png", "Power spectra of all corruptions", "spectra"),
    ("fourier/fourier.png", "Error rate by added frequency", "fourier"),
    ("view/view.png", "Browsing the images of runs", "view"),
)
PAGES = (("demo/report.html", "The page of a report", "report"),)
FOLDER = "figures"
SHEET = "corruptions.png"


def on_files(files: Files, config: Any) -> Files:
    """Add what is made, and the images that it shows."""
    made = {"index.md": start(), "gallery.md": gallery(), "reference.md": reference()}
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    files.append(File.generated(config, f"{FOLDER}/{SHEET}", content=sheet()))
    for path, *_ in (*GALLERY, *PAGES):
        files.append(File.generated(config, f"{FOLDER}/{flat(path)}", abs_src_path=str(ROOT / "reports" / path)))
    return files


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """Mark the words of commands in tables, so that browsers break lines between them and not after a hyphen."""

    def marked(cell: re.Match[str]) -> str:
        return re.sub(r"<code>([^<]*)</code>", lambda code: f"<code>{words(code[1])}</code>", cell[0])

    def words(command: str) -> str:
        return re.sub(r"\S+", r'<span class="word">\g<0></span>', command)

    return re.sub(r"<td[^>]*>.*?</td>", marked, html, flags=re.DOTALL)


def start() -> str:
    """The README, with its links as they are on the site; what the site lacks is named and not linked."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = text.replace("](reports/demo/comparison/fig3.png)", f"]({FOLDER}/{flat('demo/comparison/fig3.png')})")
    text = re.sub(r"\]\(docs/(\w+\.md)\)", r"](\1)", text)
    return re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?:|[a-z]\w*\.md)[^)]*\)", r"\1", text)


def gallery() -> str:
    """Every figure that a command draws, with the command."""
    parts = [
        "# Gallery",
        "Figures drawn by the commands; all but the corruption sheet are committed in `reports/`, with the commands.",
    ]
    for path, title, command in GALLERY:
        parts += [f"## {title}", f"`bivo-robust {command}`", f"![{title}]({FOLDER}/{flat(path)})"]
    title = "Every corruption at its five severities"
    parts += [f"## {title}", "`bivo-robust list corruptions --gallery FOLDER`", f"![{title}]({FOLDER}/{SHEET})"]
    for path, title, command in PAGES:
        parts += [f"## {title}", f"`bivo-robust {command}`", f"[Open it]({FOLDER}/{flat(path)})"]
    return "\n\n".join(parts) + "\n"


def sheet() -> bytes:
    """The sheet of corruptions as PNG, drawn anew: noisy photographs are too large to be committed."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "robustbench_bi", "list", "corruptions", "--gallery", folder], check=True)
        return (Path(folder) / SHEET).read_bytes()


def reference() -> str:
    """Every name that docs/api.md promises and that is a function or a class, from its docstring."""
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    parts = ["# Functions and classes", "From the docstrings. [Public names](api.md) lists all names."]
    for room in re.findall(r"^## `(\S+)`", text, flags=re.MULTILINE):
        module = importlib.import_module(room)
        found = {name: getattr(module, name) for name in module.__all__}
        own = [name for name, item in found.items() if callable(item)]
        parts.append(f"## {room}")
        parts += [f"::: {found[name].__module__}.{found[name].__qualname__}" for name in own]
    return "\n\n".join(parts) + "\n"


def flat(path: str) -> str:
    """A path below reports/ as one name."""
    return path.replace("/", "-")
