import subprocess
import sys
import textwrap
from urllib.error import URLError

import pytest
import timm
import torch
import torchvision

from robustbench_bi.errors import InputError, UnknownNameError, WeightsError
from robustbench_bi.models import create_model
from robustbench_bi.models.timm_hook import register_with_timm
from robustbench_bi.models.weights import save_checkpoint, weights_hash

HALF = (0.5, 0.5, 0.5)


def preprocessing(network):
    return network.input_size, network.resize_size, network.interpolation, network.mean, network.std


@pytest.fixture
def offline(monkeypatch):
    def refuse(*_, **__):
        raise URLError("Name or service not known")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    monkeypatch.setattr("torch.hub.get_dir", lambda: "/nonexistent")
    monkeypatch.setattr("os.makedirs", lambda *_, **__: None)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module into the current folder, which is not on the path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])

    def write(code, name="my_model"):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(code))
        monkeypatch.delitem(sys.modules, name, raising=False)

    yield write
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]


def test_timm_brings_its_preprocessing():
    network = create_model("timm:tf_efficientnet_lite0", num_classes=7)
    assert preprocessing(network) == (224, 256, "bicubic", HALF, HALF)
    assert network.identity == {"name": "timm:tf_efficientnet_lite0", "options": {}, "num_classes": 7}
    assert network.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 7)


def test_timm_takes_the_options_of_its_networks():
    network = create_model("timm:vit_tiny_patch16_224", img_size=96, depth=1)
    assert (network.input_size, len(network.blocks), network.num_classes) == (96, 1, 1000)
    assert network.identity["options"] == {"img_size": 96, "depth": 1}
    with pytest.raises(InputError, match=r"timm:resnet18 cannot be built with these options: .*zoom"):
        create_model("timm:resnet18", zoom=3)


def test_timm_weights_from_a_file(tmp_path):
    torch.manual_seed(0)
    network = timm.create_model("resnet18", num_classes=4)
    torch.save({"state_dict": network.state_dict()}, tmp_path / "timm.pth")
    again = create_model("timm:resnet18", num_classes=4, weights=tmp_path / "timm.pth")
    assert weights_hash(again) == weights_hash(network)
    with pytest.raises(WeightsError, match=r"does not fit timm:resnet18: it is for 4 classes, and 1000 were asked for"):
        create_model("timm:resnet18", weights=tmp_path / "timm.pth")


def test_timm_downloads_fail_in_one_line(monkeypatch):
    def refuse(*_, pretrained, **__):
        assert pretrained
        raise OSError("We cannot find the file.\nCheck your connection.")

    monkeypatch.setattr(timm, "create_model", refuse)
    message = "^timm's weights of resnet18 could not be had: We cannot find the file.. Give a downloaded file instead$"
    with pytest.raises(WeightsError, match=message):
        create_model("timm:resnet18", weights="pretrained")


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("timm:resnet5o", {}, UnknownNameError, "unknown timm model 'resnet5o'. Did you mean 'resnet50"),
        ("timm:resnet18", {"weights": "demo"}, WeightsError, "there are no weights 'demo' for timm:resnet18; give a"),
        ("torchvision:resnet5o", {}, UnknownNameError, "unknown torchvision model 'resnet5o'. Did you mean 'resnet50'"),
        (
            "torchvision:resnet18",
            {"weights": "IMAGENET1K_V2"},
            WeightsError,
            "unknown weights of torchvision's resnet18: 'IMAGENET1K_V2'. Did you mean 'IMAGENET1K_V1'",
        ),
        (
            "torchvision:resnet18",
            {"weights": "IMAGENET1K_V1", "num_classes": 10},
            WeightsError,
            "torchvision's ResNet18_Weights.IMAGENET1K_V1 is for 1000 classes, not 10",
        ),
        ("torchvision:resnet18", {"zoom": 3}, InputError, "torchvision:resnet18 cannot be built with these options: "),
    ],
)
def test_what_the_libraries_do_not_have_is_refused(name, options, error, message):
    with pytest.raises(error, match=message):
        create_model(name, **options)


