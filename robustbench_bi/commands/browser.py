"""The user's browser."""

from __future__ import annotations

import os
import sys
import webbrowser


def open_browser(address: str) -> bool:
    """Open an address in the user's browser; False where there is none.

    Without a screen only the browser that BROWSER names is opened: one for the terminal would take it over.
    """
    has_screen = sys.platform in ("win32", "darwin") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    if not has_screen and not os.environ.get("BROWSER"):
        return False
    try:
        return webbrowser.open(address)
    except webbrowser.Error:
        return False
