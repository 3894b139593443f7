import errno
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch

import robustbench_bi as rb
from robustbench_bi import evaluate as evaluate_function
from robustbench_bi.errors import DataError, InputError, ModelOutputError, RunMismatchError
from robustbench_bi.evaluation.loop import evaluate_models

SMALL = {"suite": "gaussian_noise,contrast", "severities": "1,5", "limit": 20, "block_size": 8, "batch_size": 4}


class Tiny(torch.nn.Module):
    """A fixed random projection of the mean colours of 16 patches."""

    mean = (0.5, 0.5, 0.5)
    std = (0.25, 0.25, 0.25)

    def __init__(self, seed=0, outputs=10):
        super().__init__()
        self.head = torch.nn.Linear(48, outputs)
        with torch.no_grad():
            self.head.weight.copy_(torch.randn(outputs, 48, generator=torch.Generator().manual_seed(seed)))
            self.head.bias.zero_()

    def forward(self, images):
        return self.head(torch.nn.functional.adaptive_avg_pool2d(images, 4).flatten(1))


def contents(run):
    """Name and bytes of every record file of a run."""
    return {path.name: path.read_bytes() for path in sorted((run.directory / "records").iterdir())}


def test_the_package_attribute_stays_a_function_after_the_module_is_imported():
    assert callable(rb.evaluate)
    assert rb.evaluate is evaluate_function


def test_a_run_holds_every_cell_and_its_configuration(tmp_path):
    run = rb.evaluate(Tiny(), out=tmp_path, **SMALL)
    assert run.directory.parent == tmp_path
    assert run.directory.name == f"Tiny-{run.config['fingerprint'][:12]}"
    cells = run.cells()
    assert list(zip(cells["corruption"], cells["severity"], strict=True)) == [
        ("none", 0), ("gaussian_noise", 1), ("gaussian_noise", 5), ("contrast", 1), ("contrast", 5),
    ]  # fmt: skip
    assert set(cells["n"]) == {20}
    assert run.config["table"] == "tiny-imagenet-c"
    assert run.config["jpeg"] is None
    assert run.config["mean"] == [0.5, 0.5, 0.5]
    assert len(contents(run)) == 5 * 3


@pytest.mark.parametrize("cells_before_stop", [1, 4, 11])
def test_a_stopped_run_continues_to_the_same_bytes(tmp_path, cells_before_stop):
    class StopError(Exception):
        pass

    written = 0

    def stop(progress):
        nonlocal written
        written += 1
        if written == cells_before_stop:
            raise StopError

    whole = rb.evaluate(Tiny(), out=tmp_path / "whole", **SMALL)
    with pytest.raises(StopError):
        rb.evaluate(Tiny(), out=tmp_path / "stopped", progress=stop, **SMALL)
    stopped = rb.open_run(tmp_path / "stopped" / whole.directory.name)
    kept = contents(stopped)
    assert len(kept) == cells_before_stop
    assert len(stopped.missing()) == 15 - cells_before_stop
    stamps = {name: (stopped.directory / "records" / name).stat().st_mtime_ns for name in kept}
    continued = rb.evaluate(Tiny(), out=tmp_path / "stopped", **SMALL)
    assert contents(continued) == contents(whole)
    assert {name: (stopped.directory / "records" / name).stat().st_mtime_ns for name in kept} == stamps


def test_a_killed_process_continues_to_the_same_bytes(tmp_path):
    options = {"suite": "noise", "limit": 64, "block_size": 16, "out": str(tmp_path / "killed")}
    program = f"import robustbench_bi as rb; rb.evaluate('resnet50', **{options!r})"
    process = subprocess.Popen([sys.executable, "-c", program])
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "killed").glob("*/records/*.parquet"))) < 5:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    folder = next((tmp_path / "killed").iterdir())
    assert rb.open_run(folder).missing()
    continued = rb.evaluate("resnet50", **options)
    whole = rb.evaluate("resnet50", **{**options, "out": tmp_path / "whole"})
    assert contents(continued) == contents(whole)


