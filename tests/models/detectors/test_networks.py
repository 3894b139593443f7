import pytest
import torch

import robustbench_bi as rb
from robustbench_bi.errors import InputError, UnknownNameError, WeightsError
from robustbench_bi.models import save_checkpoint
from robustbench_bi.models.detectors import DETECTORS, OPERATORS
from robustbench_bi.models.detectors.build import create_detector
from robustbench_bi.models.detectors.counts import as_text, count_detector, table_2

TINY = {
    "width": 0.125,
    "pyramid_channels": 32,
    "head_channels": 16,
    "smallest_anchor": 8,
    "min_size": 64,
    "max_size": 96,
}


@pytest.fixture(scope="module")
def rows():
    return table_2()


def test_all_six_published_counts_fit_and_the_operations_nearly(rows):
    published = [row for row in rows if row["published_parameters"] is not None]
    assert len(published) == 6 and all(row["parameters_beyond"] == 0 for row in published)
    # With the frozen ones none of the Faster R-CNN with convolutions would.
    assert round(published[0]["parameters"] / 1e6, 1) != published[0]["published_parameters"]
    for row in published:
        assert row["macs"] / 1e9 == pytest.approx(row["published_macs"], rel=0.03)
    assert "match the published ones in 6 of 6 rows" in as_text(rows)[2][0]


def test_every_row_of_the_papers_table_is_there(rows):
    paper = [(row["paper_ap"], row["paper_mask_ap"]) for row in rows if row["paper_ap"] is not None]
    boxes = [37.7, 39.5, 39.2, 40.0, 40.1, 38.4, 40.2, 40.6]
    assert sorted(ap for ap, _ in paper) == sorted(boxes)
    assert sorted(mask for _, mask in paper if mask is not None) == [35.1, 36.1, 36.4]
    assert {row["model"] for row in rows} == set(DETECTORS.names)


def test_neck_and_head_change_what_they_name():
    def trainable(**options):
        return count_detector("maskrcnn_rednet50", options)["trainable"]

    plain, both = trainable(), trainable(neck="involution", head="involution")
    assert plain - both == (plain - trainable(neck="involution")) + (plain - trainable(head="involution")) > 0


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("name", ["fasterrcnn_resnet50", "maskrcnn_binet50_dc"])
def test_a_detector_learns_and_answers(name, operator):
    torch.manual_seed(0)
    network = rb.create_model(name, num_classes=3, neck=operator, head=operator, **TINY)
    images = [torch.rand(3, 64, 80), torch.rand(3, 70, 64)]
    target = {"boxes": torch.tensor([[4.0, 4, 40, 40]]), "labels": torch.tensor([2])}
    masks = [torch.zeros(1, *image.shape[1:], dtype=torch.uint8) for image in images]
    losses = network(images, [{**target, "masks": mask} for mask in masks])
    sum(losses.values()).backward()
    assert ("loss_mask" in losses) == name.startswith("mask")
    frozen = {key for key, own in network.named_parameters() if not own.requires_grad}
    assert frozen and all(key.split(".")[2] in ("stem", "conv1", "bn1", "layer1") for key in frozen)
    assert all(own.grad is None for own in network.parameters() if not own.requires_grad)
    with torch.no_grad():
        answer = network.eval()(images)[1]
    assert answer["boxes"].shape[1] == 4 and ("masks" in answer) == name.startswith("mask")


def test_an_answer_does_not_depend_on_the_pictures_before():
    torch.manual_seed(0)
    network = rb.create_model("fasterrcnn_resnet50", num_classes=3, **{**TINY, "min_size": 40, "max_size": 72}).eval()
    # Both keep their size; the first is padded from 40 to 64 pixels, from which torchvision infers another scale.
    small, large = torch.rand(3, 40, 40), torch.rand(3, 72, 30)
    with torch.no_grad():
        alone = network([large])[0]
        network([small])
        again = rb.create_model("fasterrcnn_resnet50", num_classes=3, **{**TINY, "min_size": 40, "max_size": 72}).eval()
        again.load_state_dict(network.state_dict())
        again([small])
        after = again([large])[0]
    assert torch.equal(alone["scores"], after["scores"]) and len(alone["scores"])
    assert network.roi_heads.box_roi_pool.scales == [1 / 4, 1 / 8, 1 / 16, 1 / 32]


def test_a_checkpoint_brings_its_options_and_classes(tmp_path):
    network = rb.create_model("fasterrcnn_rednet50", num_classes=2, neck="involution", **TINY)
    network.class_names = ("cat", "dog")
    path = tmp_path / "detector.safetensors"
    save_checkpoint(path, network)
    again = create_detector("fasterrcnn_rednet50", weights=path)
    assert again.class_names == ("__background__", "cat", "dog")
    assert again.identity["options"]["neck"] == "involution" and again.limits()["min_size"] == 64
    own, other = network.state_dict(), again.network.state_dict()
    assert all(torch.equal(own[key], other[key]) for key in own)
    with pytest.raises(InputError, match="neck='convolution' contradicts the checkpoint"):
        create_detector("fasterrcnn_rednet50", weights=path, neck="convolution")
    with pytest.raises(WeightsError, match="does not fit fasterrcnn_resnet50"):
        create_detector("fasterrcnn_resnet50", weights=path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neck": "attention"}, "neck must be one of convolution, involution, bivolution, got 'attention'"),
        ({"nck": "involution"}, "has no option 'nck'. Did you mean 'neck'"),
        ({"min_size": 0}, "min_size must be a positive integer, got 0"),
        ({"width": "wide"}, "width must be a number, got 'wide'"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(InputError, match=message):
        rb.create_model("fasterrcnn_resnet50", num_classes=2, **options)


def test_names_that_there_are_not():
    with pytest.raises(UnknownNameError, match=r"unknown detector 'fasterrcnn_resnet5'\. Did you mean"):
        create_detector("fasterrcnn_resnet5", class_names=["cat"])
    with pytest.raises(UnknownNameError, match="unknown torchvision detector 'fasterrcnn'"):
        create_detector("torchvision:fasterrcnn", class_names=["cat"])
    with pytest.raises(InputError, match="needs class names, and the data gave none"):
        create_detector("fasterrcnn_resnet50")
    with pytest.raises(WeightsError, match="fasterrcnn_resnet50 has no published weights 'pretrained'"):
        create_detector("fasterrcnn_resnet50", class_names=["cat"], weights="pretrained")


def test_fewer_proposals_are_stated_and_the_usual_number_is_not(tmp_path):
    usual = rb.create_model("fasterrcnn_resnet50", num_classes=2, **TINY)
    few = rb.create_model("fasterrcnn_resnet50", num_classes=2, proposals=100, **TINY)
    assert "proposals" not in usual.identity["options"] and few.identity["options"]["proposals"] == 100
    for network, kept in ((usual, 1000), (few, 100)):
        assert network.rpn._pre_nms_top_n == network.rpn._post_nms_top_n == {"training": 2 * kept, "testing": kept}
    assert usual.roi_heads.fg_bg_sampler.batch_size_per_image == 512
    assert few.roi_heads.fg_bg_sampler.batch_size_per_image == 52
    path = tmp_path / "usual.safetensors"
    save_checkpoint(path, usual)
    with pytest.raises(InputError, match=r"proposals=100 contradicts the checkpoint, .* has proposals=1000"):
        rb.create_model("fasterrcnn_resnet50", weights=path, proposals=100)
