"""The files of one training in the folder of its results, and what of it they already hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from robustbench_bi.errors import DataError
from robustbench_bi.ground.atomic import remove_partial_files
from robustbench_bi.models.weights import read_metadata
from robustbench_bi.training.logs import write_log
from robustbench_bi.training.state import Position, read_state, require_same


@dataclass(frozen=True)
class Files:
    """What lies in a folder under the name of a model.

    Attributes:
        folder: made with the first file.
        name: of the model, fit for a file.
    """

    folder: Path
    name: str

    @property
    def weights(self) -> Path:
        """The result."""
        return self.folder / f"{self.name}.safetensors"

    @property
    def last(self) -> Path:
        """The weights after the last whole epoch, to look at meanwhile."""
        return self.folder / f"{self.name}-last.safetensors"

    @property
    def state(self) -> Path:
        """All that is needed to go on."""
        return self.folder / f"{self.name}-state.safetensors"

    @property
    def log(self) -> Path:
        """One line an epoch."""
        return self.folder / f"{self.name}.csv"

    @property
    def events(self) -> Path:
        """The folder of TensorBoard's files."""
        return self.folder / f"{self.name}-tensorboard"

    def finished(self, identity: Mapping[str, Any]) -> bool:
        """Whether this training was finished before.

        Raises:
            RunMismatchError: the result is of another training.
            DataError: the folder cannot be entered.
        """
        with self._reachable():
            if not self.weights.exists():
                return False
        require_same(self.weights, read_metadata(self.weights), identity)
        self.clear()
        return True

    def kept(self, identity: Mapping[str, Any]) -> tuple[dict[str, Tensor], Position] | None:
        """The state that this training is in, if it was begun. The log is made to fit it.

        Raises:
            RunMismatchError: the state is of another training.
            DataError: the folder cannot be written.
        """
        with self._reachable():
            remove_partial_files(self.folder)
            begun = self.state.exists()
        kept = None
        if begun:
            require_same(self.state, read_metadata(self.state), identity)
            kept = read_state(self.state)
        rows = kept[1].log if kept else []
        if rows:
            write_log(self.log, rows)
        else:  # which columns it has is known after the first epoch
            with self._reachable():
                self.log.unlink(missing_ok=True)
        return kept

    def clear(self) -> None:
        """Remove what only an unfinished training needs.

        Raises:
            DataError: it cannot be removed.
        """
        with self._reachable():
            for path in (self.last, self.state):
                path.unlink(missing_ok=True)

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise DataError(f"cannot use the folder {self.folder}: {reason}; choose another --out") from error
