import http.client
import io
import json
import socket
from contextlib import closing
from urllib.parse import quote, urlencode, urlsplit

import numpy as np
import pytest
from PIL import Image

from robustbench_bi.errors import InputError
from robustbench_bi.reports.view.server import ViewServer


@pytest.fixture(scope="module")
def server(album, serve):
    with serve(album) as server:
        yield server


def ask(server, path, host=None, token=True, method="GET"):
    """Status, headers and body of a request below the token."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)) as connection:
        connection.putrequest(method, f"/{server.token}/{path}" if token else path, skip_host=True)
        connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def test_it_listens_on_this_machine_alone(server):
    assert server.server_address[0] == "127.0.0.1"
    assert urlsplit(server.address).hostname == "127.0.0.1"
    assert len(server.token) >= 32 and server.token in server.address


@pytest.mark.parametrize("path", ["/", "/x/", "/{}x/", "/{:.31}/", "/{}", "//", "/%00/", "/é/"])
def test_without_the_token_nothing_is_shown(server, path):
    status, _, body = ask(server, quote(path.format(server.token)), token=False)
    assert (status, body) == (403, b"Open the whole address that `bivo-robust view` prints.\n")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{}", "127.0.0.1", "127.0.0.1:1", "0.0.0.0:{}", ""])
def test_other_names_of_this_machine_are_refused(server, host):
    assert ask(server, "", host=host.format(server.server_port) or " ")[0] == 403
    assert ask(server, "", host=f"localhost:{server.server_port}")[0] == 200


def test_two_servers_have_two_tokens(album, serve, server):
    with serve(album) as other:
        assert other.token != server.token
        assert ask(other, f"/{server.token}/", token=False)[0] == 403


@pytest.mark.parametrize(
    "path",
    [
        "../../../etc/passwd", "pictures/../../run.json", "pictures/0/1/../../../etc/passwd", "api/about", "run.json",
        "pictures/0/1/fog-3.png/../..", "%2e%2e/%2e%2e/etc/passwd", "api/__class__",
    ],
)  # fmt: skip
def test_there_are_no_paths_to_walk(server, path):
    status, headers, body = ask(server, path)
    assert status in (400, 404) and headers["Content-Type"].startswith("application/json")
    assert set(json.loads(body)) == {"error"}


@pytest.mark.parametrize(
    "path",
    [
        "pictures/1/3/fog-3.png", "pictures/9/3/fog-3.png", "pictures/0/99/fog-3.png", "pictures/0/3/fog-2.png",
        "pictures/0/3/snow-3.png", "pictures/0/x/fog-3.png", "pictures/0//fog-3.png", "api/grid?model=7",
        "api/grid?show=some", "api/grid?corruption=fog&severity=٣", "api/picture?image=30&corruption=fog",
        "api/picture?corruption=fog", "api/mistakes?corruption=snow&severity=3", "api/grid?start=-1",
    ],
)  # fmt: skip
def test_what_is_not_there_is_said_in_a_line(server, path):
    status, _, body = ask(server, quote(path, safe="/?=&"))
    assert status in (400, 404)
    assert "\n" not in json.loads(body)["error"]


def test_a_picture_is_a_file_without_loss(server, album):
    status, headers, body = ask(server, "pictures/0/7/gaussian_noise-3.png")
    assert (status, headers["Content-Type"]) == (200, "image/png")
    shown = np.asarray(Image.open(io.BytesIO(body)))
    assert (shown == album.pictures.picture(0, 7, ("gaussian_noise", 3))).all()


def test_the_grid_is_asked_by_address(server):
    asked = {"model": 1, "corruption": "fog", "severity": 5, "sort": "data", "name": "RING/"}
    _, _, body = ask(server, f"api/grid?{urlencode(asked)}")
    found = json.loads(body)
    assert found["total"] == len(found["rows"]) > 0
    assert all(row["name"].startswith("ring/") for row in found["rows"])


def test_severity_0_is_all_severities_of_a_corruption(server):
    asked = {
        severity: json.loads(ask(server, f"api/mistakes?corruption=fog&severity={severity}")[2])
        for severity in (0, 1, 3, 5)
    }
    assert asked[0]["answers"] == 90
    assert asked[0]["wrong"] == sum(asked[severity]["wrong"] for severity in (1, 3, 5))


def test_nothing_but_the_page_may_run_or_be_asked(server):
    _, headers, body = ask(server, "")
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy and "http" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "Access-Control-Allow-Origin" not in headers
    assert b"http://" not in body and b"https://" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_it_only_answers(server, method):
    assert ask(server, "", method=method)[0] == 501


def test_a_port_in_use_is_one_line(album):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} is in use; choose another with --port, or leave it out"):
            ViewServer(album, port)


def test_a_browser_that_hangs_up_is_no_news(server, capsys):
    with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
        connection.sendall(f"GET /{server.token}/ HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n".encode())
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert ask(server, "")[0] == 200
    assert capsys.readouterr().err == ""
