"""Tensor operators. They know nothing of models."""

from robustbench_bi.ops.dynamic_filter import dynamic_filter as dynamic_filter

__all__ = ["dynamic_filter"]
