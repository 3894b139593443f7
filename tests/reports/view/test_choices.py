import dataclasses

import numpy as np
import pytest

from robustbench_bi.errors import InputError, UnknownNameError
from robustbench_bi.reports.view.album import open_album
from robustbench_bi.reports.view.choices import FILTERS, ORDERS, chosen, first_cell, query_of

CLEAN = ("none", 0)
FOG = {"corruption": "fog", "severity": "3"}


@pytest.fixture(scope="module")
def records(runs):
    """The records of both runs as a table, for the rules written once more, in the plainest way."""
    keys = ["corruption", "severity", "image_id"]
    return [run.records().astype({"corruption": str}).set_index(keys).sort_index() for run in runs]


def kept(records, rule):
    """The ids for which a rule holds of (clean, fog) records of both models."""
    return [
        image
        for image in range(30)
        if rule(*[(own.loc[("none", 0, image)], own.loc[("fog", 3, image)]) for own in records])
    ]


def ids(album, **asked):
    return album.image_ids[chosen(album, query_of(album, FOG | asked))].tolist()


RULES = {
    "all": lambda one, two: True,
    "right-to-wrong": lambda one, two: one[0]["rank"] == 0 and one[1]["rank"] > 0,
    "wrong-to-right": lambda one, two: one[0]["rank"] > 0 and one[1]["rank"] == 0,
    "wrong": lambda one, two: one[1]["rank"] > 0,
    "right": lambda one, two: one[1]["rank"] == 0,
    "only-first": lambda one, two: one[1]["rank"] == 0 and two[1]["rank"] > 0,
    "only-beside": lambda one, two: one[1]["rank"] > 0 and two[1]["rank"] == 0,
    "differ": lambda one, two: one[1]["prediction"] != two[1]["prediction"],
}


@pytest.mark.parametrize("name", FILTERS.names)
def test_a_filter_keeps_what_it_says(album, records, name):
    expected = kept(records, RULES[name])
    assert ids(album, show=name, beside="1", sort="data") == expected
    assert len(expected) > 0 and (len(expected) < 30 or name == "all")
    swapped = kept(records[::-1], RULES[name])
    assert ids(album, show=name, model="1", beside="0", sort="data") == swapped


def test_orders_are_by_their_keys(album, records):
    fog = [own.loc[("fog", 3)] for own in records]
    loss = fog[0].sort_values("loss", ascending=False).index.tolist()
    assert ids(album, sort="loss") == loss
    assert ids(album, sort="loss", model="1") == fog[1].sort_values("loss", ascending=False).index.tolist()
    wrong = fog[0][fog[0]["rank"] > 0].sort_values("confidence", ascending=False).index.tolist()
    right = fog[0][fog[0]["rank"] == 0].sort_values("confidence").index.tolist()
    assert ids(album, sort="wrong-confidence") == wrong + right
    assert ids(album, sort="data") == list(range(30))


def test_models_disagree_more_the_more_answers_they_give(write_demo_run):
    album = open_album([write_demo_run(name, luck) for luck, name in enumerate("abc")])
    cells = [columns.cell(("fog", 3)) for columns in album.columns]
    answers = [len({int(own.prediction[image]) for own in cells}) for image in range(30)]
    apart = [max(own.loss[image] for own in cells) - min(own.loss[image] for own in cells) for image in range(30)]
    assert set(answers) == {1, 2, 3}
    assert ids(album, sort="disagreement") == sorted(range(30), key=lambda image: (-answers[image], -apart[image]))


def test_right_is_what_counts_as_right(album):
    """Where several classes are accepted, an answer other than the label may be right, and its rank says so."""
    columns = album.columns[0].cell(("fog", 3))
    other = dataclasses.replace(columns, prediction=columns.prediction + 1, rank=np.zeros(30, np.int32))
    assert other.right.all()


def test_equal_keys_keep_the_order_of_the_data(album, monkeypatch):
    same = dataclasses.replace(album.columns[0].cell(("fog", 3)), loss=np.ones(30, np.float32))
    monkeypatch.setattr(album.columns[0], "cell", lambda cell: same)
    assert ids(album, sort="loss") == list(range(30))


def test_class_answer_and_name_narrow_down(album, records):
    label = int(album.labels[3])
    assert ids(album, label=str(label), sort="data") == np.flatnonzero(album.labels == label).tolist()
    answers = records[0].loc[("fog", 3)]["prediction"]
    answer = int(answers.iloc[0])
    assert ids(album, answer=str(answer), sort="data") == answers.index[answers == answer].tolist()
    word = album.class_names[label].upper()
    assert ids(album, name=f"{word}/", sort="data") == np.flatnonzero(album.labels == label).tolist()
    assert ids(album, name="no such name") == []


def test_it_opens_with_the_first_corruption_at_its_middle_severity(album, write_demo_run):
    assert first_cell(album) == ("gaussian_noise", 3)
    assert query_of(album, {}).cell == ("gaussian_noise", 3)
    clean = write_demo_run("clean", 4, corruptions=())
    assert first_cell(open_album([clean])) == CLEAN


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"model": "2"}, "model must be an integer from 0 to 1, got '2'"),
        ({"model": "-1"}, "model must be an integer"),
        ({"label": "ring"}, "label must be an integer from 0 to 9"),
        ({"corruption": "snow", "severity": "3"}, "these runs do not hold snow at severity 3"),
        ({"corruption": "fog", "severity": "2"}, "these runs do not hold fog at severity 2"),
        ({"show": "only-first"}, "only-first needs a second model"),
    ],
)
def test_what_is_not_there_is_refused(album, asked, message):
    with pytest.raises(InputError, match=message):
        query_of(album, asked)


def test_a_mistyped_filter_is_answered_with_the_nearest(album):
    with pytest.raises(UnknownNameError, match="Did you mean 'wrong'"):
        query_of(album, {"show": "wron"})


def test_only_what_the_runs_have_is_offered(write_demo_run):
    album = open_album([write_demo_run("alone", 3, clean=False)])
    assert [row.name for row in FILTERS if row.offered(album)] == ["all", "wrong", "right"]
    assert [row.name for row in ORDERS if row.offered(album)] == ["loss", "wrong-confidence", "data"]
    with pytest.raises(InputError, match="right-to-wrong needs answers on clean images"):
        query_of(album, {"show": "right-to-wrong"})
