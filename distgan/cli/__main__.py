"""`python -m distgan.cli`, as `python -m distgan`."""

from distgan.cli.main import entry

if __name__ == "__main__":
    entry()
