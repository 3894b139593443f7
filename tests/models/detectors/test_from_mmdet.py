"""Checkpoints in the layout of RedNet's published detectors: built here, since none could be had."""

import pytest
import torch
from click.testing import CliRunner

import robustbench_bi as rb
from robustbench_bi.cli import cli
from robustbench_bi.errors import InputError, WeightsError
from robustbench_bi.models.detectors.build import create_detector

TINY = {"width": 0.125, "pyramid_channels": 32, "head_channels": 16, "stem_kernel": 7}
SMALL = {"smallest_anchor": 8, "min_size": 64, "max_size": 96}
BOX = "roi_head.bbox_head."


def mmdet_name(name):
    """What a tensor of ours is called in mmdet."""
    if name.startswith("backbone.body."):
        return "backbone." + name.removeprefix("backbone.body.")
    if name.startswith("backbone.fpn."):
        kind, level, rest = name.removeprefix("backbone.fpn.").split(".", 2)
        rest = "conv." + rest.removeprefix("0.") if rest.startswith("0.") else rest
        return f"neck.{'lateral_convs' if kind == 'inner_blocks' else 'fpn_convs'}.{level}.{rest}"
    if name.startswith("rpn.head."):
        rest = name.removeprefix("rpn.head.")
        rest = rest.replace("conv.0.0.", "rpn_conv.").replace("conv.0.conv", "rpn_conv.conv")
        return "rpn_head." + rest.replace("cls_logits", "rpn_cls").replace("bbox_pred", "rpn_reg")
    rest = name.removeprefix("roi_heads.")
    if rest.startswith("box_"):
        _, rest = rest.split(".", 1)
        pairs = {"fc6": "shared_fcs.0", "fc7": "shared_fcs.1", "cls_score": "fc_cls", "bbox_pred": "fc_reg"}
        part, kind = rest.split(".")
        return f"{BOX}{pairs[part]}.{kind}"
    if rest.startswith("mask_head."):
        _, number, _, rest = rest.split(".", 3)
        return f"roi_head.mask_head.convs.{number}.{rest if '.' in rest else f'conv.{rest}'}"
    pairs = {"conv5_mask": "upsample", "mask_fcn_logits": "conv_logits"}
    part, kind = rest.removeprefix("mask_predictor.").split(".")
    return f"roi_head.mask_head.{pairs[part]}.{kind}"


def unused_rows(name):
    """How many first rows of a tensor of ours are about the background, which mmdet does not have."""
    return 4 if "box_predictor.bbox_pred" in name else 1 if "mask_fcn_logits" in name else None


def as_mmdet(network):
    """The state of a network as mmdet keeps it: the background last, and without boxes and masks of its own."""
    state = {}
    for name, tensor in network.state_dict().items():
        first = unused_rows(name)
        own = torch.cat([tensor[1:], tensor[:1]]) if "cls_score" in name else tensor[first:] if first else tensor
        state[mmdet_name(name)] = own.clone()
    return state


def made(name, **options):
    torch.manual_seed(1)
    return rb.create_model(name, num_classes=80, **TINY, **SMALL, **options).eval()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fasterrcnn_rednet50", {}),
        ("fasterrcnn_rednet50", {"neck": "involution", "head": "involution"}),
        ("maskrcnn_rednet50", {"neck": "involution"}),
        ("maskrcnn_rednet50", {"neck": "involution", "head": "involution"}),
    ],
)
def test_every_tensor_lands_and_the_answers_are_the_same(name, options, tmp_path):
    network = made(name, **options)
    file = tmp_path / "rednet.pth"
    torch.save({"meta": {"epoch": 12}, "state_dict": as_mmdet(network)}, file)
    detector = create_detector(name, weights=file)
    found = detector.network
    assert {key: found.identity["options"][key] for key in (*TINY, *options)} == {**TINY, **options}
    assert len(detector.class_names) == 81
    assert (detector.class_names[1], detector.class_names[80]) == ("person", "toothbrush")
    own, other = network.state_dict(), found.state_dict()
    assert own.keys() == other.keys()
    for key, tensor in own.items():
        first = unused_rows(key)
        assert torch.equal(*((part[first:] if first else part) for part in (other[key], tensor))), key
        assert not first or not other[key][:first].any()
    picture = torch.rand(3, 64, 80)
    with torch.no_grad():
        wanted, answer = network.roi_heads.box_predictor, found.roi_heads.box_predictor
        features = torch.rand(5, 16)
        assert torch.equal(wanted(features)[0], answer(features)[0])
        body, theirs = network.backbone(picture[None]), found.eval().backbone(picture[None])
    assert all(torch.equal(body[level], theirs[level]) for level in body)


def test_the_stem_of_a_detector_is_as_wide_as_its_file_says(tmp_path):
    torch.manual_seed(1)
    narrow = rb.create_model("fasterrcnn_rednet50", num_classes=80, **{**TINY, "stem_kernel": 3}, **SMALL)
    torch.save(as_mmdet(narrow), tmp_path / "narrow.pth")
    found = create_detector("fasterrcnn_rednet50", weights=tmp_path / "narrow.pth").network
    assert found.backbone.body.stem[1].kernel_size == 3 and "stem_kernel" not in found.identity["options"]
    assert made("fasterrcnn_rednet50").backbone.body.stem[1].kernel_size == 7
    with pytest.raises(InputError, match="stem_kernel=7 needs a stem with an involution"):
        made("fasterrcnn_resnet50")


def test_what_is_not_converted_is_refused(tmp_path):
    state = as_mmdet(made("fasterrcnn_rednet50"))
    file = tmp_path / "some.pth"

    def refused(changed, name="fasterrcnn_rednet50"):
        torch.save(changed, file)
        with pytest.raises(WeightsError) as caught:
            create_detector(name, weights=file)
        assert "\n" not in str(caught.value) and "some.pth" in str(caught.value)
        return str(caught.value)

    resnet = {key: own for key, own in state.items() if ".stem." not in key}
    assert "only those with a RedNet backbone can be converted" in refused(resnet)
    few = {**state, f"{BOX}fc_cls.bias": torch.zeros(21)}
    assert "only detectors with COCO's 80 classes can be converted, got 20 classes" in refused(few)
    assert "does not fit maskrcnn_rednet50: missing" in refused(state, "maskrcnn_rednet50")
    assert "unexpected: teacher.weight" in refused({**state, "teacher.weight": torch.zeros(1)})
    missing = {key: own for key, own in state.items() if key != "neck.lateral_convs.2.conv.bias"}
    assert "missing: backbone.fpn.inner_blocks.2.0.bias" in refused(missing)


def test_convert_writes_a_file_of_ours(tmp_path):
    torch.save(as_mmdet(made("fasterrcnn_rednet50", neck="involution")), tmp_path / "some.pth")
    out = tmp_path / "own.safetensors"
    command = ["convert", "fasterrcnn_rednet50", "--weights", str(tmp_path / "some.pth"), "--out", str(out)]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, result.output
    assert "fasterrcnn_rednet50, 80 classes" in result.output
    again = create_detector("fasterrcnn_rednet50", weights=out)
    assert again.identity["options"]["stem_kernel"] == 7 and again.class_names[1] == "person"
    wrong = CliRunner().invoke(cli, [*command, "--force", "--resize-size", "300"])
    assert wrong.exit_code == 2 and "a detector prepares its images itself; leave out --resize-size" in wrong.output
