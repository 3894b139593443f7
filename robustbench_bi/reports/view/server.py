"""The server of the local page: on the loopback interface alone, for those who know the token of its address."""

from __future__ import annotations

import errno
import hmac
import json
import secrets
import sys
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from robustbench_bi.errors import BivoRobustError, InputError, UnknownNameError
from robustbench_bi.ground.cells import CLEAN, Cell
from robustbench_bi.reports.view import answers
from robustbench_bi.reports.view.album import Album
from robustbench_bi.reports.view.choices import cell_of, number_of, query_of
from robustbench_bi.reports.view.page import policy, render

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class ViewServer(ThreadingHTTPServer):
    """Answers what the page asks about an album until it is closed.

    Args:
        album: the runs.
        port: of the loopback interface; 0 takes a free one.

    Raises:
        InputError: the port is in use, or not for this user.
    """

    daemon_threads = True
    # Elsewhere it lets a port be taken again at once; on Windows it would share one that is in use.
    allow_reuse_address = sys.platform != "win32"

    def __init__(self, album: Album, port: int = 0) -> None:
        self.album = album
        self.token = secrets.token_urlsafe(24)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be opened ({error.strerror})"
            raise InputError(f"port {port} {reason}; choose another with --port, or leave it out") from error

    @property
    def address(self) -> str:
        """Of the page, with its token."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that hangs up before it has its answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: ViewServer
    protocol_version = "HTTP/1.1"
    server_version = "bivo-robust"
    sys_version = ""
    timeout = 60

    def do_GET(self) -> None:
        """Answer with the page, numbers as JSON, or a picture."""
        if not self._is_asked_by_name() or (path := self._path_after_token()) is None:
            self._send(HTTPStatus.FORBIDDEN, "text/plain", b"Open the whole address that `bivo-robust view` prints.\n")
            return
        asked = dict(parse_qsl(urlsplit(self.path).query))
        try:
            kind, body = _answer(self.server.album, path, asked)
        except InputError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, error)
        except UnknownNameError as error:
            self._refuse(HTTPStatus.NOT_FOUND, error)
        except BivoRobustError as error:
            self._refuse(HTTPStatus.CONFLICT, error)
        else:
            self._send(HTTPStatus.OK, kind, body)

    def _is_asked_by_name(self) -> bool:
        """Whether the browser asked for this machine: another name that leads here belongs to another's page."""
        return self.headers.get("Host", "") in [f"{name}:{self.server.server_port}" for name in NAMES]

    def _path_after_token(self) -> str | None:
        """What follows the token in the address; None where that is not ours."""
        token, slash, path = urlsplit(self.path).path.removeprefix("/").partition("/")
        same = hmac.compare_digest(token.encode("utf-8", "surrogateescape"), self.server.token.encode())
        return unquote(path) if same and slash else None

    def _refuse(self, status: HTTPStatus, error: Exception) -> None:
        body = json.dumps({"error": " ".join(str(error).split())}).encode()
        self._send(status, "application/json", body)

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        text = "" if kind.startswith("image/") else "; charset=utf-8"
        headers = {"Content-Type": kind + text, "Content-Length": str(len(body)), **_HEADERS}
        headers["Content-Security-Policy"] = f"{policy(_SELF)}; frame-ancestors 'none'"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing on the terminal."""


_SELF = "'self'"


def _answer(album: Album, path: str, asked: Mapping[str, str]) -> tuple[str, bytes]:
    """Content type and content of a path below the token.

    Raises:
        UnknownNameError: there is no such path.
        BivoRobustError: what is asked for is not there, or cannot be shown.
    """
    if not path:
        return "text/html", render({"live": True, "about": answers.about(album)}).encode()
    room, _, rest = path.partition("/")
    if room == "pictures":
        return "image/png", album.pictures.png(*_picture(album, rest))
    if room == "api" and rest in _API:
        return "application/json", json.dumps(_API[rest](album, asked)).encode()
    raise UnknownNameError(f"there is no {path}")


def _picture(album: Album, path: str) -> tuple[int, int, Cell]:
    """View, place and cell of `<view>/<image id>/<corruption>-<severity>.png`."""
    view, _, rest = path.partition("/")
    image_id, _, name = rest.partition("/")
    corruption, _, severity = name.removesuffix(".png").rpartition("-")
    asked = {"view": view, "image": image_id, "corruption": corruption, "severity": severity}
    number = number_of(asked, "view", len(album.runs))
    if number not in album.pictures.views:
        raise InputError(f"there are no images {view!r}")
    return number, album.place_of(_image(asked)), cell_of(album, asked)


def _image(asked: Mapping[str, str]) -> int:
    image_id = number_of(asked, "image", 2**63)
    if image_id is None:
        raise InputError("an image is named by its number, got none")
    return image_id


def _grid(album: Album, asked: Mapping[str, str]) -> answers.Json:
    return answers.grid(album, query_of(album, asked), number_of(asked, "start", 2**63) or 0)


def _one_picture(album: Album, asked: Mapping[str, str]) -> answers.Json:
    return answers.picture(album, _image(asked), asked.get("corruption", ""))


def _mistakes(album: Album, asked: Mapping[str, str]) -> answers.Json:
    """Severity 0 of a corruption stands for all of its severities."""
    model, corruption = number_of(asked, "model", len(album.runs)) or 0, asked.get("corruption", "")
    if asked.get("severity") == "0" and corruption != CLEAN[0]:
        cells = [cell for cell in album.cells if cell[0] == corruption]
    else:
        cells = [cell_of(album, asked)]
    return answers.mistakes(album, model, cells)


_API = {"grid": _grid, "picture": _one_picture, "mistakes": _mistakes}