def test_torchvision_networks():
    network = create_model("torchvision:mobilenet_v3_small", num_classes=6)
    assert network.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 6)
    assert preprocessing(network) == (224, 256, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert network.identity == {"name": "torchvision:mobilenet_v3_small", "options": {}, "num_classes": 6}


@pytest.mark.parametrize(
    ("weights", "expected"),
    [("IMAGENET1K_V1", (224, 256)), ("IMAGENET1K_V2", (224, 232)), ("pretrained", (224, 232))],
)
@pytest.mark.parametrize("name", ["torchvision:resnet50", "resnet50"])
def test_torchvision_weights_bring_their_preprocessing(name, weights, expected, monkeypatch):
    torch.manual_seed(0)
    state = torchvision.models.resnet50().state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: state)
    network = create_model(name, weights=weights)
    if (name, weights) == ("resnet50", "pretrained"):
        expected = (224, 256)  # our baseline is the one behind ImageNet-C's published numbers, not torchvision's newest
    assert (network.input_size, network.resize_size) == expected
    assert torch.equal(network.state_dict()["fc.weight"], state["fc.weight"])
    assert network.identity["num_classes"] == 1000


@pytest.mark.parametrize("name", ["torchvision:resnet50", "resnet50"])
def test_torchvision_downloads_fail_in_one_line(name, offline):
    message = (
        r"^torchvision's ResNet50_Weights.IMAGENET1K_V1 could not be had: "
        r"<urlopen error Name or service not known>. Give a downloaded file instead$"
    )
    with pytest.raises(WeightsError, match=message):
        create_model(name, weights="IMAGENET1K_V1")


def test_torchvision_weights_from_a_file(tmp_path):
    torch.manual_seed(0)
    network = torchvision.models.resnet18()
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    again = create_model("torchvision:resnet18", weights=str(tmp_path / "resnet18.pth"))
    assert weights_hash(again) == weights_hash(network)


def test_a_function_in_the_current_folder(module):
    module("""
        import torch

        def build():
            network = torch.nn.Linear(2, 3)
            network.mean, network.std, network.input_size = (0.5, 0.5, 0.5), [0.25] * 3, 64
            network.class_names = ["a", "b", "c"]
            return network
    """)
    network = create_model("my_model:build", num_classes=3)
    assert preprocessing(network) == (64, 73, "bilinear", HALF, (0.25,) * 3)
    assert network.class_names == ("a", "b", "c")
    assert network.identity == {"name": "my_model:build", "options": {}, "num_classes": 3}


def test_a_function_is_given_what_it_has_parameters_for(module):
    module("""
        import torch

        def build(num_classes, depth=1, *, input_size=(3, 32, 32)):
            network = torch.nn.Sequential(*(torch.nn.Linear(2, num_classes) for _ in range(depth)))
            network.input_size = input_size
            return network

        def greedy(**anything):
            return torch.nn.Linear(2, len(anything) + 1)
    """)
    network = create_model("my_model:build", num_classes=3, depth=2)
    assert (len(network), network[0].out_features, network.input_size, network.mean[0]) == (2, 3, 32, 0.485)
    assert network.identity["options"] == {"depth": 2}
    assert create_model("my_model:greedy", num_classes=3).out_features == 1
    with pytest.raises(
        InputError, match="my_model:build takes no argument 'width'; it takes: num_classes, depth, input"
    ):
        create_model("my_model:build", num_classes=3, width=2)


def test_weights_of_a_function(module, tmp_path):
    module("import torch\ndef build():\n    return torch.nn.Linear(2, 3)")
    network = torch.nn.Linear(2, 3)
    save_checkpoint(tmp_path / "linear.safetensors", network)
    for weights in (None, "none"):
        assert weights_hash(create_model("my_model:build", weights=weights)) != weights_hash(network)
    again = create_model("my_model:build", weights=tmp_path / "linear.safetensors")
    assert weights_hash(again) == weights_hash(network)
    with pytest.raises(WeightsError, match="there are no weights 'pretrained' for my_model:build; give a file"):
        create_model("my_model:build", weights="pretrained")


