"""The command line with the fake recipe, as a program of its own."""

import signal
import sys

import tfdeep.recipes
from tfdeep.__main__ import main

if __name__ == "__main__":
    # A test run in the background may have SIGINT ignored; children inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tfdeep.recipes.MODULES[:] = ["fake_recipe"]
    sys.exit(main())
