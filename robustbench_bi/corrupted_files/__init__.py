"""Write corrupted images as files, in the layouts of ImageNet-C and CIFAR-10-C, so that other tools can read them.

The pixels are those that an evaluation makes from the same images. A stopped run continues; files that were lost or
damaged since are found and made again.
"""

from robustbench_bi.corrupted_files.write import Summary as Summary
from robustbench_bi.corrupted_files.write import write_corrupted as write_corrupted

__all__ = ["Summary", "write_corrupted"]
