import numpy as np
import pytest

from robustbench_bi.reports.figures.gallery import gallery_sheet
from robustbench_bi.reports.figures.sheet import Sheet


def pictures(rows: int, columns: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {f"row_{row}": random.integers(0, 256, (columns, 12, 18, 3), dtype=np.uint8) for row in range(rows)}


def test_every_picture_stands_in_its_row_and_column() -> None:
    own = pictures(3, 5)
    sheet = gallery_sheet(own, "a caption")
    assert len(sheet.axes) == 15
    for number, axes in enumerate(sheet.axes):
        row, column = divmod(number, 5)
        assert np.array_equal(axes.images[0].get_array(), own[f"row_{row}"][column])
    places = np.array([axes.get_position().bounds for axes in sheet.axes]).reshape(3, 5, 4)
    assert (np.diff(places[:, :, 0], axis=1) > 0).all() and (np.diff(places[:, :, 1], axis=0) < 0).all()
    # Pictures keep their proportions.
    size = places[0, 0, 2:] * sheet.get_size_inches()
    assert size[0] / size[1] == pytest.approx(18 / 12)


def test_names_headings_and_caption_are_written() -> None:
    texts = [text.get_text() for text in gallery_sheet(pictures(2, 2), "below", headings=["left", "right"]).texts]
    assert texts == ["row_0", "row_1", "left", "right", "below"]


def test_in_one_column_names_stand_in_lines_beside_their_rows() -> None:
    own = dict.fromkeys(("jpeg_compression", "fog"), np.zeros((5, 16, 16, 3), np.uint8))
    sheet = gallery_sheet(
        own, "a caption that is longer than one column of a paper is wide, and so is broken", sheet=Sheet(3.3)
    )
    assert sheet.get_figwidth() == 3.3
    assert sheet.texts[0].get_text() == "JPEG\ncompression"
    assert "\n" in sheet.texts[-1].get_text()
    sheet.canvas.draw()
    below, pictured = sheet.texts[-1].get_window_extent(), sheet.axes[-1].get_window_extent()
    beside = sheet.texts[0].get_window_extent()
    assert below.y1 < pictured.y0 and beside.x0 >= 0 and beside.x1 <= sheet.axes[0].get_window_extent().x0