def test_a_damaged_record_file_is_made_again(tmp_path):
    run = rb.evaluate(Tiny(), out=tmp_path, **SMALL)
    before = contents(run)
    path = run.directory / "records" / "contrast-5-0001.parquet"
    path.write_bytes(b"")
    assert contents(rb.evaluate(Tiny(), out=tmp_path, **SMALL)) == before


def test_models_share_corrupted_batches_and_equal_their_single_runs(tmp_path, monkeypatch):
    module = sys.modules["robustbench_bi.corruptions.apply"]
    calls = []
    original = module.corrupt
    monkeypatch.setattr(module, "corrupt", lambda *a, **k: calls.append(a[1:]) or original(*a, **k))
    runs = evaluate_models([Tiny(0), Tiny(1)], out=tmp_path / "both", **SMALL)
    batches = 2 + 2 + 1
    assert len(calls) == 4 * batches
    for seed, run in enumerate(runs):
        assert contents(run) == contents(rb.evaluate(Tiny(seed), out=tmp_path / "single", **SMALL))
    assert contents(runs[0]) != contents(runs[1])


def test_batch_size_and_workers_change_no_prediction(tmp_path):
    first = rb.evaluate(Tiny(), out=tmp_path / "a", **SMALL).records()
    other = rb.evaluate(Tiny(), out=tmp_path / "b", **{**SMALL, "batch_size": 7, "workers": 3}).records()
    assert first["prediction"].tolist() == other["prediction"].tolist()
    assert first["loss"].to_numpy() == pytest.approx(other["loss"].to_numpy(), abs=1e-4)


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"limit": 19}, {"severities": "1"}, {"jpeg": 50}, {"precision": "bf16"}]
)
def test_another_identity_is_another_folder(tmp_path, change):
    first = rb.evaluate(Tiny(), out=tmp_path, **SMALL)
    other = rb.evaluate(Tiny(), out=tmp_path, **{**SMALL, **change})
    assert other.directory != first.directory
    assert other.directory.parent == first.directory.parent


def test_corruption_changes_the_images_and_the_clean_cell_does_not(tmp_path):
    def losses(**options):
        records = rb.evaluate(Tiny(), out=tmp_path, **{**SMALL, **options}).records()
        cells = records.groupby(["corruption", "severity"], observed=True, sort=False)
        return cells["loss"].apply(tuple).to_dict()

    first, other = losses(), losses(jpeg=10, seed=3)
    assert len(set(first.values())) == 5
    assert [cell for cell in first if first[cell] == other[cell]] == [("none", 0)]


def test_logits_that_are_not_finite_fail_and_leave_no_cell(tmp_path):
    class Broken(Tiny):
        def forward(self, images):
            logits = super().forward(images)
            return logits.where(images.std(dim=(2, 3)).mean() > 0.1, torch.nan)

    with pytest.raises(ModelOutputError, match=r"Broken returned NaN or infinite logits on contrast severity 5"):
        rb.evaluate(Broken(), out=tmp_path, **{**SMALL, "suite": "contrast", "severities": 5})
    names = [path.name for path in tmp_path.glob("*/records/*")]
    assert not [name for name in names if name.startswith("contrast") or name.endswith("partial")]


def test_a_wrong_number_of_outputs_names_the_class_file(tmp_path):
    with pytest.raises(ModelOutputError, match=r"\(1, 10\) for data with 10 classes, got \(1, 7\).*--classes FILE"):
        rb.evaluate(Tiny(outputs=7), out=tmp_path, **SMALL)


def test_a_model_that_raises_is_one_line(tmp_path):
    class Raising(Tiny):
        def forward(self, images):
            raise RuntimeError("first\nsecond")

    with pytest.raises(
        ModelOutputError, match=r"^Raising failed on images of shape \(1, 3, 64, 64\): RuntimeError: first$"
    ):
        rb.evaluate(Raising(), out=tmp_path, **SMALL)


