"""`python -m distgan`: the command `distgan`, also under torchrun."""

import sys

from distgan.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
