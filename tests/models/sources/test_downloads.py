"""A hub that cannot be reached is given up within seconds, and what it has not to be asked for is not."""

import http.server
import socket
import threading
import time
import urllib.request

import pytest
from huggingface_hub import constants

from robustbench_bi.errors import WeightsError
from robustbench_bi.models import create_model
from robustbench_bi.models.sources import downloads
from robustbench_bi.models.sources.downloads import downloaded, is_reachable

URL = "https://hub.invalid/net.pth"


@pytest.fixture
def silent():
    """The URL of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/net.pth"


def test_a_silent_host_is_given_up(silent):
    begun = time.monotonic()
    assert not is_reachable(silent, seconds=0.2)
    assert time.monotonic() - begun < 2


def test_a_silent_name_server_is_given_up(monkeypatch):
    waits = threading.Event()
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: waits.wait(30))
    assert not is_reachable(URL, seconds=0.1)
    waits.set()


def test_any_answer_will_do():
    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_error(403)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert is_reachable(f"http://127.0.0.1:{server.server_port}/net.pth", seconds=5)


@pytest.fixture
def unreachable(monkeypatch):
    monkeypatch.setattr(downloads, "is_reachable", lambda url: False)


def test_the_library_is_not_asked_for_what_cannot_be_had(unreachable):
    message = (
        f"net could not be downloaded: hub.invalid does not answer. Download {URL} on a machine with internet access, "
        "and give"
    )
    with pytest.raises(WeightsError, match=message):
        downloaded("net", lambda: pytest.fail("was asked"), URL)


def test_what_is_here_needs_no_network(unreachable):
    assert downloaded("net", lambda: constants.HF_HUB_OFFLINE, URL, kept=True) is True
    assert constants.HF_HUB_OFFLINE is False


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("torchvision:shufflenet_v2_x0_5", "https://download.pytorch.org/models/shufflenetv2_x0.5-f707e7126e.pth"),
        ("timm:resnet18", "https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors"),
        ("resnet50", "https://download.pytorch.org/models/resnet50-0676ba61.pth"),
    ],
)
def test_the_file_is_named(name, file, unreachable, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    with pytest.raises(WeightsError, match=f"Download {file} on a machine with internet access"):
        create_model(name, weights="pretrained")
