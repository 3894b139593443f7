"""Downloads of published weights: a host that does not answer is given up after seconds, and the file is named."""

from __future__ import annotations

import os
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from robustbench_bi.errors import InputError, WeightsError
from robustbench_bi.models.sources import split_name

PATIENCE = 3.5
"""Seconds: a lost packet is sent again after 1 s and after 3 s. The libraries try again for up to a minute."""
GRACE = 0.5
"""Seconds for an answer that came while the thread had no turn, as beside the import of a large library."""
ASKED_ANEW = 60.0
"""Seconds after which an answer is old: a hub may be back for the next network of a sweep."""

AN_EXISTING_FOLDER = "an existing folder"


def downloaded(what: str, fetch: Callable[[], Any], url: str, kept: bool = False) -> Any:
    """What a library fetches.

    Args:
        what: for messages.
        fetch: calls the library.
        url: of the file, for who must get it in another way.
        kept: whether the library has it from an earlier time.

    Raises:
        WeightsError: it cannot be had.
    """
    there = is_reachable(url)
    if not there and not kept:
        raise WeightsError(f"{what} could not be downloaded: {no_answer(url)}. {_by_hand(url)}")
    try:
        with asking_no_hub(not there):
            return fetch()
    except Exception as error:  # each hub, and each version of its client, has errors of its own
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise WeightsError(f"{what} could not be downloaded: {reason}. {_by_hand(url)}") from error


class _Question:
    """A host is asked for any answer, in a thread: a name server that is silent holds its caller beyond any timeout."""

    def __init__(self, url: str, seconds: float) -> None:
        self.begun, self.answered = time.monotonic(), False
        self._url, self._seconds = url, seconds
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(self._url, method="HEAD"), timeout=self._seconds).close()
        except urllib.error.HTTPError:
            pass
        except Exception:  # no name, no route, no answer, no certificate
            return
        self.answered = True

    def wait(self) -> bool:
        """Whether there is an answer, as soon as that is known, or its time is over."""
        self._thread.join(max(GRACE, self.begun + self._seconds - time.monotonic()))
        return self.answered


_questions: dict[str, _Question] = {}


def ask(url: str, seconds: float = PATIENCE) -> _Question:
    """Begin to ask a host, unless that was done lately."""
    host = urlsplit(url).netloc
    asked = _questions.get(host)
    if asked is None or time.monotonic() - asked.begun > ASKED_ANEW:
        asked = _questions[host] = _Question(url, seconds)
    return asked


def ask_hubs(models: Iterable[Any], weights: Iterable[Any]) -> None:
    """Begin to ask the hubs that networks need, so that a silent one is known once the libraries are loaded.

    Args:
        models: names; modules need none.
        weights: of each, as in `EvalRequest`.
    """
    for model, own in zip(models, weights, strict=True):
        row, name = (isinstance(model, str) and split_name(model)) or (None, "")
        wanted = own == "pretrained" or (own is None and row is not None and row.brings_weights)
        if row is not None and row.hub and wanted and not Path(name).is_dir():
            ask(os.environ.get("HF_ENDPOINT", row.hub) if "huggingface" in row.hub else row.hub)


def is_reachable(url: str, seconds: float = PATIENCE) -> bool:
    """Whether a host answers in time, with whatever answer; through the proxy that the environment names.

    Example:
        >>> is_reachable("http://localhost:9/nothing", 1.0)
        False
    """
    return ask(url, seconds).wait()


def no_answer(url: str) -> str:
    """What is said of a host that is not reachable.

    Example:
        >>> no_answer("https://huggingface.co/owner/name")
        'huggingface.co does not answer'
    """
    return f"{urlsplit(url).netloc} does not answer"


def hub_page(repository: str) -> str:
    """The address of a repository on Hugging Face's hub, or on the one that the environment names."""
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{repository}"


def repository_of(source: str, name: str, otherwise: str = "") -> tuple[str, str | None]:
    """A repository on Hugging Face's hub, and its revision where one is named.

    Args:
        source: of networks, for the message.
        name: OWNER/NAME or OWNER/NAME@REVISION.
        otherwise: what else may be named, for the message.

    Raises:
        InputError: it is none.

    Example:
        >>> repository_of("hf", "google/vit-base-patch16-224@main"), repository_of("hf", "timm/resnet18.a1_in1k")
        (('google/vit-base-patch16-224', 'main'), ('timm/resnet18.a1_in1k', None))
    """
    repository, _, revision = name.partition("@")
    if not re.fullmatch(r"\w[\w.-]*/[\w.-]+", repository):
        joined = f", OWNER/NAME@REVISION or {otherwise}" if otherwise else " or OWNER/NAME@REVISION"
        raise InputError(f"{source}:{name} must be OWNER/NAME{joined}")
    return repository, revision or None


@contextmanager
def asking_no_hub(quiet: bool) -> Iterator[None]:
    """Where it is quiet, Hugging Face's client takes what it has from an earlier time, and asks for nothing.

    It asks for a newer file even where it has one; without a network that takes a minute."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or quiet
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _by_hand(url: str) -> str:
    return f"Download {url} on a machine with internet access, and give the file with --weights FILE"
