"""One thread a test process: workers with several threads each wait for one another more than they work."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
