"""Downloads of published weights: a host that does not answer is given up after seconds, and the file is named."""

from __future__ import annotations

import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from robustbench_bi.errors import InputError, WeightsError

PATIENCE = 4.0
"""Seconds. Their libraries try again and again, for up to a minute."""

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


def is_reachable(url: str, seconds: float = PATIENCE) -> bool:
    """Whether a host answers in time, with whatever answer; through the proxy that the environment names.

    Example:
        >>> is_reachable("http://localhost:9/nothing", 1.0)
        False
    """
    answered = threading.Event()

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds).close()
        except urllib.error.HTTPError:
            pass
        except Exception:  # no name, no route, no answer, no certificate
            return
        answered.set()

    # A name server that is silent holds its caller for longer than any timeout says.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    return answered.is_set()


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
