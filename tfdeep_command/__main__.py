"""`python -m tfdeep_command`, the console script without its installation."""

import sys

from tfdeep_command import main

sys.exit(main())
