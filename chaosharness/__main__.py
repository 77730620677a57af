"""`python -m chaosharness`: the command line."""

from chaosharness.cli import process

if __name__ == "__main__":
    process()