@pytest.mark.parametrize(
    ("code", "name", "message"),
    [
        (
            "",
            "my_missing:build",
            "cannot import my_missing for the model 'my_missing:build': ModuleNotFoundError: No module named 'my_miss",
        ),
        ("import my_absent", "my_model:build", "cannot import my_model .*: No module named 'my_absent'; a model is a"),
        ("def build(:", "my_model:build", "cannot import my_model for the model 'my_model:build': .*syntax"),
        ("def built(): ...", "my_model:build", "my_model has no function 'build'. Did you mean 'built'?"),
        ("build = 3", "my_model:build", "the module my_model has no function 'build'. There are none."),
        ("def build(): return 3", "my_model:build", "my_model:build must return a torch.nn.Module, got int"),
        ("", "my_model:", "'my_model:' names no model; a model is a name from `bivo-robust list models`, timm:NAME"),
        ("", ":build", "':build' names no model"),
        (
            "import torch\ndef build():\n m = torch.nn.ReLU()\n m.register_buffer('mean', torch.zeros(3))\n return m",
            "my_model:build",
            "my_model:build has a Tensor under the name .mean., which is kept for a plain value .*; rename it",
        ),
        (
            "import torch\ndef build():\n m = torch.nn.ReLU()\n m.std = 0.5\n return m",
            "my_model:build",
            "the attribute 'std' of my_model:build must be three numbers, got 0.5",
        ),
    ],
)
def test_functions_that_do_not_fit_are_refused(code, name, message, module):
    module(code)
    with pytest.raises(InputError, match=message) as caught:
        create_model(name)
    assert "\n" not in str(caught.value)


def test_an_error_inside_the_users_function_is_one_line_with_its_cause(module):
    module("def build():\n    return {}['gone']")
    with pytest.raises(InputError, match=r"^my_model:build failed: KeyError: 'gone'$") as caught:
        create_model("my_model:build")
    assert isinstance(caught.value.__cause__, KeyError)


def test_an_instance_is_no_function(module):
    module("import torch\n\nnetwork = torch.nn.Identity()\n\n\ndef build():\n    return network")
    with pytest.raises(InputError, match="the module my_model has no function 'network'"):
        create_model("my_model:network")


def run(code):
    return subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "imports",
    [
        "import timm, robustbench_bi",
        "import robustbench_bi; from timm.models import create_model; import timm",
        "import robustbench_bi, importlib.util; importlib.util.find_spec('timm'); import timm",
    ],
    ids=["timm first", "ours first", "after a look without import"],
)
def test_our_networks_are_timms_too(imports):
    code = f"""{imports}
import sys, torch
network = timm.create_model("binet50", num_classes=3, width=0.125, input_size=64)
config = timm.data.resolve_model_data_config(network)
print(type(network).__module__, network.num_classes, config["input_size"], round(64 / config["crop_pct"]))
print(type(timm.create_model("resnet50")).__module__)
print(timm.is_model("rednet26"), [type(finder).__name__ for finder in sys.meta_path].count("TimmFinder"))
print(timm.__spec__.loader.get_source("timm") is not None)
"""
    done = run(code)
    assert done.stdout.splitlines() == [
        "robustbench_bi.models.resnet 3 (3, 64, 64) 73",
        "timm.models.resnet",
        "True 0",
        "True",
    ], done.stderr


def test_importing_us_does_not_import_timm():
    done = run("import robustbench_bi, sys; print([name for name in ('timm', 'torch') if name in sys.modules])")
    assert done.stdout == "[]\n", done.stderr


def test_timm_is_told_that_there_are_no_weights():
    register_with_timm()
    register_with_timm()
    with pytest.raises(WeightsError, match="there are no published weights 'pretrained' for binet50_dc_ca"):
        timm.create_model("binet50", pretrained=True)
    with pytest.raises(InputError, match="binet50_dc_ca has no option 'drop_rate'"):
        timm.create_model("binet50", drop_rate=0.1)
