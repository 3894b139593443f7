"""How every test process runs: on one thread, and without a GPU with Triton's kernels in its interpreter."""

import os

# Workers with several threads each wait for one another more than they work.
os.environ["OMP_NUM_THREADS"] = "1"

import torch  # it reads the variable when it is imported

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
