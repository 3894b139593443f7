import sys

import pytest

from robustbench_bi.errors import BackendUnavailableError, DataError
from robustbench_bi.training.logs import Progress, tensorboard
from robustbench_bi.training.loop import train


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_shows_what_the_log_says(tiny, tmp_path):
    told = []
    path = train(
        "tiny_networks:batch_norm", preset="demo", epochs=2, limit=64, recipe={"batch_size": 16}, out=tmp_path,
        events=True, progress=told.append,
    )  # fmt: skip
    shown = scalars(tmp_path / f"{path.stem}-tensorboard")
    assert [step for step, _ in shown["step/loss"]] == list(range(1, 9))
    assert [value for _, value in shown["step/loss"]] == pytest.approx([progress.loss for progress in told])
    assert [value for _, value in shown["step/learning_rate"]] == pytest.approx([one.learning_rate for one in told])
    assert [step for step, _ in shown["epoch/evaluation_top1"]] == [4, 8]
    last = path.with_suffix(".csv").read_text().splitlines()[-1].split(",")
    assert shown["epoch/training_loss"][-1][1] == pytest.approx(float(last[1]))


def test_steps_that_are_done_again_replace_what_was_shown(tmp_path):
    for begun, loss in ((0, 1.0), (2, 2.0)):
        with tensorboard(tmp_path, 4, begun) as watchers:
            for step in range(begun + 1, 5):
                watchers.step(Progress(1, 1, step, 4, loss, 0.1, 10.0))
    assert scalars(tmp_path)["step/loss"] == [(1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0)]


def test_without_its_package_tensorboard_is_one_clear_error(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    text = r"needs TensorBoard; run: pip install 'bivo-robust\[tensorboard\]', or leave --tensorboard out"
    with pytest.raises(BackendUnavailableError, match=text), tensorboard(tmp_path, 1, 0):
        pass


def test_a_place_where_tensorboard_cannot_write_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot write .*file"), tensorboard(tmp_path / "file", 1, 0):
        pass
