"""`bivo-robust view` as a user starts it."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest
from click.testing import CliRunner

from robustbench_bi.cli import cli
from robustbench_bi.commands.browser import open_browser
from robustbench_bi.data import open_data
from robustbench_bi.reports.view.server import ViewServer

NO_SCREEN = {"DISPLAY": "", "WAYLAND_DISPLAY": "", "BROWSER": ""}


@pytest.fixture(scope="module")
def run(write_run, make_config, tmp_path_factory):
    """A run on twenty images of the demo, all answers wrong."""
    dataset = open_data("demo", limit=20)
    config = make_config(
        n=20, listing_hash=dataset.listing_hash, source="demo", corruptions=("fog",), severities=(3,), device="cpu",
        data_request={"source": "demo", "limit": 20},
    )  # fmt: skip
    ones = np.ones(20)
    columns = {"image_id": dataset.image_ids, "label": dataset.labels, "prediction": (dataset.labels + 1) % 10}
    columns |= {"rank": ones, "confidence": ones, "loss": ones}
    return write_run(tmp_path_factory.mktemp("runs") / config.folder, config, dict.fromkeys(config.cells, columns))


def invoke(*arguments, code=0):
    result = CliRunner().invoke(cli, ["view", *map(str, arguments)], env=NO_SCREEN)
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def one_line(*arguments):
    (line,) = invoke(*arguments, code=2).stderr.splitlines()
    return line


def test_it_serves_until_ctrl_c(run, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **NO_SCREEN}
    process = subprocess.Popen(
        [sys.executable, "-m", "robustbench_bi", "view", run.directory], cwd=tmp_path, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    address = process.stdout.readline().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", address)
    with urllib.request.urlopen(address) as answer:
        assert b"Images under corruption" in answer.read()
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(address[:-3] + "/")
    with urllib.request.urlopen(f"{address}pictures/0/{open_data('demo', limit=20).image_ids[0]}/fog-3.png") as answer:
        assert answer.read().startswith(b"\x89PNG")
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (130, "")
    assert stderr.splitlines() == [
        "Press Ctrl-C to stop.",
        "No browser was found here; open the address in yours.",
        "Stopped. Run the same command to open the page again, or to write all of it.",
    ]


def test_out_writes_files_that_need_no_server(run, tmp_path, monkeypatch):
    monkeypatch.setattr(ViewServer, "__init__", lambda *_: pytest.fail("a server was started"))
    out = tmp_path / "deep" / "folder"
    result = invoke(run.directory, "--out", out, "--limit", 3, "--quiet")
    assert result.stdout == f"Written: {out / 'index.html'} (with 3 of 20 images)\n"
    assert len(list(out.glob("pictures/0/*/fog-3.png"))) == len(list(out.glob("pictures/0/*/none-0.png"))) == 3
    (out / "notes.txt").write_text("mine")
    invoke(run.directory, "--out", out, "--limit", 2, "--quiet")
    assert len(list(out.glob("pictures/0/*/fog-3.png"))) == 2
    assert (out / "notes.txt").read_text() == "mine"


def test_a_port_in_use_is_one_line(run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert one_line(run.directory, "--port", port).endswith(
            f"port {port} is in use; choose another with --port, or leave it out"
        )


def test_images_that_are_elsewhere_are_one_line(run):
    assert "Looked in /no/such/folder; say where they are with --data PATH" in one_line(
        run.directory, "--data", "folder:/no/such/folder"
    )


@pytest.mark.parametrize("variable", ["DISPLAY", "BROWSER"])
def test_a_browser_is_opened_where_there_is_a_screen_or_one_is_named(monkeypatch, variable):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    monkeypatch.setattr(sys, "platform", "linux")
    for name, value in NO_SCREEN.items():
        monkeypatch.setenv(name, value)
    assert not open_browser("http://127.0.0.1:1/") and opened == []
    monkeypatch.setenv(variable, "this")
    assert open_browser("http://127.0.0.1:1/") and opened == ["http://127.0.0.1:1/"]
