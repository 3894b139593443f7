from collections import Counter

import numpy as np
import pandas as pd
import pytest

from robustbench_bi.reports.view import answers
from robustbench_bi.reports.view.choices import Query

FOG = ("fog", 3)


def test_a_page_of_the_grid_has_what_the_records_have(album, runs):
    found = answers.grid(album, Query(0, None, FOG, sort="data"), start=24)
    assert (found["total"], found["start"], [row["image"] for row in found["rows"]]) == (30, 24, list(range(24, 30)))
    records = [run.records(names=False).astype({"corruption": str}) for run in runs]
    for row in found["rows"]:
        for model, own in enumerate(records):
            of_image = own[own["image_id"] == row["image"]].set_index(["corruption", "severity"])
            for cell, said in ((("none", 0), row["clean"][model]), (FOG, row["answers"][model])):
                record = of_image.loc[cell]
                assert (said["answer"], said["rank"]) == (record["prediction"], record["rank"])
                assert said["right"] == (record["rank"] == 0)
                assert said["confidence"] == pytest.approx(record["confidence"], abs=1e-6)
                assert said["label_confidence"] == pytest.approx(np.exp(-record["loss"]), abs=1e-6)
            assert row["label"] == record["label"]


def test_a_picture_says_where_it_is_recorded(album, runs):
    found = answers.picture(album, 21, "fog")
    assert [(cell["corruption"], cell["severity"]) for cell in found["cells"]] == [
        ("none", 0), ("fog", 1), ("fog", 3), ("fog", 5),
    ]  # fmt: skip
    for cell in found["cells"]:
        for run, said in zip(runs, cell["answers"], strict=True):
            row = pd.read_parquet(run.directory / said["file"]).iloc[said["row"]]
            assert (row["image_id"], row["severity"], row["prediction"]) == (21, cell["severity"], said["answer"])


def test_mistakes_are_counted_by_class_and_answer(album, runs):
    records = runs[1].records().astype({"corruption": str}).query("corruption == 'fog'")
    cells = [("fog", severity) for severity in (1, 3, 5)]
    found = answers.mistakes(album, 1, cells)
    wrong = records[records["rank"] > 0]
    expected = Counter(zip(wrong["label"], wrong["prediction"], strict=True))
    assert (found["answers"], found["wrong"]) == (90, len(wrong))
    assert found["classes"] == list(range(10))
    counts = {(row, column): n for row, own in enumerate(found["counts"]) for column, n in enumerate(own) if n}
    assert counts == expected
    assert {(label, answer): n for label, answer, n in found["pairs"]}.items() <= expected.items()
    assert [n for *_, n in found["pairs"]] == sorted(expected.values(), reverse=True)[: len(found["pairs"])]
    right = records[records["rank"] == 0]["label"].value_counts()
    assert found["right"] == [int(right.get(number, 0)) for number in range(10)]


def test_of_many_classes_those_most_often_in_a_mistake_are_shown(album, monkeypatch):
    whole = answers.mistakes(album, 0, [FOG])
    monkeypatch.setattr(answers, "SHOWN_CLASSES", 3)
    found = answers.mistakes(album, 0, [FOG])
    table = np.array(whole["counts"])
    involved = table.sum(axis=0) + table.sum(axis=1)
    assert sorted(involved[found["classes"]]) == sorted(involved)[-3:]
    assert (np.array(found["counts"]) == table[np.ix_(found["classes"], found["classes"])]).all()
    sums = np.array(found["counts"]).sum(axis=1) + found["others"] + found["right"]
    assert sums.tolist() == [int((album.labels == number).sum()) for number in found["classes"]]


def test_what_a_page_begins_with(album):
    found = answers.about(album)
    assert [model["name"] for model in found["models"]] == ["resnet50", "binet50"]
    assert [model["view"] for model in found["models"]] == [0, 0]
    assert found["corruptions"] == [
        {
            "category": "noise",
            "corruptions": [
                {"name": "gaussian_noise", "words": "Gaussian noise", "category": "noise", "severities": [1, 3, 5]}
            ],
        },
        {
            "category": "weather",
            "corruptions": [{"name": "fog", "words": "fog", "category": "weather", "severities": [1, 3, 5]}],
        },
    ]
    assert found["first"] == ["gaussian_noise", 3]


def test_of_many_classes_a_list_says_what_each_is_taken_for(album, runs, monkeypatch):
    monkeypatch.setattr(answers, "SHOWN_ANSWERS", 2)
    cells = [("fog", severity) for severity in (1, 3, 5)]
    found = answers.mistakes(album, 1, cells)["lists"]
    records = runs[1].records().astype({"corruption": str}).query("corruption == 'fog'")
    wrong = records[records["rank"] > 0]
    assert [own["wrong"] for own in found] == sorted(wrong["label"].value_counts(), reverse=True)
    for own in found:
        of_label = records[records["label"] == own["label"]]
        assert own["right"] == (of_label["rank"] == 0).sum() and own["right"] + own["wrong"] == len(of_label)
        times = wrong[wrong["label"] == own["label"]]["prediction"].value_counts()
        assert [count for _, count in own["answers"]] == times.tolist()[:2]
        assert all(times[answer] == count for answer, count in own["answers"])
