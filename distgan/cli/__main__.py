"""`python -m distgan.cli`, as `python -m distgan`."""

import sys

from distgan.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
