import pytest
import torch

from robustbench_bi.commands.terminal import print_table
from robustbench_bi.errors import InputError, UnknownNameError
from robustbench_bi.models import MODELS, VARIANTS, create_model
from robustbench_bi.models.paper import COLUMNS, as_text, beyond_rounding, compare_with_paper, paper_table
from robustbench_bi.models.profile import RULE

# How far beyond the paper's rounding, in its units, as an independent script found it; the other rows are inside.
PARAMETERS = {
    "BiNet-38 (dc)": 0.6083, "DDF-ResNet-38 (2021)": 0.1783, "BiNet-38 (dc-ca)": 0.2719,
    "RedNet-101 (2021)": 0.0029, "BiNet-101 (dc-ca)": 0.0207, "dc-ca, 7×7": 0.0362,
    "Stand-Alone ResNet-38 (2019)": 0.0234, "LR-Net-50 (2019)": 0.0011, "LR-Net-101 (2019)": -1.2101,
    "BAM-ResNet-101 (2018)": -4.3428, "Axial ResNet-S (2020)": -0.8638,
    "Res2Net-50 (14w-8s) (2019)": -0.5902, "ResNet-101 (2016)": -0.0008, "ECANet ResNet-101 (2020)": -0.0007,
}  # fmt: skip
MACS = {
    "BiNet-38 (dc)": 0.0030, "DDF-ResNet-38 (2021)": -0.0017, "BiNet-38 (dc-ca)": 0.0133,
    "RedNet-50 (2021)": -0.0015, "DDF-ResNet-101 (2021)": -0.0187,
    "dc, 1×1": -0.0015, "dc, 3×3": -0.0085, "dc, 3×3, 2": -0.0085, "dc, 7×7": -0.0533,
    "dc-ca, 5×5": -0.1474, "dc-ca, 7×7": -0.2143,
    "Stand-Alone ResNet-38 (2019)": -0.1516, "Stand-Alone ResNet-50 (2019)": -0.1469, "SAN15 (2020)": -0.0912,
    "SAN19 (2020)": -0.1137, "LR-Net-50 (2019)": 0.0266, "LR-Net-101 (2019)": -0.1039,
    "AA-ResNet-50 (2019)": 0.4675, "AA-ResNet-101 (2019)": 0.5260, "BAM-ResNet-101 (2018)": 0.0336,
    "Axial ResNet-S (2020)": -0.4071,
    "ResNeXt-50 (32×4d) (2017)": -0.0195, "ResNet-101 (2016)": -0.0486, "SENet ResNet-101 (2018)": -0.0439,
    "ECANet ResNet-101 (2020)": -0.0484, "FcaNet ResNet-101 (2020)": -0.0439,
}  # fmt: skip


@pytest.fixture(scope="module")
def compared():
    return {table: compare_with_paper(table=table) for table in (1, 4)}


@pytest.mark.parametrize(
    ("number", "rows", "parameters", "macs", "top1"),
    [(1, 36, 1005.2, 170.0, 2818.2), (3, 8, None, None, 630.7), (4, 10, 175.2, 26.0, 788.5)],
)
def test_the_figures_are_the_papers(number, rows, parameters, macs, top1):
    table = paper_table(number)
    assert len(table) == rows == len({row.architecture for row in table})
    assert sum(row.top1 for row in table) == pytest.approx(top1)
    if parameters is not None:
        assert sum(row.parameters for row in table) == pytest.approx(parameters)
        assert sum(row.macs for row in table) == pytest.approx(macs)


@pytest.mark.parametrize("number", [1, 3, 4])
def test_every_row_is_a_network_or_says_why_not(number):
    for row in paper_table(number):
        assert row.table == number
        assert (
            row.note.startswith("Not built: ") if row.model is None else row.model in {*MODELS.names, *VARIANTS.names}
        )


