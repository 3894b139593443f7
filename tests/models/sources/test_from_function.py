import sys
import textwrap

import pytest
import torch

from robustbench_bi.errors import InputError, WeightsError
from robustbench_bi.models import create_model
from robustbench_bi.models.weights import save_checkpoint, weights_hash

HALF = (0.5, 0.5, 0.5)


def preprocessing(network):
    return network.input_size, network.resize_size, network.interpolation, network.mean, network.std


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
    with pytest.raises(InputError, match="my_model:build has no argument 'width'; it takes: num_classes, depth, input"):
        create_model("my_model:build", num_classes=3, width=2)


def test_weights_of_a_function(module, tmp_path):
    module("import torch\ndef build():\n    return torch.nn.Linear(2, 3)")
    network = torch.nn.Linear(2, 3)
    save_checkpoint(tmp_path / "linear.safetensors", network)
    for weights in (None, "none"):
        assert weights_hash(create_model("my_model:build", weights=weights)) != weights_hash(network)
    again = create_model("my_model:build", weights=tmp_path / "linear.safetensors")
    assert weights_hash(again) == weights_hash(network)
    with pytest.raises(WeightsError, match="my_model:build has no weights 'pretrained'; give a file"):
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
        ("", "my_model:", "there is no model 'my_model:'; a model is a name from `bivo-robust list models`, timm:NAME"),
        ("", ":build", "there is no model ':build'"),
        (
            "import torch\ndef build():\n m = torch.nn.ReLU()\n m.register_buffer('mean', torch.zeros(3))\n return m",
            "my_model:build",
            "attribute .mean. of my_model:build is a Tensor, but that name is reserved for a plain value .*; rename it",
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
