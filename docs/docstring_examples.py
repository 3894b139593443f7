"""Our docstrings have one `Example:`; griffe reads examples under `Examples:`."""

import re
from typing import Any

from griffe import Extension, Object


class OneExample(Extension):
    """Renames the section when a docstring is read."""

    def on_object(self, *, obj: Object, **_options: Any) -> None:
        """For griffe, with every module, class and function."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
