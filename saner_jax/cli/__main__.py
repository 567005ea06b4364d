"""`python -m saner_jax.cli`."""

import sys

from saner_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
