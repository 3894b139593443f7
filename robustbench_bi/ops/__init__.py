"""Tensor operators. They know nothing of models."""

from robustbench_bi.ops.dynamic_filter import dynamic_filter as dynamic_filter
from robustbench_bi.ops.local_logits import local_logits as local_logits

__all__ = ["dynamic_filter", "local_logits"]
