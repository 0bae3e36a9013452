"""`python -m distgan`: the command `distgan`, also under torchrun."""

from distgan.cli.main import entry

if __name__ == "__main__":
    entry()
