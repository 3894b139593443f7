import errno
import subprocess
import sys

import pytest

from robustbench_bi.errors import DataError
from robustbench_bi.ground.atomic import remove_partial_files, replacing


def test_the_file_appears_whole(tmp_path):
    target = tmp_path / "new" / "file.txt"
    with replacing(target) as partial:
        partial.write_text("content")
        assert not target.exists()
    assert target.read_text() == "content"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_failure_leaves_the_old_file(tmp_path, error):
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(error), replacing(target) as partial:
        partial.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_one_clear_line(tmp_path):
    target = tmp_path / "file.txt"
    with pytest.raises(DataError, match=r"cannot write .*file\.txt: No space left on device\. .* run again"):  # noqa: SIM117
        with replacing(target) as partial:
            partial.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"), replacing(tmp_path / "file" / "below.txt") as partial:
        partial.write_text("x")


def test_two_writers_of_one_file_do_not_mix(tmp_path):
    target = tmp_path / "file.txt"
    program = (
        "import sys\nfrom pathlib import Path\nfrom robustbench_bi.ground.atomic import replacing\n"
        "with replacing(Path(sys.argv[1])) as partial:\n"
        "    partial.write_text(sys.argv[2] * 1000)\n    print('written', flush=True)\n    sys.stdin.readline()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen([sys.executable, "-c", program, str(target), letter], **pipes) for letter in "ab"]
    assert [writer.stdout.readline() for writer in writers] == ["written\n"] * 2  # before either puts it in its place
    for writer in writers:
        writer.communicate("go on\n", timeout=120)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert target.read_text() in ("a" * 1000, "b" * 1000)
    assert list(tmp_path.iterdir()) == [target]


def test_only_what_dead_processes_left_is_removed(tmp_path):
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom robustbench_bi.ground.atomic import replacing\n"
        "with replacing(Path(sys.argv[1])) as partial:\n    partial.write_text('half')\n    os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path / "dead.txt")], check=False).returncode == 9
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".dead.txt.")
    with replacing(tmp_path / "alive.txt") as partial:
        partial.write_text("half")
        remove_partial_files(tmp_path)
        assert list(tmp_path.iterdir()) == [partial]
