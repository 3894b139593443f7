"""Which tensors of a checkpoint are which of a network: one rule for every prefix, and in words what does not fit."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from robustbench_bi.errors import WeightsError
from robustbench_bi.models import classes_advice

INNER = {".cbam.": ".att."}
"""What the code of CBAM calls the attention of a block."""

AVERAGED = "n_averaged"
"""The counter that torch's AveragedModel keeps beside its network."""

SHOWN = {"gate_bias": "ChannelGate.mlp.1.bias"}
"""Options that a checkpoint shows to be on by the tensors it has, with the end of their names."""


@dataclass(frozen=True)
class Names:
    """The tensors of a checkpoint under the names that a network has for them.

    Attributes:
        state: tensors by name; those that are none of the network's keep the name that they came with.
        prefix: what stood in front of the network's names.
        others: further prefixes under which there is a whole network too, with other values.
    """

    state: Mapping[str, Tensor]
    prefix: str = ""
    others: tuple[str, ...] = field(default=())


def names_in(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, headless: bool = False) -> Names:
    """Find a network in a checkpoint.

    The rule: all of a network's names stand under one prefix, which ends in a dot or is empty. It is the one under
    which most of them are found, if that is at least half; of equals, the shortest. So `module.`, `model.`,
    `_orig_mod.`, `backbone.` and whatever else a wrapper or a Lightning module is called need not be known. mmcls alone
    keeps the classifier elsewhere than the rest, as `head.fc.`.

    Args:
        state: of the checkpoint.
        expected: of the network.
        headless: the network has no classifier, and takes its part out of a classifier's checkpoint or a detector's.

    Example:
        >>> import torch
        >>> network = {"conv.weight": torch.zeros(2), "fc.weight": torch.zeros(2)}
        >>> found = names_in({f"model.{name}": tensor for name, tensor in network.items()}, network)
        >>> found.prefix, sorted(found.state)
        ('model.', ['conv.weight', 'fc.weight'])
    """
    for old, new in INNER.items():
        if not any(old in name for name in expected):
            state = {name.replace(old, new): tensor for name, tensor in state.items()}
    hits = Counter(prefix for name in state for prefix in _prefixes(name) if name.removeprefix(prefix) in expected)
    ranked = sorted(hits, key=lambda prefix: (-hits[prefix], len(prefix)))
    prefix = ranked[0] if ranked and 2 * hits[ranked[0]] >= len(expected) else ""
    own = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    outside = {name: tensor for name, tensor in state.items() if not name.startswith(prefix)}
    if not any(name.startswith("head.fc.") for name in expected):
        for name in [name for name in (*outside, *own) if re.match(r"(.*\.)?head\.fc\.", name)]:
            tensor = (outside if name in outside else own).pop(name)
            own[re.sub(r"^.*head\.fc\.", "fc.", name)] = tensor
    outside.pop(AVERAGED, None)
    if headless:
        own = {name: tensor for name, tensor in own.items() if not name.startswith("fc.")}
        outside = {} if prefix else outside
    return Names({**own, **outside}, prefix, _whole_elsewhere(state, expected, own, prefix, ranked))


def options_in(state: Mapping[str, Tensor], options: Collection[str]) -> dict[str, bool]:
    """The options of a network, of those it has, that other people's checkpoints do not state but show.

    Example:
        >>> import torch
        >>> state = {"module.layer1.0.cbam.ChannelGate.mlp.1.bias": torch.zeros(16)}
        >>> options_in(state, ["width", "gate_bias"]), options_in({}, ["gate_bias"])
        ({'gate_bias': True}, {})
    """
    ends = {option: end for option, end in SHOWN.items() if option in options}
    return {option: True for option, end in ends.items() if any(name.endswith(end) for name in state)}


def classes_in(state: Mapping[str, Tensor]) -> int:
    """The outputs of the classifier `fc` in a checkpoint, whatever its prefix; 0 where it has none."""
    found = [name for name, tensor in state.items() if re.fullmatch(r"(.*\.)?fc\.weight", name) and tensor.dim() == 2]
    return len(state[min(found, key=len)]) if found else 0


def check_single(found: Names, source: str) -> None:
    """Refuse a checkpoint that holds several networks which would fit, such as a student and its teacher.

    Raises:
        WeightsError: it does.
    """
    if found.others:
        prefixes = ", ".join(repr(prefix) for prefix in (found.prefix, *found.others))
        raise WeightsError(
            f"{source} holds several networks that fit, with different weights, under the prefixes {prefixes}; "
            "save the state_dict() of the one you mean"
        )


def _prefixes(name: str) -> list[str]:
    return ["", *(name[: dot.end()] for dot in re.finditer(r"\.", name))]


def _whole_elsewhere(
    state: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    prefix: str,
    ranked: list[str],
) -> tuple[str, ...]:
    """Other prefixes with every tensor of the network, in its shapes, and with another value of at least one."""
    needed = [name for name in expected if not name.endswith("num_batches_tracked")]
    others = []
    for other in ranked:
        there = [state.get(other + name) for name in needed]
        fits = all(
            tensor is not None and tensor.shape == expected[name].shape
            for tensor, name in zip(there, needed, strict=True)
        )
        if other != prefix and fits and needed and any(not _same(state[other + n], own.get(n)) for n in needed):
            others.append(other)
    return tuple(others)


def _same(first: Tensor, second: Tensor | None) -> bool:
    return second is not None and first.shape == second.shape and bool((first == second).all())


def misfit(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """What keeps a state dict from fitting, in words; empty when it fits."""
    # Checkpoints older than PyTorch 0.4.1 lack the counters, which evaluation does not use.
    missing = [name for name in expected if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in expected]
    if missing == ["fc.weight", "fc.bias"] and not unexpected:
        return "it is a backbone without a classifier; to load it, call create_model with num_classes=0"
    other_types = [
        f"{name} {str(state[name].dtype).removeprefix('torch.')}"
        for name in expected
        if name in state and expected[name].is_floating_point() and not state[name].is_floating_point()
    ]
    reshaped = [name for name in expected if name in state and state[name].shape != expected[name].shape]
    first = {(*state[name].shape[:1], *expected[name].shape[:1]) for name in reshaped}
    only_the_first = all(state[name].shape[1:] == expected[name].shape[1:] for name in reshaped)
    if not missing and not unexpected and only_the_first and len(first) == 1:
        stored, wanted = first.pop()
        asked = f"num_classes or the data ask for {wanted}"
        return f"it has {stored} classes, but {asked}; num_classes={stored} fits; {classes_advice(stored, wanted)}"
    shapes = [f"{name} {tuple(state[name].shape)} instead of {tuple(expected[name].shape)}" for name in reshaped]
    parts = (("missing", missing), ("unexpected", unexpected), ("other shape", shapes), ("other type", other_types))
    says = "; ".join(f"{what}: {_first(names)}" for what, names in parts if names)
    only_more = unexpected and not (missing or shapes or other_types)
    return f"{says}; if the network does not need them, save its own state_dict() without them" if only_more else says


def _first(names: list[str], shown: int = 3) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
