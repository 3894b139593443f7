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
from robustbench_bi.models.sources.downloads import ask, ask_hubs, downloaded, is_reachable

URL = "https://hub.invalid/net.pth"


@pytest.fixture(autouse=True)
def nothing_asked_before(monkeypatch):
    monkeypatch.setattr(downloads, "_questions", {})


@pytest.fixture
def offline(monkeypatch):
    def fail(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", fail)


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


def test_patience_counts_from_when_the_host_was_first_asked(silent):
    ask(silent, 1.0)
    time.sleep(0.8)
    begun = time.monotonic()
    assert not is_reachable(f"{silent}/another/file", seconds=30)
    assert time.monotonic() - begun < 0.8


def test_an_answer_counts_though_its_thread_had_no_turn_meanwhile(monkeypatch):
    class Answer:
        def close(self):
            pass

    def open_late(*_, **__):
        time.sleep(0.3)
        return Answer()

    monkeypatch.setattr(urllib.request, "urlopen", open_late)
    asked = ask(URL, 0.1)
    time.sleep(0.2)
    assert asked.wait()


def test_an_old_answer_is_asked_anew(monkeypatch):
    answers = iter([OSError("no route"), None])

    class Answer:
        def close(self):
            pass

    def open_next(*_, **__):
        if error := next(answers):
            raise error
        return Answer()

    monkeypatch.setattr(urllib.request, "urlopen", open_next)
    assert [is_reachable(URL), is_reachable(URL)] == [False, False]
    later = time.monotonic() + downloads.ASKED_ANEW + 1
    monkeypatch.setattr(downloads.time, "monotonic", lambda: later)
    assert is_reachable(URL)


@pytest.mark.parametrize(
    ("model", "weights", "asked"),
    [
        ("timm:resnet18", "pretrained", ["huggingface.co"]),
        ("torchvision:resnet50", "pretrained", ["download.pytorch.org"]),
        ("hf:owner/name", None, ["huggingface.co"]),
        ("hf:owner/name", "own.safetensors", []),
        ("hf:{folder}", None, []),
        ("timm:resnet18", None, []),
        ("timm:resnet18", "none", []),
        ("onnx:network.onnx", None, []),
        ("binet50", None, []),
    ],
)
def test_only_a_hub_that_is_needed_is_asked_early(model, weights, asked, tmp_path, offline, monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    ask_hubs([model.format(folder=tmp_path)], [weights])
    assert list(downloads._questions) == asked


def test_another_endpoint_is_asked(offline, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.invalid")
    ask_hubs(["hf:owner/name", "binet50"], [None, None])
    assert list(downloads._questions) == ["mirror.invalid"]


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
