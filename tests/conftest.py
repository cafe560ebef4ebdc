"""One torch thread a test process: the suites run side by side, and more threads only wait for each other."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

torch.set_num_threads(1)
