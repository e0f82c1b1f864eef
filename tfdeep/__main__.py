"""`python -m tfdeep`: the command line of `tfdeep_command`."""

import sys

from tfdeep_command import main

if __name__ == "__main__":
    sys.exit(main())
