"""Prints the oldest version of each package that pyproject.toml allows, as constraints for pip."""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
requirements = project["dependencies"] + project["optional-dependencies"]["test"]
sys.stdout.writelines(f"{requirement.replace('>=', '==')}\n" for requirement in requirements)