def test_a_folder_of_another_configuration_is_not_mixed(tmp_path):
    run = rb.evaluate(Tiny(), out=tmp_path, **SMALL)
    path = run.directory / "run.json"
    path.write_text(json.dumps({**run.config, "fingerprint": "0" * 64}))
    with pytest.raises(RunMismatchError, match="holds a different configuration"):
        rb.evaluate(Tiny(), out=tmp_path, **SMALL)
    path.write_text("{")
    with pytest.raises(RunMismatchError, match="cannot be read"):
        rb.evaluate(Tiny(), out=tmp_path, **SMALL)


@pytest.mark.parametrize("field", ["seed", "record_schema", "listing_hash"])
def test_a_run_json_that_was_changed_is_another_configuration(tmp_path, field):
    run = rb.evaluate(Tiny(), out=tmp_path, **SMALL)
    (run.directory / "run.json").write_text(json.dumps({**run.config, field: "changed"}))
    with pytest.raises(RunMismatchError, match=f"holds a different configuration: {field} is 'changed' there and"):
        rb.evaluate(Tiny(), out=tmp_path, **SMALL)


def test_random_weights_come_from_the_seed_so_that_their_run_continues(tmp_path):
    options = {**SMALL, "weights": "none", "out": tmp_path}
    first, again = rb.evaluate("resnet38", **options), rb.evaluate("resnet38", **options)
    assert first.directory == again.directory
    assert rb.evaluate("resnet38", **{**options, "seed": 1}).config["weights_hash"] != first.config["weights_hash"]


def test_what_fails_before_the_first_record_leaves_no_folder(tmp_path):
    class NotANumber(Tiny):
        def forward(self, images):
            return super().forward(images) * torch.nan

    with pytest.raises(ModelOutputError, match="NaN or infinite logits on clean images"):
        rb.evaluate(NotANumber(), out=tmp_path, **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_the_callers_module_is_left_as_it_was(tmp_path):
    model = Tiny().train()
    rb.evaluate(model, out=tmp_path, **SMALL)
    assert model.training


def test_damaged_pages_are_found_and_mended(tmp_path):
    run = rb.evaluate(Tiny(), out=tmp_path, **SMALL)
    before = contents(run)
    path = run.directory / "records" / "contrast-5-0001.parquet"
    damaged = bytearray(path.read_bytes())
    damaged[20:60] = bytes(40)
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"contrast-5-0001\.parquet is damaged .* run the same eval command again"):
        rb.open_run(run.directory).records()
    assert contents(rb.evaluate(Tiny(), out=tmp_path, **SMALL)) == before


