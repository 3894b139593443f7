from dataclasses import dataclass

import pytest

from robustbench_bi.errors import BivoRobustError, UnknownNameError
from robustbench_bi.ground.registry import Table


@dataclass(frozen=True)
class Row:
    name: str
    code: str = "math:sqrt"


def test_rows_keep_their_order_and_aliases_are_not_listed():
    table = Table("thing", [Row("b"), Row("a")], aliases={"c": "a"})
    assert table.names == ("b", "a")
    assert [row.name for row in table] == ["b", "a"]
    assert table["c"] is table["a"]
    assert "c" in table and "d" not in table
    assert len(table) == 2


def test_code_is_imported_on_first_use():
    assert Table("thing", [Row("root")]).load("root")(9) == 3


def test_an_unknown_name_gets_a_suggestion_or_the_list():
    table = Table("corruption", [Row("gaussian_noise"), Row("fog")])
    with pytest.raises(UnknownNameError, match=r"unknown corruption 'gausian_noise'\. Did you mean 'gaussian_noise'\?"):
        table["gausian_noise"]
    with pytest.raises(LookupError, match=r"unknown corruption 'zzz'\. Known: gaussian_noise, fog\."):
        table["zzz"]
    assert issubclass(UnknownNameError, BivoRobustError)


def test_a_long_table_is_left_to_the_command_that_shows_it():
    rows = [Row(f"{letter}_metric") for letter in "abcdefghijklm"]
    with pytest.raises(
        UnknownNameError, match=r"There are 13, such as (\w+, ){2}\w+; `bivo-robust list metrics` shows"
    ):
        Table("metric", rows)["zz"]
    with pytest.raises(UnknownNameError, match=r"Known: a_metric, .*, l_metric.$"):
        Table("metric", rows[:-1])["zz"]
    with pytest.raises(UnknownNameError, match=r"Known: a_metric, .*, m_metric.$"):
        Table("thing", rows)["zz"]


@pytest.mark.parametrize("aliases", [{"a": "b"}, {"x": "missing"}])
def test_name_clashes_fail_at_once(aliases):
    with pytest.raises(ValueError, match="alias"):
        Table("thing", [Row("a"), Row("b")], aliases=aliases)
    with pytest.raises(ValueError, match="two rows"):
        Table("thing", [Row("a"), Row("a")])


def test_what_is_no_string_is_no_name():
    with pytest.raises(UnknownNameError, match="unknown thing"):
        Table("thing", [Row("a")])[["a"]]
