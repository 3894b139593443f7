"""What a page asks about an album, answered as plain numbers and texts: by the server, and for the folder of files."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustbench_bi.corruptions import category_of, in_words
from robustbench_bi.ground.cells import CLEAN, Cell, cells_by_corruption
from robustbench_bi.reports.view.album import Album
from robustbench_bi.reports.view.choices import FILTERS, ORDERS, Choice, Query, chosen, first_cell
from robustbench_bi.reports.view.columns import CellColumns

PAGE = 24
"""Pictures at once."""
SHOWN_CLASSES = 20
SHOWN_PAIRS = 30
SHOWN_ANSWERS = 8
"""Of a class, where they stand in a list."""

Json = dict[str, Any]


def about(album: Album) -> Json:
    """What does not change while a page is open: models, cells, classes, and what can be chosen."""
    return {
        "models": [
            {"name": name, "folder": run.directory.name, "view": view, "suffix": "png"}
            for name, run, view in zip(album.models, album.runs, album.pictures.views, strict=True)
        ],
        "images": len(album),
        "classes": list(album.class_names),
        "clean": album.has_clean,
        "corruptions": _corruptions(album),
        "first": list(first_cell(album)),
        "filters": [_choice(row) for row in FILTERS if row.offered(album)],
        "orders": [_choice(row) for row in ORDERS if row.offered(album)],
        "page": PAGE,
        "notes": album.notes,
        "pictures": not album.pictures.refusal,
    }


def _corruptions(album: Album) -> list[Json]:
    """Corruptions with their severities, by category."""
    found = [
        {
            "name": name,
            "words": in_words(name),
            "category": category_of(name),
            "severities": [severity for _, severity in cells],
        }
        for name, cells in cells_by_corruption(album.cells).items()
    ]
    return [
        {"category": category, "corruptions": list(own)}
        for category, own in groupby(found, key=lambda corruption: corruption["category"])
    ]


def _choice(row: Choice) -> Json:
    return {"name": row.name, "words": row.words, "needs": row.needs}


def grid(album: Album, query: Query, start: int = 0) -> Json:
    """A page of pictures.

    Args:
        album, query: of which; see `chosen`.
        start: how many come before the page.
    """
    places = chosen(album, query)
    return {"total": len(places), "start": start, "rows": rows(album, query.cell, places[start : start + PAGE])}


def rows(album: Album, cell: Cell, places: Sequence[int] | NDArray[np.int64]) -> list[Json]:
    """Images with the answers of all models, when clean (where that is known) and in a cell."""
    corrupted = [columns.cell(cell) for columns in album.columns]
    clean = [columns.cell(CLEAN) for columns in album.columns] if album.has_clean else None
    return [
        {
            **_image(album, place),
            "clean": None if clean is None else [_answer(columns, place) for columns in clean],
            "answers": [_answer(columns, place) for columns in corrupted],
        }
        for place in map(int, places)
    ]


def _image(album: Album, place: int) -> Json:
    return {"image": int(album.image_ids[place]), "name": album.names[place], "label": int(album.labels[place])}


def _answer(columns: CellColumns, place: int) -> Json:
    """What the records hold of an image: the first answer, and the place and share of what would have been right."""
    loss = float(columns.loss[place])
    return {
        "answer": int(columns.prediction[place]),
        "confidence": round(float(columns.confidence[place]), 6),
        "right": bool(columns.rank[place] < 1),
        "rank": int(columns.rank[place]),
        "label_confidence": round(float(np.exp(-loss)), 6),
        "loss": round(loss, 6),
    }


def picture(album: Album, image_id: int, corruption: str) -> Json:
    """An image when clean and under all severities of a corruption, with all answers and where they are recorded.

    Raises:
        InputError: there is no such image.
    """
    place = album.place_of(image_id)
    cells = [cell for cell in album.cells if cell == CLEAN or cell[0] == corruption]
    return {**_image(album, place), "cells": [_cell(album, cell, place) for cell in cells]}


def _cell(album: Album, cell: Cell, place: int) -> Json:
    answers = []
    for columns in album.columns:
        where = columns.place(cell, place)
        answers.append({**_answer(columns.image(cell, place), 0), "file": where.file, "row": where.row})
    return {"corruption": cell[0], "severity": cell[1], "answers": answers}


def mistakes(album: Album, model: int, cells: Sequence[Cell]) -> Json:
    """What a model takes for what in some cells.

    Returns:
        "answers" and "wrong", how many; "classes", those most often in a mistake, as label or answer, in their order;
        "counts", of wrong answers by label and answer among these; "right" and "others", the right answers of each
        label, and its wrong ones among the classes that are not shown; "pairs", the most frequent [label, answer,
        count] of all classes; "lists", for pages where the table would be nearly empty: of the labels with the most
        wrong answers, how many are right and wrong, and the most frequent wrong [answer, count].
    """
    classes = len(album.class_names)
    pairs, right = np.zeros(0, dtype=np.int64), np.zeros(classes, dtype=np.int64)
    for cell in cells:
        columns = album.columns[model].cell(cell)
        wrong = ~columns.right
        own = album.labels[wrong].astype(np.int64) * classes + columns.prediction[wrong]
        pairs = np.concatenate([pairs, own])
        right += np.bincount(album.labels[~wrong], minlength=classes)
    keys, counts = np.unique(pairs, return_counts=True)
    by_label, by_answer = keys // classes, keys % classes
    involved = np.bincount(by_label, counts, classes) + np.bincount(by_answer, counts, classes)
    shown = np.sort(np.argsort(-involved, kind="stable")[:SHOWN_CLASSES])
    table = np.zeros((len(shown), len(shown)), dtype=np.int64)
    inside = np.isin(by_label, shown) & np.isin(by_answer, shown)
    table[np.searchsorted(shown, by_label[inside]), np.searchsorted(shown, by_answer[inside])] = counts[inside]
    all_wrong = np.bincount(by_label, counts, classes).astype(np.int64)
    most = np.argsort(-counts, kind="stable")[:SHOWN_PAIRS]
    return {
        "answers": len(album) * len(cells),
        "wrong": int(counts.sum()),
        "classes": shown.tolist(),
        "counts": table.tolist(),
        "right": right[shown].tolist(),
        "others": (all_wrong[shown] - table.sum(axis=1)).tolist(),
        "pairs": [[int(by_label[at]), int(by_answer[at]), int(counts[at])] for at in most],
        "lists": [
            {
                "label": int(label),
                "right": int(right[label]),
                "wrong": int(all_wrong[label]),
                "answers": _most(by_answer[by_label == label], counts[by_label == label]),
            }
            for label in np.argsort(-all_wrong, kind="stable")[:SHOWN_CLASSES]
            if all_wrong[label]
        ],
    }


def _most(answers: NDArray[np.int64], counts: NDArray[np.int64]) -> list[list[int]]:
    """The most frequent [answer, count]."""
    order = np.argsort(-counts, kind="stable")[:SHOWN_ANSWERS]
    return [[int(answers[at]), int(counts[at])] for at in order]
