import errno

import pytest

from robustbench_bi.atomic import replacing
from robustbench_bi.errors import DataError


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
