"""What a figure is drawn for: known before anything is drawn, so nothing large is imported here."""

from dataclasses import dataclass
from pathlib import Path

WIDTH = 7.2
"""Of a figure, in inches: both columns of a paper."""
_NARROW = 5.0


@dataclass(frozen=True)
class Sheet:
    """What a figure is drawn for.

    Attributes:
        width: of the figure, in inches; 7.2 are both columns of a paper, 3.3 are one.
        style: a matplotlib style file, whose settings win over ours.
    """

    width: float = WIDTH
    style: Path | None = None

    @property
    def narrow(self) -> bool:
        """Whether it is one column of a paper."""
        return self.width < _NARROW


PAGE = Sheet()
