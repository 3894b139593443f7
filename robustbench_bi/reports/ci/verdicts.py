"""The verdicts of the gate for machines that build and test: JUnit XML, GitHub's annotations and step summary."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from robustbench_bi.analysis.verdicts import REGRESSED, UNPROVEN
from robustbench_bi.errors import DataError
from robustbench_bi.ground.atomic import replacing

if TYPE_CHECKING:
    from robustbench_bi.analysis.gate import Gate

TITLE = "bivo-robust gate"
TROUBLE = "trouble"
_JUNIT = {REGRESSED: "failure", TROUBLE: "error"}
_GITHUB = {REGRESSED: "error", TROUBLE: "error", UNPROVEN: "warning"}
# XML 1.0 cannot hold these characters in any way.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Verdict:
    """What the gate says on one row, or on the whole where it could not be checked.

    Attributes:
        kind: what sort of row it is.
        name: of the row.
        verdict: as in `gate_frame`, or "trouble".
        text: a sentence with the numbers, or the message of the error.
    """

    kind: str
    name: str
    verdict: str
    text: str


def verdicts_of(gate: Gate) -> list[Verdict]:
    """The rows of `gate_frame` as verdicts."""
    from robustbench_bi.reports.tables.gate import describe_rows

    frame = gate.frame
    rows = zip(frame["kind"], frame["name"], frame["verdict"], describe_rows(gate), strict=True)
    return [Verdict(*row) for row in rows]


def trouble(message: str) -> list[Verdict]:
    """The single verdict where the gate could not be checked: a report without it would look like a pass."""
    return [Verdict("gate", "comparable", TROUBLE, message)]


def publish(verdicts: Sequence[Verdict], summary: str, junit: Path | None, environment: Mapping[str, str]) -> list[str]:
    """Write the JUnit file where one is wanted, and tell GitHub where the job runs there.

    Args:
        verdicts: from `verdicts_of` or `trouble`.
        summary: Markdown for the page of the job.
        junit: path of the JUnit file.
        environment: `os.environ`; GitHub sets GITHUB_ACTIONS and GITHUB_STEP_SUMMARY in it.

    Returns:
        Lines that must be printed for GitHub to see them; none elsewhere.

    Raises:
        DataError: a file cannot be written.
    """
    if junit is not None:
        write_junit(verdicts, junit)
    if environment.get("GITHUB_ACTIONS") != "true":
        return []
    if environment.get("GITHUB_STEP_SUMMARY"):
        _append_summary(summary, Path(environment["GITHUB_STEP_SUMMARY"]))
    return github_annotations(verdicts)


def write_junit(verdicts: Sequence[Verdict], path: Path) -> None:
    """Write verdicts as JUnit XML, one test case each: a regression is a failure, trouble an error.

    Args:
        verdicts: from `verdicts_of` or `trouble`.
        path: of the file; its folder is made.

    Raises:
        DataError: it cannot be written.
    """
    found = [_JUNIT.get(verdict.verdict) for verdict in verdicts]
    counts = {
        "tests": str(len(found)),
        "failures": str(found.count("failure")),
        "errors": str(found.count("error")),
        "skipped": "0",
    }
    root = ElementTree.Element("testsuites", {"name": TITLE, **counts})
    suite = ElementTree.SubElement(root, "testsuite", {"name": TITLE, **counts})
    for verdict, element in zip(verdicts, found, strict=True):
        text = _NOT_XML.sub("�", verdict.text)
        case = ElementTree.SubElement(suite, "testcase", {"classname": f"gate.{verdict.kind}", "name": verdict.name})
        if element is None:
            ElementTree.SubElement(case, "system-out").text = f"{text}: {verdict.verdict}"
        else:
            attributes = {"type": verdict.verdict.lower(), "message": text}
            ElementTree.SubElement(case, element, attributes).text = text
    ElementTree.indent(root)
    with replacing(path) as partial:
        ElementTree.ElementTree(root).write(partial, encoding="utf-8", xml_declaration=True)


def github_annotations(verdicts: Sequence[Verdict]) -> list[str]:
    """Lines that GitHub shows beside a job: regressions and trouble as errors, drops not proven as warnings.

    Example:
        >>> github_annotations([Verdict("corruption", "fog", "REGRESSED", "fog: 100 % of it"), *trouble("two\\nlines")])
        ['::error title=bivo-robust gate::fog: 100 %25 of it', '::error title=bivo-robust gate::two%0Alines']
    """
    return [
        f"::{_GITHUB[verdict.verdict]} title={TITLE}::{_escaped(verdict.text)}"
        for verdict in verdicts
        if verdict.verdict in _GITHUB
    ]


def _escaped(text: str) -> str:
    """As GitHub's own toolkit escapes the text of a workflow command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def markdown_summary(gate: Gate) -> str:
    """What the gate found as Markdown for a job's page."""
    from robustbench_bi.reports.tables.display import markdown_table
    from robustbench_bi.reports.tables.gate import display_gate

    return "\n\n".join(
        [gate.headline, f"{gate.header}.", markdown_table(display_gate(gate)), *gate.notes, gate.caption]
    )


def _append_summary(text: str, path: Path) -> None:
    """Add to the page of the job, which other steps write to as well."""
    try:
        with path.open("a", encoding="utf-8", errors="replace") as page:
            page.write(f"## {TITLE}\n\n{text}\n\n")
    except OSError as error:
        raise DataError(f"cannot write the step summary {path}: {error.strerror or error}") from error
