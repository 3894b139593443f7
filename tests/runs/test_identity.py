import dataclasses

import pytest

from robustbench_bi.errors import InputError
from robustbench_bi.ground.cells import parse_severities
from robustbench_bi.ground.declared import declaration_of
from robustbench_bi.runs.identity import EvalConfig


def undeclared(cls):
    return [f.name for f in dataclasses.fields(cls) if "declaration" not in f.metadata]


def test_every_field_is_declared_identity_or_recorded():
    assert undeclared(EvalConfig) == []
    assert {declaration_of(field).role for field in dataclasses.fields(EvalConfig)} == {"identity", "recorded"}


def test_an_undeclared_field_is_found():
    extended = dataclasses.make_dataclass("Extended", [("new", int, 0)], bases=(EvalConfig,), frozen=True)
    assert undeclared(extended) == ["new"]
    with pytest.raises(TypeError, match="the field new must be declared"):
        declaration_of(dataclasses.fields(extended)[-1])


OTHER = {"model": {"name": "x"}, "jpeg": 85, "clean": False, "mean": (0.4,) * 3, "std": (0.4,) * 3}


@pytest.mark.parametrize("field", dataclasses.fields(EvalConfig), ids=lambda f: f.name)
def test_identity_fields_alone_change_the_fingerprint(make_config, field):
    base = make_config()
    value = getattr(base, field.name)
    other = OTHER.get(field.name) or (
        value + 1 if isinstance(value, int) else value[:1] if isinstance(value, tuple) and value else f"{value}x"
    )
    if field.name == "clean":
        other = False
    changed = dataclasses.replace(base, **{field.name: other})
    assert (changed.fingerprint != base.fingerprint) == (declaration_of(field).role == "identity")


def test_the_folder_is_the_model_and_the_fingerprint(make_config):
    assert make_config().folder == f"resnet50-{make_config().fingerprint[:12]}"
    assert make_config(name="timm:vit/a b").folder.startswith("timm-vit-a-b-")
    assert make_config(name="../..").folder.startswith("model-")


def test_cells_start_with_clean(make_config):
    assert make_config().cells == [("none", 0), ("fog", 1), ("fog", 5), ("snow", 1), ("snow", 5)]
    assert make_config(clean=False).cells[0] == ("fog", 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1-5", (1, 2, 3, 4, 5)), ("5,1,1", (1, 5)), (3, (3,)), ([2, 4], (2, 4)), ("1-2, 4", (1, 2, 4))],
)
def test_severities_are_read(text, expected):
    assert parse_severities(text) == expected


@pytest.mark.parametrize(
    "bad", ["0", "6", "1-6", "", "a", "2.5", "5-1", True, [2.5], [True], [], "1,,2", "1-999999999999", None, 2.5]
)
def test_bad_severities_are_refused(bad):
    with pytest.raises(InputError, match="severit"):
        parse_severities(bad)
