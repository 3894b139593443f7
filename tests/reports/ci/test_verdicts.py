from xml.etree import ElementTree

import numpy as np
import pytest

from robustbench_bi.analysis.baseline import Outcomes
from robustbench_bi.analysis.gate import gate_frame
from robustbench_bi.errors import DataError
from robustbench_bi.reports.ci.verdicts import markdown_summary, publish, trouble, verdicts_of
from robustbench_bi.tasks.classification import Answers

SETTINGS = {"data": "demo", "input_size": 64, "generator": "files"}
CELLS = (("none", 0), ("fog", 1), ("contrast", 1))


def outcomes(*wrong):
    correct = np.stack([np.arange(200) >= number for number in wrong], axis=1)
    answers = Answers(np.zeros(200, dtype=int), correct)
    return Outcomes({"name": "net"}, SETTINGS, np.arange(200), CELLS, answers)


@pytest.fixture
def found():
    """Clean holds, fog fell by 20 points, contrast by 2."""
    return gate_frame(outcomes(0, 40, 4), outcomes(0, 0, 0))


def test_junit(found, tmp_path):
    assert publish(verdicts_of(found), "", tmp_path / "results" / "gate.xml", {}) == []
    root = ElementTree.parse(tmp_path / "results" / "gate.xml").getroot()
    (suite,) = root
    for element, tag in ((root, "testsuites"), (suite, "testsuite")):
        assert element.tag == tag
        assert {"tests": "6", "failures": "3", "errors": "0", "skipped": "0"}.items() <= element.attrib.items()
    failures = {case.get("name"): case.find("failure") for case in suite if case.find("failure") is not None}
    assert list(failures) == ["mean (2 of 15)", "weather (1 of 4)", "fog"]
    assert failures["fog"].text.startswith("fog: top-1 80.0 %, the baseline 100.0 %, Δ -20.00 [")
    assert failures["fog"].get("message") == failures["fog"].text
    others = {case.get("name"): case.findtext("system-out") for case in suite if case.find("failure") is None}
    assert others["clean"].endswith(": holds")
    assert others["contrast"].endswith(": drop not proven")
    assert suite[0].get("classname") == "gate.clean"


def test_trouble_is_an_error_in_every_report(tmp_path):
    page = tmp_path / "summary.md"
    environment = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(page)}
    lines = publish(trouble("no run in x"), "no run in x", tmp_path / "gate.xml", environment)
    assert lines == ["::error title=bivo-robust gate::no run in x"]
    assert page.read_text(encoding="utf-8") == "## bivo-robust gate\n\nno run in x\n\n"
    suite = ElementTree.parse(tmp_path / "gate.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("1", "0", "1")
    assert suite[0].find("error").get("message") == "no run in x"


def test_junit_holds_what_xml_cannot(tmp_path):
    publish(trouble("a\x1b[31m\x00\ud800<b> & 'c'\nd"), "", tmp_path / "gate.xml", {})
    suite = ElementTree.parse(tmp_path / "gate.xml").getroot()[0]
    assert suite[0].findtext("error") == "a�[31m��<b> & 'c'\nd"


def test_github_shows_regressions_as_errors_and_the_unproven_as_warnings(found):
    lines = publish(verdicts_of(found), "", None, {"GITHUB_ACTIONS": "true"})
    assert [line.split("::")[1].split()[0] for line in lines] == ["error", "error", "warning", "error", "warning"]
    assert lines[3].startswith("::error title=bivo-robust gate::fog: top-1 80.0 %25, the baseline 100.0 %25, Δ -20.00")
    assert all("\n" not in line for line in lines)


def test_the_page_of_a_job_is_added_to(found, tmp_path):
    page = tmp_path / "summary.md"
    page.write_text("of another step\n", encoding="utf-8")
    environment = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(page)}
    publish(verdicts_of(found), markdown_summary(found), None, environment)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("of another step\n## bivo-robust gate\n\nRegression: 2 of 4 rows")
    assert "| fog | 200 | 100.0 | 80.0 | -20.00 [" in text
    assert found.caption in text


@pytest.mark.parametrize("environment", [{}, {"GITHUB_ACTIONS": "false"}, {"CI": "true"}])
def test_nothing_is_said_to_github_elsewhere(found, tmp_path, environment):
    page = tmp_path / "summary.md"
    assert publish(verdicts_of(found), "text", None, {**environment, "GITHUB_STEP_SUMMARY": str(page)}) == []
    assert not page.exists()


def test_files_that_cannot_be_written(found, tmp_path):
    with pytest.raises(DataError, match="cannot write the step summary"):
        publish(trouble("x"), "x", None, {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(tmp_path)})
    with pytest.raises(DataError, match="cannot write"):
        publish(trouble("x"), "x", tmp_path, {})
