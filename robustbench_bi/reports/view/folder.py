"""A part of an album as a folder of files: the same page with what it can ask answered in advance, for some images."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from robustbench_bi.errors import DataError
from robustbench_bi.ground.atomic import replacing
from robustbench_bi.ground.cells import CLEAN, MEAN, Cell, Progress, cell_label, cells_by_corruption
from robustbench_bi.reports.page.pictures import picture_file
from robustbench_bi.reports.view import answers
from robustbench_bi.reports.view.album import Album
from robustbench_bi.reports.view.choices import FILTERS, ORDERS, Query, chosen, middle_cell
from robustbench_bi.reports.view.page import policy, render

INDEX = "index.html"
_OWN = re.compile(r"\d+/\d+/\w+-\d\.(png|jpeg)")


def write_folder(
    album: Album, out: Path, limit: int, progress: Callable[[Progress], None] | None = None
) -> tuple[Path, int]:
    """Write the page and its pictures.

    Args:
        album: the runs.
        out: the folder, which is made; what an earlier call wrote there is replaced.
        limit: at most so many images, see `telling_places`.
        progress: called after each cell whose pictures are written.

    Returns:
        The page, and how many images it holds.

    Raises:
        DataError: a picture cannot be read, or a file cannot be written.
    """
    places = telling_places(album, limit)
    suffixes = {} if album.pictures.refusal else _write_pictures(album, places, out / "pictures", progress)
    about = answers.about(album)
    for model in about["models"]:
        model["suffix"] = suffixes.get(model["view"], "")
    about["notes"] += _notes(album, len(places), suffixes)
    data = {"live": False, "held": len(places), "about": about, **_answers(album, places)}
    with replacing(out / INDEX) as partial:
        partial.write_text(render(data, policy("'self'", "file:")), encoding="utf-8", newline="\n")
    return out / INDEX, len(places)


def telling_places(album: Album, limit: int) -> list[int]:
    """The positions of the images that say most, in the order of the data.

    Every model under every corruption, at the middle one of its severities, has its first image by each order; then its
    second; and so on until there are enough.
    """
    cells = [middle_cell(own) for own in cells_by_corruption(album.cells).values()] or [CLEAN]
    orders = [row.name for row in ORDERS if row.offered(album) and row.name != "data"]
    queries = [
        Query(model, None, cell, sort=sort) for model in range(len(album.runs)) for cell in cells for sort in orders
    ]
    ranked = [chosen(album, query)[:limit].tolist() for query in queries]
    found: dict[int, None] = {}
    for place in (own[rank] for rank in range(min(limit, len(album))) for own in ranked):
        if len(found) == limit:
            break
        found.setdefault(place)
    return sorted(found)


def _notes(album: Album, held: int, suffixes: dict[int, str]) -> list[str]:
    notes = [
        f"This folder holds {held:,} of {len(album):,} images: those that come first, in turn, by loss, by confidence "
        "of wrong answers and by disagreement of the models, under each corruption at its middle severity. The tables "
        "of mistakes count all images."
    ]
    if "jpeg" in suffixes.values():
        notes.append(
            "Its images are JPEG copies of at most 224 pixels; the page that bivo-robust view opens shows the bytes "
            "that the networks saw."
        )
    return notes


def _write_pictures(
    album: Album, places: Sequence[int], folder: Path, progress: Callable[[Progress], None] | None
) -> dict[int, str]:
    """Write the pictures of all cells; the suffix of each view's files."""
    suffixes, written, views = {}, set(), sorted(set(album.pictures.views))
    steps = [(view, cell) for cell in album.cells for view in views]
    for number, (view, cell) in enumerate(steps, start=1):
        for place in places:
            suffix, content = picture_file(album.pictures.picture(view, place, cell))
            path = folder / str(view) / str(album.image_ids[place]) / f"{cell[0]}-{cell[1]}.{suffix}"
            _write(path, content)
            suffixes[view] = suffix
            written.add(path)
        if progress is not None:
            done = number * len(places)
            progress(Progress(cell_label(cell), "cells", number, len(steps), done, len(steps) * len(places)))
    for path in folder.glob("*/*/*"):
        if path not in written and _OWN.fullmatch(path.relative_to(folder).as_posix()):
            path.unlink()
    return suffixes


def _write(path: Path, content: bytes) -> None:
    """Write a picture. It need not be whole at every moment: the page that shows it is written last."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}; fix this and run again") from error


def _answers(album: Album, places: Sequence[int]) -> dict[str, Any]:
    """What `sources.js` looks up, by the keys that it makes."""
    held = album.image_ids[list(places)].tolist()
    corruptions = list(dict.fromkeys(corruption for corruption, _ in album.cells))
    return {
        "rows": {_key(cell): {row["image"]: row for row in answers.rows(album, cell, places)} for cell in album.cells},
        "orders": {f"{q.model}/{_key(q.cell)}/{q.sort}": _held(album, q, held) for q in _orders(album)},
        "passing": {
            f"{q.model}/{'' if q.beside is None else q.beside}/{_key(q.cell)}/{q.show}": _held(album, q, held)
            for q in _filters(album)
        },
        "images": {
            f"{image}/{corruption}": answers.picture(album, image, corruption)
            for image in held
            for corruption in corruptions
        },
        "mistakes": {
            f"{model}/{_key(cell)}": answers.mistakes(album, model, cells)
            for model in range(len(album.runs))
            for cell, cells in _tables(album)
        },
    }


def _key(cell: Cell) -> str:
    return f"{cell[0]}-{cell[1]}"


def _held(album: Album, query: Query, held: Sequence[int]) -> list[int]:
    """The images that a query asks for, of those that the folder holds."""
    own = set(held)
    return [image for image in album.image_ids[chosen(album, query)].tolist() if image in own]


def _orders(album: Album) -> Iterator[Query]:
    """Every order of all pictures."""
    for model in range(len(album.runs)):
        for cell in album.cells:
            for row in ORDERS:
                if row.offered(album):
                    yield Query(model, None, cell, sort=row.name)


def _filters(album: Album) -> Iterator[Query]:
    """Every filter but the one that keeps all, for every model beside."""
    models = range(len(album.runs))
    for model in models:
        for beside in (None, *(other for other in models if other != model)):
            for cell in album.cells:
                for row in FILTERS:
                    fits = row.offered(album) and (row.needs != "beside" or beside is not None)
                    if fits and row.name != "all":
                        yield Query(model, beside, cell, show=row.name, sort="data")


def _tables(album: Album) -> Iterator[tuple[Cell, list[Cell]]]:
    """The tables of mistakes: of each cell, and of all severities of a corruption together."""
    yield from ((cell, [cell]) for cell in album.cells)
    yield from (((name, MEAN), cells) for name, cells in cells_by_corruption(album.cells).items())
