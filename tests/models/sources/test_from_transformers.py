import dataclasses
import json
import sys
import types

import huggingface_hub
import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import robustbench_bi
from robustbench_bi.data import open_data
from robustbench_bi.data.preprocess import Preprocessing, cut_image, normalise, preprocessing_of
from robustbench_bi.errors import InputError, WeightsError
from robustbench_bi.evaluation.configure import _followed
from robustbench_bi.models import create_model
from robustbench_bi.models.sources import downloads
from robustbench_bi.models.sources.image_processor import preprocessing_of_processor
from robustbench_bi.models.weights import weights_hash

NEWER = int(transformers.__version__.partition(".")[0]) >= 5
SQUARE = {"height": 64, "width": 64}
SMALL = {"crop_size": SQUARE}
PROCESSORS = {
    "squash": ("ViTImageProcessor", {"size": SQUARE}),
    "squash of rectangles": ("ViTImageProcessor", {"size": {"height": 96, "width": 64}, "resample": 3}),
    "short side and crop": ("CLIPImageProcessor", {"size": {"shortest_edge": 73}, **SMALL}),
    "an odd margin": ("CLIPImageProcessor", {"size": {"shortest_edge": 71}, "resample": 2, **SMALL}),
    "a crop that does not fit": ("BitImageProcessor", {"size": {"shortest_edge": 57}, **SMALL}),
    "crop_pct": ("ConvNextImageProcessor", {"size": {"shortest_edge": 64}, "crop_pct": 0.875}),
    "no crop from 384": ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
    "no crop and no crop_pct": ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}, "crop_pct": None}),
    "no normalisation": ("MobileNetV2ImageProcessor", {"do_normalize": False, "size": {"shortest_edge": 80}, **SMALL}),
    "poolformer": ("PoolFormerImageProcessor", {"size": {"shortest_edge": 64}, "crop_pct": 0.9, **SMALL}),
    "levit": ("LevitImageProcessor", {"size": {"shortest_edge": 64}, **SMALL}),
    "efficientnet": (
        "EfficientNetImageProcessor",
        {"size": {"height": 70, "width": 70}, "do_center_crop": True, "resample": 2, **SMALL},
    ),
    "nearest": ("EfficientNetImageProcessor", {"size": SQUARE, "resample": 0}),
    "blue, green, red": ("MobileViTImageProcessor", {"size": {"shortest_edge": 70}, **SMALL}),
}


def processor_of(name, fast):
    kind, settings = PROCESSORS[name]
    for suffix in ({True: "", False: "Pil"} if NEWER else {True: "Fast", False: ""})[fast], "":
        if hasattr(transformers, kind + suffix):
            return getattr(transformers, kind + suffix)(**settings)
    return pytest.fail(f"there is no {kind}")


