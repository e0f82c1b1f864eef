"""A recipe side by side, as a program: `python idle.py SCALE`.

It trains nothing, and none of its three processes loads Keras: the package
that would is a bare one.
"""

import importlib.util
import json
import os
import signal
import sys
import time
import types
from pathlib import Path

if "tfdeep" not in sys.modules:
    bare = types.ModuleType("tfdeep")
    found = importlib.util.find_spec("tfdeep")
    bare.__path__ = found.submodule_search_locations
    sys.modules["tfdeep"] = bare

from tfdeep.recipes import Recipe, Scale
from tfdeep.recipes.context import Context
from tfdeep.recipes.workers import run_side_by_side


def arms(context):
    return {"small": None, "large": None}


def run(context):
    os.write(2, b"a line of a library\n")
    for arm in context.arms():
        for seed in context.seeds:
            while seed and context.scale == "wait" and arm == "large":
                context.interruption.check()  # For ever.
                time.sleep(0.05)
            if seed and context.scale == "fail" and arm == "large":
                raise RuntimeError("the idle recipe fails")
            context.record(arm, seed, error=seed / 2)
            context.say(f"{arm}, seed {seed}")
            context.save()
        if context.scale == "end" and arm == "small":
            time.sleep(0.5)  # The other arm is done first.


RECIPE = Recipe(
    name="idle",
    title="Two arms that train nothing",
    paper="Nobody 2020",
    claims=(),
    data="digits",
    scales=dict.fromkeys(("end", "wait", "fail"), Scale("1 s", seeds=2)),
    arms=arms,
    run=run,
    independent=True,
)


def main():
    # A test run in the background may have SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def save():
        text = json.dumps(context.results.to_dict())
        Path("part").write_text(text, encoding="utf-8")
        Path("part").replace("arms.json")

    context = Context(RECIPE, sys.argv[1], save=save)
    try:
        with context.interruption:
            run_side_by_side(context, 2)
    except KeyboardInterrupt:
        print("interrupted")
    assert "keras" not in sys.modules


if __name__ == "__main__":
    main()
