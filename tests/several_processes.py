"""The command line in several processes on the CPU, over gloo, started as torchrun starts them."""

import os
import subprocess
import sys
from pathlib import Path

from torch.distributed import TCPStore

PROGRAM = ("-m", "robustbench_bi")
TINY_NETWORKS = Path(__file__).parent / "training"


def start(count, *arguments, program=PROGRAM, **variables):
    """`train` in `count` processes; their exit codes, and what each wrote to stderr."""
    # The processes meet at a store of the test's own, as under torchrun: a port that is free now need not stay free.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    command = [sys.executable, *program, "train", *map(str, arguments)]
    shared = {**os.environ, "PYTHONPATH": str(TINY_NETWORKS), "MASTER_ADDR": "127.0.0.1", **variables}
    shared |= {"WORLD_SIZE": str(count), "MASTER_PORT": str(store.port), "LOCAL_WORLD_SIZE": str(count)}
    shared |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    started = [
        subprocess.Popen(command, env={**shared, "RANK": rank, "LOCAL_RANK": rank}, stderr=subprocess.PIPE, text=True)
        for rank in map(str, range(count))
    ]
    said = [process.communicate(timeout=120)[1] for process in started]
    return [process.returncode for process in started], said