def noise(width, height):
    return Image.fromarray(np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("fast", [False, True], ids=["slow", "fast"])
@pytest.mark.parametrize("name", PROCESSORS)
def test_processors_are_followed_to_the_byte(name, fast):
    processor = processor_of(name, fast)
    found = preprocessing_of_processor(processor, fast)
    preprocessing = preprocessing_of(None, **found.preprocessing)
    assert preprocessing.cut_as == ("transformers-fast" if fast else "transformers")
    for size in ((97, 64), (63, 201), (333, 250), preprocessing.shape[::-1]):
        pixels = cut_image(noise(*size), preprocessing)
        whole = processor(images=noise(*size), return_tensors="pt")["pixel_values"][0]
        tensor = normalise(torch.from_numpy(pixels.copy())[None], preprocessing)[0]
        torch.testing.assert_close(tensor.flip(0) if found.flipped else tensor, whole.float(), atol=2e-5, rtol=1e-4)
    assert found.flipped == (name == "blue, green, red")


def test_what_a_processor_does_beyond_that_is_refused():
    class Mirroring(type(processor_of("squash", False))):
        def resize(self, image, *arguments, **options):
            return super().resize(image, *arguments, **options)[..., ::-1].copy()

    with pytest.raises(InputError, match=r"image processor Mirroring does something we do not support"):
        preprocessing_of_processor(Mirroring(size=SQUARE), False)
    with pytest.raises(InputError, match=r"does not resize, so images differ"):
        preprocessing_of_processor(type(processor_of("squash", False))(do_resize=False), False)
    with pytest.raises(InputError, match=r"has the resample 9, a mode we do not support"):
        preprocessing_of_processor(type(processor_of("squash", False))(size=SQUARE, resample=9), False)


def test_numbers_that_no_mean_gives_are_refused_with_what_makes_them():
    kind, settings = PROCESSORS["efficientnet"]
    settings = {**settings, "rescale_factor": 1 / 255, "rescale_offset": True, "image_mean": [0.5] * 3}
    processor = getattr(transformers, kind)(**settings, image_std=[0.5] * 3)
    with pytest.raises(
        InputError, match=r"mean or std outside 0 to 1 \(rescale_factor 0.003.*, rescale_offset True\); pr"
    ):
        preprocessing_of_processor(processor, True)


def vit(classes=10, **settings):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    config = transformers.ViTConfig(**sizes, image_size=64, patch_size=16, num_labels=classes, **settings)
    return transformers.ViTForImageClassification(config)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(network, kind="ViTImageProcessor", **settings):
        network.save_pretrained(tmp_path / "net")
        processor = {"image_processor_type": kind, "size": SQUARE, "do_resize": True, **settings}
        (tmp_path / "net" / "preprocessor_config.json").write_text(json.dumps(processor))
        return "hf:./net"

    return write


def test_a_network_from_a_folder(folder):
    network = vit()
    loaded = create_model(folder(network, resample=3)).eval()
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(loaded(images), network.eval()(pixel_values=images).logits)
    assert (loaded.input_size, loaded.resize_size, loaded.crop_mode, loaded.interpolation) == (
        64,
        64,
        "squash",
        "bicubic",
    )
    assert (loaded.cut_as, loaded.mean, loaded.class_names) == ("transformers", (0.5, 0.5, 0.5), None)
    assert loaded.identity["name"] == "hf:net"
    assert create_model("hf:./net", processor="fast").cut_as == "transformers-fast"
    assert create_model(folder(network, kind="ViTImageProcessorFast")).cut_as == "transformers-fast"


def test_another_configuration_with_the_same_weights_is_another_network(folder):
    first = create_model(folder(vit()))
    second = create_model(folder(vit(hidden_act="relu")))
    assert weights_hash(first) == weights_hash(second)
    assert first.identity != second.identity


def test_a_background_is_left_out(folder):
    names = {number: f"class {number}" for number in range(1, 1001)}
    network = vit(1001, id2label={0: "background", **names}, label2id={})
    loaded = create_model(folder(network), num_classes=1000).eval()
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(loaded(images), network.eval()(pixel_values=images).logits[:, 1:])
    assert loaded.class_names[0] == "class 1"
    kept = vit(1001, id2label={0: "tench", **names}, label2id={})
    assert create_model(folder(kept)).eval()(images).shape == (1, 1001)


def test_weights_from_a_file_and_random_ones(folder, tmp_path):
    name = folder(vit())
    other = vit(4)
    torch.save({f"module.{key}": value + 1 for key, value in other.state_dict().items()}, tmp_path / "other.pth")
    loaded = create_model(name, num_classes=4, weights=tmp_path / "other.pth")
    assert torch.equal(loaded.network.classifier.weight, other.classifier.weight + 1)
    assert create_model(name, num_classes=3, weights="none").eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 3)


def test_what_does_not_fit_is_refused_in_a_line(folder, tmp_path):
    name = folder(vit())
    for call, error, message in (
        (
            lambda: create_model(name, num_classes=5),
            WeightsError,
            "hf:./net has 10 classes, but num_classes or the data ask for 5",
        ),
        (lambda: create_model(name, width=2), InputError, "hf:./net has one option, processor"),
        (
            lambda: create_model("hf:./gone"),
            InputError,
            "hf:./gone must be OWNER/NAME, OWNER/NAME@REVISION or an existing",
        ),
    ):
        with pytest.raises(error, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
    (tmp_path / "net" / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"lacks model.safetensors; call save_pretrained\(\) of the network"):
        create_model(name)


def test_networks_of_timm_are_timms(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "is_reachable", lambda _: True)
    stated = {"architecture": "resnet18", "num_classes": 10, "pretrained_cfg": {"input_size": [3, 64, 64]}}
    (tmp_path / "config.json").write_text(json.dumps(stated))
    with pytest.raises(InputError, match=r"is a network of timm; use timm:resnet18 with --weights and the folder's"):
        create_model(f"hf:{tmp_path}")
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", lambda *_, **__: config)
    with pytest.raises(InputError, match=r"^hf:timm/x@main is a network of timm; use timm:hf-hub:timm/x@main$"):
        create_model("hf:timm/x@main")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"lacks preprocessor_config\.json"):
        create_model(f"hf:{tmp_path}")


