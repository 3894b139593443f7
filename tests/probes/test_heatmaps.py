import copy

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import robustbench_bi as rb
from robustbench_bi.analysis.correlations import ANOTHER_IMAGE
from robustbench_bi.corruptions.apply import jpeg_round_trip
from robustbench_bi.corruptions.pixels import Pixels
from robustbench_bi.data import open_data
from robustbench_bi.errors import DataError, InputError, UnknownNameError, WeightsError
from robustbench_bi.probes.heatmaps import heat_maps

CELLS = {"corruptions": "gaussian_noise,contrast", "severity": 4}


def patches(images):
    """Mean over the channels of each 8×8 pixels of uint8 (B, 3, S, S), scaled to [0, 1]: what `Known` puts out."""
    count, _, side, _ = images.shape
    return (images / 255.0).reshape(count, 3, side // 8, 8, side // 8, 8).mean(axis=(1, 3, 5))


def pearson(first, second):
    return [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(first, second, strict=True)]


def of(frame, corruption, model="Known"):
    own = frame[(frame["corruption"] == corruption) & (frame["model"] == model)]
    return own.sort_values("image_id")["correlation"].to_numpy()


def test_correlations_are_those_of_known_maps(known):
    dataset = open_data("demo", limit=10)
    clean = dataset.read(range(10), rb.data.preprocess.Preprocessing(64, 64))
    found = heat_maps([known], limit=10, seed=5, **CELLS)
    frame = found.correlations
    assert frame.columns.tolist() == ["model", "layer", "image_id", "corruption", "severity", "correlation"]
    for name in ("gaussian_noise", "contrast"):
        made = rb.corrupt(torch.from_numpy(clean), name, 4, seed=5, ids=dataset.image_ids, table="tiny-imagenet-c")
        np.testing.assert_allclose(of(frame, name), pearson(patches(clean), patches(made.numpy())), atol=1e-5)
    np.testing.assert_allclose(
        of(frame, ANOTHER_IMAGE[0]), pearson(patches(clean), np.roll(patches(clean), -3, axis=0)), atol=1e-5
    )
    assert set(frame["layer"]) == {"layer3.1"}
    caption = found.caption
    assert caption.startswith(
        "n = 10 images of demo, 64 px, constants of tiny-imagenet-c, no JPEG. Drawn at random from 500 images. "
        "Network: Known (40 parameters, 64 px). Severity 4. Mean "
    )
    assert caption.endswith("layer3.1 (8×8 positions).")


def test_batches_do_not_change_the_result(known):
    whole = heat_maps([known], limit=10, **CELLS).correlations
    parts = heat_maps([known], limit=10, batch_size=3, **CELLS).correlations
    order = ["corruption", "image_id"]
    pd.testing.assert_frame_equal(
        parts.sort_values(order, ignore_index=True), whole.sort_values(order, ignore_index=True), atol=1e-6
    )


def test_a_layer_that_is_deaf_to_pixels_has_correlation_1():
    class Deaf(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer3 = nn.Identity()

        def forward(self, images):
            place = torch.arange(64.0).view(1, 1, 8, 8)
            return self.layer3(place.repeat(len(images), 2, 1, 1)).flatten(1)[:, :10]

    frame = heat_maps([Deaf()], limit=5, **CELLS).correlations
    np.testing.assert_allclose(frame["correlation"], 1, rtol=1e-12)


def test_constant_maps_have_no_correlation():
    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer3 = nn.Identity()

        def forward(self, images):
            return self.layer3(images.mean(dim=(2, 3), keepdim=True).expand(-1, -1, 4, 4)).flatten(1)[:, :10]

    assert heat_maps([Flat()], limit=3, **CELLS).correlations["correlation"].isna().all()


def test_a_single_image_has_no_other_to_compare_with(known):
    assert ANOTHER_IMAGE[0] not in set(heat_maps([known], limit=1, **CELLS).correlations["corruption"])


def test_the_grid_shows_the_first_pictures_in_every_cell(known):
    found = heat_maps([known, "resnet50"], limit=5, show=2, **CELLS)
    grid = found.grid
    assert len(grid) == 2 * 2 * 3
    assert grid[grid["picture"] == 0]["corruption"].tolist() == ["none", "gaussian_noise", "contrast"] * 2
    clean = open_data("demo", limit=5).read([0, 1], rb.data.preprocess.Preprocessing(64, 64))
    own = grid[(grid["model"] == "Known") & (grid["picture"] == 1)].set_index("corruption")
    assert np.array_equal(own.loc["none", "image"], clean[1].transpose(1, 2, 0))
    np.testing.assert_allclose(own.loc["none", "heat"], patches(clean)[1], atol=1e-6)
    assert own.loc["none", "correlation"] == pytest.approx(1)
    for name in ("gaussian_noise", "contrast"):
        assert own.loc[name, "correlation"] == pytest.approx(of(found.correlations, name)[1], abs=1e-5)
    assert "layer3.1 (8×8 positions), layer3.5 (4×4 positions)" in found.caption


def picture(path, seed=0, width=340, height=300):
    values = np.random.default_rng(seed).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).resize((width, height)).save(path)
    return path


def test_pictures_without_labels_are_both_drawn_and_measured(known, tmp_path, monkeypatch):
    picture(tmp_path / "photographs" / "a.png")
    picture(tmp_path / "photographs" / "b.png", seed=1)
    found = heat_maps([known], images=tmp_path / "photographs", show=5, **CELLS)
    assert found.grid["picture"].unique().tolist() == [0, 1]
    assert found.grid["image"][0].shape == (224, 224, 3)
    caption = found.caption
    assert caption.startswith("n = 2 images of photographs, 224 px, constants of imagenet-c, JPEG 85.")
    (tmp_path / "own_network.py").write_text(
        "import torch\n\ndef build(num_classes=4):\n    network = torch.nn.Sequential(torch.nn.AvgPool2d(32),\n"
        "        torch.nn.Flatten(), torch.nn.Linear(147, num_classes))\n    return network\n"
    )
    monkeypatch.chdir(tmp_path)
    own = heat_maps(["own_network:build"], images=tmp_path / "photographs", layer="0", **CELLS)
    assert own.grid["heat"][0].shape == (7, 7)
    with pytest.raises(InputError, match="resnet50 on images without labels needs --weights"):
        heat_maps(["resnet50"], images=tmp_path / "photographs", **CELLS)
    demo = heat_maps(["resnet50"], images=tmp_path / "photographs", weights="demo", **CELLS)
    assert demo.grid["image"][0].shape == (64, 64, 3)


def test_broken_pictures_stop_it_or_are_left_out_and_counted(known, tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        picture(tmp_path / name)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 of 3 images cannot be decoded: .*a\.png"):
        heat_maps([known], images=tmp_path, **CELLS)
    found = heat_maps([known], images=tmp_path, skip_broken=True, **CELLS)
    assert found.correlations["image_id"].unique().tolist() == [1, 2]
    assert "Skipped because they cannot be decoded: 1 image." in found.caption


def test_jpeg_comes_after_the_corruption_as_in_evaluation(known, tmp_path):
    path = picture(tmp_path / "a.png")
    clean, made = heat_maps([known], images=path, corruptions="contrast", severity=4).grid["image"]
    expected = rb.corrupt(clean, "contrast", 4)
    assert not np.array_equal(made, expected)
    stored = jpeg_round_trip(torch.from_numpy(expected.transpose(2, 0, 1)[None].copy()))
    assert np.array_equal(made, stored[0].permute(1, 2, 0).numpy())
    plain = heat_maps([known], images=path, corruptions="contrast", severity=4, jpeg=None).grid["image"]
    assert np.array_equal(plain[1], expected)


@pytest.mark.parametrize("planted", [{}, {"seed": 1}, {"table": "cifar-10-c"}, {"jpeg": 30}], ids=str)
def test_pixels_are_those_of_the_recipe(known, planted):
    grid = heat_maps([known], corruptions="gaussian_noise", limit=2, show=2, **planted).grid
    dataset = open_data("demo", limit=2)
    clean = dataset.read([0, 1], rb.data.preprocess.Preprocessing(64, 64))
    drawn = np.stack(list(grid.loc[grid["corruption"] == "gaussian_noise", "image"])).transpose(0, 3, 1, 2)
    cell = ("gaussian_noise", 3)
    assert np.array_equal(drawn, Pixels(**planted).of_cell(clean, cell, dataset.image_ids))
    assert bool(planted) != np.array_equal(drawn, Pixels().of_cell(clean, cell, dataset.image_ids))


def test_the_pictures_drawn_may_be_others_than_those_measured(known, tmp_path):
    found = heat_maps([known], "demo", images=picture(tmp_path / "a.png"), limit=4, input_size=None, **CELLS)
    assert found.correlations["image_id"].nunique() == 4
    assert found.caption.startswith("n = 4 images of demo")
    assert len(found.grid) == 3


def test_stored_cells_are_read_and_the_clean_ones_are_needed(known, tmp_path):
    for cell, seed in (("none/0", 0), ("fog/3", 1), ("snow/3", 0)):
        for label in ("a", "b"):
            picture(tmp_path / "stored" / cell / label / "x.png", seed, 64, 64)
    known.fc = nn.Linear(3, 2)
    options = {"corruptions": "fog,snow", "input_size": 64, "resize_size": 64}
    frame = heat_maps([known], f"imagenet-c:{tmp_path / 'stored'}", **options).correlations
    np.testing.assert_allclose(of(frame, "snow"), 1, rtol=1e-12)
    assert (of(frame, "fog") < 0.9).all()
    (tmp_path / "stored" / "none").rename(tmp_path / "clean")
    with pytest.raises(DataError, match=r"heat maps need clean images, and imagenet-c:.* has none"):
        heat_maps([known], f"imagenet-c:{tmp_path / 'stored'}", **options)


def test_networks_that_share_a_name_are_told_apart(known):
    models = heat_maps([known, type(known)(10)], limit=2, **CELLS).correlations["model"].unique()
    assert len(models) == 2
    assert all(name.startswith("Known-") for name in models)
    with pytest.raises(InputError, match="two are the same network with the same weights"):
        heat_maps([known, copy.deepcopy(known)], limit=2, **CELLS)


def test_progress_counts_images_of_all_models(known):
    seen = []
    heat_maps([known, "resnet50"], limit=10, batch_size=4, progress=seen.append, **CELLS)
    assert [(step.steps_done, step.steps_total) for step in seen] == [(number, 6) for number in range(1, 7)]
    assert [step.images for step in seen] == [4, 8, 12, 16, 18, 20]
    assert {step.images_total for step in seen} == {20}
    assert {step.unit for step in seen} == {"batches"}
    assert [step.label for step in seen] == ["Known", "resnet50"] * 3


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"severity": 6}, InputError, "severity must be an integer from 1 to 5, got 6"),
        ({"corruptions": "fogg"}, UnknownNameError, "Did you mean 'fog'"),
        ({"reduce": "sum"}, UnknownNameError, "unknown reduction 'sum'"),
        ({"show": 0}, InputError, "show must be an integer of at least 1, got 0"),
        ({"show": True}, InputError, "show must be an integer of at least 1, got True"),
        ({"layer": "layer9"}, UnknownNameError, "unknown layer of resnet50: 'layer9'"),
        ({"images": "/no/such/picture.png"}, LookupError, "picture"),
        ({"weights": "no.pth"}, WeightsError, "no.pth"),
        ({"batch_size": 0}, InputError, "batch_size must be an integer of at least 1"),
    ],
)
def test_bad_options_are_refused(options, error, message):
    with pytest.raises((error, DataError), match=message):
        heat_maps(["resnet50"], **{"limit": 2, **options})


@pytest.mark.parametrize("drawn", [{"data": "objectnet:there"}, {"images": "objectnet:there", "data": "demo"}])
def test_pictures_that_may_not_be_shown_are_not_drawn(known, drawn):
    with pytest.raises(DataError, match="images of objectnet are not shown: its licence allows"):
        heat_maps([known], **drawn, **CELLS)


def test_correlations_are_taken_on_pictures_that_may_not_be_shown(known):
    with pytest.raises(DataError, match="there is no folder there"):
        heat_maps([known], data="objectnet:there", images="photographs", **CELLS)
