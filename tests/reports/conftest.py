"""A browser for the tests of what is shown in one."""

import pytest
from chromium import Browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium, started once for a file of tests."""
    started = Browser(tmp_path_factory.mktemp("profile"))
    yield started
    started.close()