def test_grey_images_are_refused_with_what_helps(folder):
    with pytest.raises(InputError, match=r"hf:./net takes grey images; .* with in_chans = 1"):
        create_model(folder(vit(num_channels=1)))


@pytest.mark.parametrize(("kind", "which"), [("", "slow (PIL)"), ("Fast", "fast (torchvision)")])
def test_which_processor_is_followed_is_said(kind, which, folder, tmp_path):
    data = tmp_path / "data"
    for name in "abcdefghij":
        (data / name).mkdir(parents=True)
        noise(70, 80).save(data / name / "it.png")
    name = folder(vit(10), kind=f"ViTImageProcessor{kind}")
    options = {"suite": "contrast", "severities": 1, "limit": 4, "out": tmp_path / "runs"}
    remark = f"Images for hf:./net are cut as by its {which} image processor in transformers"
    assert remark in robustbench_bi.evaluate(name, data, **options).config["runtime"]["remarks"]
    assert remark not in robustbench_bi.evaluate(name, **options).config["runtime"]["remarks"]


@pytest.mark.parametrize(
    ("stored", "clean", "said"), [(None, "", 1), ((("fog", 1),), "", 0), ((("fog", 1),), "abc", 1)]
)
def test_of_stored_files_alone_no_processor_is_said_to_be_followed(stored, clean, said):
    view = types.SimpleNamespace(preprocessing=Preprocessing(cut_as="transformers"))
    dataset = dataclasses.replace(open_data("demo", limit=4), native_size=None, stored_cells=stored, clean_hash=clean)
    assert len(_followed("hf:./net", view, dataset)) == said


def test_a_backbone_is_no_classifier(folder):
    with pytest.raises(WeightsError, match=r"has no weights for classifier.bias, classifier.weight, which would be"):
        create_model(folder(vit().vit))


def test_code_of_a_repository_is_never_run(folder, tmp_path):
    name = folder(vit())
    config = json.loads((tmp_path / "net" / "config.json").read_text())
    config |= {
        "model_type": "unheard_of",
        "auto_map": {"AutoConfig": "code.Own", "AutoModelForImageClassification": "code.Own"},
    }
    (tmp_path / "net" / "config.json").write_text(json.dumps(config))
    (tmp_path / "net" / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(InputError, match="needs code from its repository, which is never run"):
        create_model(name)
    assert not (tmp_path / "ran").exists()


def test_a_hub_that_cannot_be_reached(monkeypatch):
    def refuse(*_, **__):
        raise OSError("We couldn't connect to 'https://huggingface.co'.\nCheck your connection.")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", refuse)
    monkeypatch.setattr(downloads, "is_reachable", lambda _: True)
    message = r"^hf:owner/name@main could not be downloaded: We.*Download config.json, preprocessor_config.json and m"
    with pytest.raises(WeightsError, match=message) as caught:
        create_model("hf:owner/name@main")
    assert "use hf:./FOLDER" in str(caught.value) and "\n" not in str(caught.value)


def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://localhost:9")

    def never(*_, **__):
        assert huggingface_hub.constants.HF_HUB_OFFLINE
        raise OSError("it is not among the cached files")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", never)
    with pytest.raises(WeightsError, match=r"^hf:owner/name could not be downloaded: localhost:9 does not answer\. D"):
        create_model("hf:owner/name")
    assert not huggingface_hub.constants.HF_HUB_OFFLINE


def test_the_extra_is_asked_for_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"hf:a/b needs transformers, .*: pip install 'bivo-robust\[hf\]'"):
        create_model("hf:a/b")
