"""Where a run of the suite spent its time: `make times`.

The record is JUnit's, in which `tests/conftest.py` notes the CPU seconds of
each test. They hardly depend on what else the machine does.
"""

import sys
from collections import Counter
from xml.etree import ElementTree

SHOWN = 40


def read(path):
    """The CPU seconds of each test by its folder or file and its name."""
    seconds = {}
    for case in ElementTree.parse(path).iter("testcase"):
        spent = case.find(".//property[@name='cpu_seconds']")
        if spent is not None:
            name = (case.get("classname"), case.get("name"))
            seconds[name] = float(spent.get("value"))
    return seconds


def package(module):
    """The folder of tests or their file; of examples, the whole package."""
    parts = module.split(".")
    return "/".join(parts[:2] if parts[0] == "tests" else parts[:1])


def main(path):
    try:
        seconds = read(path)
    except FileNotFoundError:
        sys.exit("There is no record yet. Run: make test-tensorflow")
    packages = Counter()
    for (module, _), spent in seconds.items():
        packages[package(module)] += spent
    total = sum(seconds.values())
    print(f"{total:.0f} CPU seconds in {len(seconds)} tests, of which")
    for name, spent in packages.most_common():
        print(f"{spent:8.0f}  {name}")
    print(f"The slowest {SHOWN}:")
    slowest = sorted(seconds.items(), key=lambda item: -item[1])[:SHOWN]
    for (module, name), spent in slowest:
        print(f"{spent:8.1f}  {module.replace('.', '/')}::{name}")


if __name__ == "__main__":
    main(*sys.argv[1:])
