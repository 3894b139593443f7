import coloured_boxes
import pytest
from click.testing import CliRunner

import robustbench_bi as rb
from robustbench_bi.cli import cli


@pytest.fixture(scope="session")
def boxes(tmp_path_factory):
    """Annotated pictures, as `--data` names them."""
    folder = tmp_path_factory.mktemp("boxes")
    coloured_boxes.write(folder)
    return f"coco:{folder / 'boxes.json'}"


@pytest.fixture(scope="session")
def found_run(boxes, tmp_path_factory):
    """A detector that is perfect on clean pictures."""
    out = tmp_path_factory.mktemp("runs")
    return rb.detect(coloured_boxes.find, boxes, out=out, block_size=2, **coloured_boxes.CELLS)


@pytest.fixture(scope="session")
def strict_run(boxes, tmp_path_factory):
    """One that passes over what is not of a strong colour."""
    out = tmp_path_factory.mktemp("runs")
    return rb.detect(coloured_boxes.find_strictly, boxes, out=out, block_size=2, **coloured_boxes.CELLS)


@pytest.fixture(scope="session")
def invoke():
    """The command line, which must end with an exit code."""

    def invoked(*arguments, code=0):
        result = CliRunner().invoke(cli, [*map(str, arguments)])
        assert result.exit_code == code, result.output + repr(result.exception)
        return result

    return invoked
