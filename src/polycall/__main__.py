"""`python -m polycall` is `polycall`."""

import sys

from polycall.cli import main

if __name__ == "__main__":
    sys.exit(main())
