import socket
import sys
import warnings
from urllib.error import URLError

import pytest

from robustbench_bi.data.download import data_root, downloading, is_at_hand
from robustbench_bi.errors import DataError


def test_messages_of_a_download_leave_stdout_alone(tmp_path, capsys):
    with downloading("pictures", "https://example.org/pictures.tgz", tmp_path / "new" / "pictures"):
        sys.stdout.write("Downloading ...\n")
        warnings.warn("an old interface", DeprecationWarning, stacklevel=1)
        assert (tmp_path / "new").is_dir()
        assert socket.getdefaulttimeout() is not None
    assert capsys.readouterr() == ("", "Downloading ...\n")
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize(
    "error", [OSError("no\nroute"), RuntimeError("no route"), EOFError("no route"), URLError(OSError("no route"))]
)
def test_every_failure_is_one_line_that_says_what_to_fetch(tmp_path, error):
    expected = (
        rf"pictures is not in {tmp_path} and could not be downloaded \(no route\): download URL and unpack it so that"
    )
    with pytest.raises(DataError, match=expected), downloading("pictures", "URL", tmp_path / "pictures"):
        raise error
    assert socket.getdefaulttimeout() is None


def test_a_folder_that_cannot_be_made_is_such_a_failure(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DataError, match=r"could not be downloaded .*(exists|directory)"),
        downloading("pictures", "URL", tmp_path / "file" / "below" / "pictures"),
    ):
        pass


def test_the_default_folder_is_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_root(None) == tmp_path / ".cache" / "robustbench_bi"
    assert data_root("~/sets") == tmp_path / "sets"


@pytest.mark.parametrize(("source", "folder"), [("cifar-10", "cifar-10-batches-py"), ("imagenette", "imagenette2-320")])
def test_what_would_be_fetched_is_not_at_hand(source, folder, tmp_path):
    assert not is_at_hand(f"{source}:{tmp_path}")
    (tmp_path / folder).mkdir()
    assert is_at_hand(f"{source}:{tmp_path}")
    assert is_at_hand(f"{source}:{tmp_path / folder}")
    assert not is_at_hand(f"{source}:{tmp_path / folder / 'deeper'}")


def test_what_is_never_fetched_is_always_at_hand(tmp_path):
    assert all(is_at_hand(source) for source in ("demo", f"imagenet-c:{tmp_path}", str(tmp_path / "missing")))