def test_every_row_of_the_ablations_is_built():
    expected = {"base model": (False, False), "dual branch": (True, False), "SAKG": (False, True)}
    for row in paper_table(3):
        branches = expected.get(row.architecture.split(", ")[1], (True, True))
        with torch.device("meta"):
            network = create_model(row.model)
        block = network.layer1[0].conv2
        assert (getattr(block, "static", None) is not None, has_sakg(block)) == branches
    for row in paper_table(4):
        kernel, dilation = [*row.architecture.split(", "), "1"][1:3]
        with torch.device("meta"):
            block = create_model(row.model).layer1[0].conv2
        assert getattr(block, "static", None) is None
        if kernel == "1×1":
            assert not has_sakg(block)
        else:
            spatial = block.dynamic.sakg.spatial
            assert (spatial.kernel_size[0], spatial.dilation[0]) == (int(kernel[0]), int(dilation))


def has_sakg(block):
    return any(type(module).__name__ == "SpatialAugmentedKernel" for module in block.modules())


def test_rows_outside_the_rounding_are_known_and_explained(compared):
    rows = [row for table in compared.values() for row in table]
    for column, known in (("parameters_beyond", PARAMETERS), ("macs_beyond", MACS)):
        found = {row["architecture"]: row[column] for row in rows if row[column]}
        assert found == pytest.approx(known, abs=6e-5)
    for row in rows:
        outside = row["architecture"] in {*PARAMETERS, *MACS}
        assert bool(row["note"]) == (outside or row["model"] is None), row["architecture"]


def test_other_libraries_networks_have_their_published_sizes(compared):
    found = {row["model"]: row["parameters"] for row in compared[1]}
    assert found["se_resnet50"] == 28_088_024
    assert found["res2net101_26w_4s"] == 45_206_688
    assert found["eca_resnet50"] - found["resnet50"] == 86
    assert found["fca_resnet50"] == 28_071_976  # FcaNet's paper has 28.07 M
    assert found["fca_resnet101"] == 49_292_328  # and 49.29 M


@pytest.mark.parametrize("number", [1, 4])
def test_the_printed_table_fits_a_hundred_columns(number, compared, capsys):
    import pandas as pd

    titles, cells, lines = as_text(compared[number])
    print_table(pd.DataFrame(cells, columns=titles))
    text = capsys.readouterr().out
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 100
    assert "✓ matches" in lines[0] and f"Table {number}," in lines[0]
    assert lines[1] == RULE
    notes = {row["note"] for row in compared[number] if row["note"]}
    assert {line.split(" ", 1)[1] for line in lines[2:]} == notes


def test_named_models_are_compared_with_the_table_that_has_them():
    names = ["binet50", "rednet50", "binet50_dc_sakg3", "rednet26", "timm:resnet18"]
    rows = compare_with_paper(names, size=32)
    assert [row["model"] for row in rows] == names
    assert [row["table"] for row in rows] == [1, 1, 4, None, None]
    assert [row["paper_parameters"] for row in rows] == [19.3, 15.5, 17.5, None, None]
    assert all(tuple(row) == COLUMNS for row in rows)
    (row,) = compare_with_paper(["rednet50"], table=4, size=32)
    assert (row["table"], row["architecture"]) == (4, "dc, 1×1")
    assert row["macs_beyond"] is None  # the paper counts at 224 pixels
    assert as_text(rows[3:])[2] == [RULE]


@pytest.mark.parametrize(
    ("value", "printed", "beyond"),
    [(15.5408, 15.5, 0.0), (15.5499, 15.5, 0.0), (15.56, 15.5, 0.01), (15.4, 15.5, -0.05)],
)
def test_the_distance_from_what_rounds_to_a_value(value, printed, beyond):
    assert beyond_rounding(value, printed) == pytest.approx(beyond)


def test_what_there_is_not_is_refused():
    with pytest.raises(InputError, match="table must be one of 1, 3, 4, got 2"):
        paper_table(2)
    with pytest.raises(InputError, match="table must be 1 or 4, the ones with counts, got 3"):
        compare_with_paper(table=3)
    with pytest.raises(UnknownNameError, match="unknown model 'rednet5'"):
        compare_with_paper(["rednet5"])
