"""Run as a program: the command line with a detector's draws of regions replaced by the first ones.

Which regions a detector learns from is drawn by each process for itself, so only without these draws can several
processes and one be compared. `END_AT` is the draw in which the process of rank 1 ends, once, as a machine that fails
does; `ENDED` the file that says that it has.
"""

import os
import signal
from pathlib import Path

import torch

drawn = 0


def first_ones(n, **options):
    global drawn
    drawn += 1
    if os.environ.get("END_AT") == str(drawn) and os.environ["RANK"] == "1":
        ended = Path(os.environ["ENDED"])
        if not ended.exists():
            ended.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return torch.arange(n, **options)


if __name__ == "__main__":
    from robustbench_bi.__main__ import main

    torch.randperm = first_ones
    main()
