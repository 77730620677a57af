"""`python -m chaosharness`: the command line."""

from chaosharness.cli import main

if __name__ == "__main__":
    main()
