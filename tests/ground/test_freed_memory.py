"""While memory is kept, a large block that is freed and taken again costs no page; afterwards it does again."""

import os
import subprocess
import sys

import pytest

BLOCKS = """
import mmap, resource
from robustbench_bi.ground.freed_memory import freed_memory_kept

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        memoryview(bytearray(1 << 26))[:: mmap.PAGESIZE].tobytes()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = pages()
with freed_memory_kept():
    pages()
    kept = pages()
print(before, kept, pages())
"""

IN_A_THREAD = """
import mmap, resource, threading
from robustbench_bi.ground.freed_memory import freed_memory_kept

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    # More than the heap of a thread holds, so that it has several.
    blocks = [bytearray(12 << 20) for _ in range(8)]
    for block in blocks:
        memoryview(block)[:: mmap.PAGESIZE].tobytes()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def work():
    with freed_memory_kept():
        pages()
        print(pages())

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""

of_glibc = pytest.mark.skipif(
    "CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", {}), reason="another library keeps memory"
)


def pages(code=BLOCKS, **changes):
    free = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_", "LD_PRE"))}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env={**free, **changes}, capture_output=True, text=True, check=True)
    return [int(count) for count in done.stdout.split()]


@of_glibc
def test_large_blocks_stay_only_while_memory_is_kept():
    before, kept, after = pages()
    assert kept * 10 < before
    assert kept * 10 < after


@of_glibc
def test_other_threads_keep_theirs_too():
    (kept,) = pages(IN_A_THREAD)
    assert kept < 1000


@of_glibc
def test_the_choice_of_the_environment_stands():
    before, kept, _ = pages(MALLOC_TRIM_THRESHOLD_="131072")
    assert kept * 2 > before
