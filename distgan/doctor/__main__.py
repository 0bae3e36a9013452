"""`python -m distgan.doctor`, `torchrun -m distgan.doctor`, `accelerate launch -m distgan.doctor`."""

import sys

from distgan.doctor.command import main

if __name__ == "__main__":
    sys.exit(main())
