"""`python -m distgan.doctor.contracts.float64 ...`: the training command in float64 where float32 is usual.

Roundings are then 1e-16, so that what two processes train differently cannot be their growth.
"""

from __future__ import annotations

import runpy

import torch

if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    runpy.run_module("distgan.train", run_name="__main__", alter_sys=True)
