import hashlib
import shutil
import tarfile

import pytest
from PIL import Image
from torchvision.datasets import Imagenette

from robustbench_bi.data import open_data
from robustbench_bi.data.sources.imagenette import URL
from robustbench_bi.errors import DataError


@pytest.fixture
def extracted(tmp_path):
    folder = tmp_path / "data" / "imagenette2-320"
    for file in ["train/n01440764/0.JPEG", "train/n03888257/1.JPEG", "train/n03888257/2.JPEG", "val/n03000684/3.JPEG"]:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 36)).save(folder / file)
    return folder


@pytest.mark.parametrize("inside", ["", "imagenette2-320"])
def test_an_extracted_folder_is_used_with_imagenets_numbers(extracted, inside):
    path = extracted.parent / inside
    evaluation = open_data(f"imagenette:{path}")
    assert (evaluation.labels.tolist(), evaluation.num_classes) == ([491], 1000)
    training = open_data(f"imagenette:{path}", split="training")
    assert training.labels.tolist() == [0, 701, 701]
    assert evaluation.names() == ("n03000684/3.JPEG",)
    assert training.names() == ("n01440764/0.JPEG", "n03888257/1.JPEG", "n03888257/2.JPEG")


def test_a_missing_folder_is_downloaded_and_unpacked(extracted, tmp_path, url, monkeypatch, capsys):
    archive = tmp_path / "imagenette2-320.tgz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(extracted, "imagenette2-320")
    shutil.rmtree(extracted.parent)
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(Imagenette, "_ARCHIVES", {"320px": (f"{url}/{archive.name}", md5)})
    assert open_data(f"imagenette:{extracted.parent}").labels.tolist() == [491]
    assert [path.name for path in extracted.parent.iterdir()] == ["imagenette2-320"]
    archive.unlink()
    assert len(open_data(f"imagenette:{extracted.parent}", split="training")) == 3
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("damage", ["missing", "other"])
def test_a_failed_download_is_one_clear_error_and_leaves_nothing(tmp_path, url, monkeypatch, damage):
    archive = tmp_path / "imagenette2-320.tgz"
    if damage == "other":
        archive.write_bytes(b"a page that says: log in")
    monkeypatch.setattr(Imagenette, "_ARCHIVES", {"320px": (f"{url}/{archive.name}", "0" * 32)})
    root = tmp_path / "data"
    with pytest.raises(DataError, match=rf"imagenette is not in {root} and could not be downloaded .*: download {URL}"):
        open_data(f"imagenette:{root}")
    assert not root.exists()