@pytest.mark.parametrize("file", ["images", "none-0-0000"])
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(tmp_path, monkeypatch, file):
    import pyarrow.parquet

    write = pyarrow.parquet.write_table

    def full(table, where, **options):
        if not where.name.startswith(f".{file}"):
            write(table, where, **options)
            return
        where.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pyarrow.parquet, "write_table", full)
    with pytest.raises(DataError, match=rf"cannot write .*{file}\.parquet: No space left on device"):
        rb.evaluate(Tiny(), out=tmp_path, **SMALL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit must be an integer of at least 1, got 0"),
        ({"seed": -1}, "seed must be an integer from 0"),
        ({"precision": "fp8"}, "precision must be one of fp32, bf16, fp16"),
        ({"severities": "0-5"}, "severity must be an integer from 1 to 5, got 0"),
        ({"jpeg": 101}, "jpeg must be a quality from 1 to 100"),
        ({"device": "nowhere"}, "unknown device 'nowhere'"),
        ({"suite": "fogg"}, "Did you mean 'fog'"),
        ({"input_size": 128}, "are 64 pixels and are not resized"),
        ({"generator": "files"}, "generator must be one of"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(tmp_path, options, message):
    with pytest.raises((InputError, LookupError), match=message):
        rb.evaluate(Tiny(), out=tmp_path / "runs", **{**SMALL, **options})
    assert not (tmp_path / "runs").exists()


def images_in_folders(root, broken=(), side=64):
    """Three classes of four pictures; the paths in `broken` are cut short."""
    from PIL import Image

    generator = np.random.default_rng(0)
    for label in ("a", "b", "c"):
        for number in range(4):
            path = root / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)
            if f"{label}/{number}" in broken:
                path.write_bytes(path.read_bytes()[:300])
    return str(root)


def test_broken_images_stop_the_run_before_any_cell(tmp_path):
    data = images_in_folders(tmp_path / "data", broken=["a/1", "c/3"])
    with pytest.raises(DataError, match=r"2 of 12 images cannot be decoded: .*1\.png .*3\.png .*--skip-broken"):
        rb.evaluate(Tiny(outputs=3), data, suite="contrast", severities=1, out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_skipped_broken_images_are_listed_and_lower_n(tmp_path):
    data = images_in_folders(tmp_path / "data", broken=["a/1", "c/3"])
    options = {"suite": "contrast", "severities": 1, "out": tmp_path / "runs", "skip_broken": True}
    options |= {"input_size": 64, "resize_size": 64}
    run = rb.evaluate(Tiny(outputs=3), data, **options)
    assert run.config["n"] == 10
    assert [entry["image_id"] for entry in run.config["runtime"]["broken"]] == [1, 11]
    assert set(run.cells()["n"]) == {10}
    assert 1 not in set(run.records()["image_id"])
    assert rb.evaluate(Tiny(outputs=3), data, **options).directory == run.directory


def test_a_named_model_on_other_data_asks_for_weights(tmp_path):
    data = images_in_folders(tmp_path / "data")
    with pytest.raises(InputError, match=f"resnet50 on {re.escape(str(data))} needs --weights"):
        rb.evaluate("resnet50", data, out=tmp_path / "runs")


@pytest.mark.parametrize(
    ("options", "remarked"),
    [
        ({}, True),
        ({"input_size": 48, "resize_size": 48}, True),
        ({"input_size": 47, "resize_size": 47}, False),
        ({"corrupt_size": 32}, False),
        ({"input_size": 32, "no_resize": True}, False),
    ],
)
def test_small_pictures_that_are_enlarged_before_the_corruption_are_remarked_on(tmp_path, options, remarked):
    data = images_in_folders(tmp_path / "data", side=32, broken=["a/1"])
    given = {"suite": "contrast", "severities": 1, "out": tmp_path / "runs", "skip_broken": True}
    run = rb.evaluate(Tiny(outputs=3), data, **given, **options)
    side = options.get("input_size", 224)
    remark = (
        f"Images are small (median short side 32 px over 11 sampled) and are enlarged to {side} px before the "
        "corruption; --corrupt-size 32 corrupts them first"
    )
    assert (remark in run.config["runtime"]["remarks"]) == remarked


class Unstated(Tiny):
    mean = std = None


@pytest.mark.parametrize(
    ("kind", "options", "remark"),
    [
        (Tiny, {"input_size": 64, "resize_size": 72}, None),
        (
            Tiny,
            {"input_size": 64},
            "Tiny does not state its resize size, so ImageNet's usual preprocessing was assumed: resize 73 px "
            "(bilinear). If it was trained differently, give --resize-size",
        ),
        (
            Unstated,
            {"std": (0.25, 0.25, 0.25)},
            "Unstated does not state its resize size, input size and mean, so ImageNet's usual preprocessing was "
            "assumed: resize 256 px (bilinear), crop 224 px, mean 0.485/0.456/0.406. If it was trained differently, "
            "give --resize-size, --input-size and --mean",
        ),
        (
            Unstated,
            {"fit": True, "corrupt_size": 64},
            "Unstated does not state its mean and std, so ImageNet's usual preprocessing was assumed: mean "
            "0.485/0.456/0.406, std 0.229/0.224/0.225. If it was trained differently, give --mean and --std",
        ),
        (
            Unstated,
            {"input_size": 64, "no_resize": True},
            "Unstated does not state its mean and std, so ImageNet's usual preprocessing was assumed: mean "
            "0.485/0.456/0.406, std 0.229/0.224/0.225. If it was trained differently, give --mean and --std",
        ),
    ],
)
def test_preprocessing_that_a_network_does_not_state_is_remarked_on(tmp_path, kind, options, remark):
    data = images_in_folders(tmp_path / "data", side=256)
    run = rb.evaluate(kind(outputs=3), data, suite="contrast", severities=1, out=tmp_path / "runs", **options)
    assert run.config["runtime"]["remarks"] == ([remark] if remark else [])


def test_a_named_network_that_states_its_preprocessing_has_no_remark(tmp_path):
    data = images_in_folders(tmp_path / "data", side=256)
    options = {"suite": "contrast", "severities": 1, "out": tmp_path / "runs", "weights": "none"}
    for name in ("timm:mobilenetv3_small_050", "binet50"):
        assert rb.evaluate(name, data, **options).config["runtime"]["remarks"] == []


class SameMemory(Tiny):
    """Puts all its answers into the same memory."""

    def __init__(self):
        super().__init__()
        self.answers = None

    def forward(self, images):
        made = super().forward(images)
        if self.answers is None or len(self.answers) < len(made):
            self.answers = torch.empty_like(made)
        self.answers[: len(made)] = made
        return self.answers[: len(made)]


@pytest.mark.parametrize("chosen", [1, 2])
def test_batches_that_are_made_and_scored_beside_the_network_have_the_same_records(chosen, tmp_path, monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr("robustbench_bi.evaluation.threads.Threads._threads", lambda self: chosen)
    torch.set_num_threads(2)
    try:
        options = {"suite": "contrast,gaussian_noise", "severities": 3, "limit": 60, "batch_size": 4}
        found = rb.evaluate(SameMemory(), out=tmp_path / "same", **options)
    finally:
        torch.set_num_threads(before)
    pd.testing.assert_frame_equal(found.records(), rb.evaluate(Tiny(), out=tmp_path / "own", **options).records())


def test_published_files_are_read_as_cells(tmp_path):
    for severity in (1, 2):
        images_in_folders(tmp_path / "data" / "fog" / str(severity))
    options = {"suite": "fog", "out": tmp_path / "runs", "input_size": 64, "resize_size": 64}
    run = rb.evaluate(Tiny(outputs=3), f"imagenet-c:{tmp_path / 'data'}", severities="1-2", **options)
    assert run.cell_names == [("fog", 1), ("fog", 2)]
    assert run.config["generator"] == "files"
    assert run.config["jpeg"] is None
    losses = run.records().groupby("severity")["loss"].apply(list)
    assert losses[1] == losses[2]
    with pytest.raises(DataError, match=r"lacks 1 of the 3 cells asked for, the first is fog severity 3"):
        rb.evaluate(Tiny(outputs=3), f"imagenet-c:{tmp_path / 'data'}", severities="1-3", **options)


class Frozen(Tiny):
    """A network whose batch norm a user has frozen."""

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(3)

    def forward(self, images):
        return super().forward(self.norm(images))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, None),
        ({"input_size": 128}, InputError),
        ({"generator": "imagecorruptions", "table": "cifar-10-c"}, InputError),
    ],
)
def test_every_module_of_the_callers_network_stays_in_its_mode(tmp_path, options, error):
    model = Frozen().train()
    model.norm.eval()
    before = [module.training for module in model.modules()]
    if error is None:
        rb.evaluate(model, out=tmp_path, **SMALL)
    else:
        with pytest.raises(error):
            rb.evaluate(model, out=tmp_path, **{**SMALL, **options})
    assert [module.training for module in model.modules()] == before == [True, True, False]
