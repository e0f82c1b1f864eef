"""Cases one after the other, each written to a file, within a given time."""

import json
import math
import os
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

BEGAN = time.perf_counter()
WAITING, LATE = "not run", "not run: out of time"
AHEAD = 6  # How many cases are traced while others are compiled.


@dataclass
class Case:
    """One entry of the file.

    Args:
        name: its path, such as "ratio/reversible/10".
        begin: a function of the dictionary of what is found, which prepares
            the case and returns a function that finishes it.
        needs: seconds; it does not begin if fewer are left.
        timed: whether nothing else may run beside it.
    """

    name: str
    begin: Callable[[dict], Callable[[], object]]
    needs: float = 5.0
    timed: bool = False


class Record:
    """The file of a run, written anew whenever something is found."""

    def __init__(self, path, head: dict, names: list[str]):
        self.path = Path(path)
        self.content = {**head, "complete": False}
        self.cases = {name: {"status": WAITING} for name in names}
        self.lock = threading.RLock()
        self.write()

    def write(self) -> None:
        with self.lock:
            content = in_json({**self.content, "cases": self.cases})
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part = self.path.with_name(self.path.name + ".part")
            part.write_text(json.dumps(content, indent=1) + "\n")
            part.replace(self.path)

    def note(self, name: str, found: dict) -> None:
        """Set what was found of a case, and tell how far the run is."""
        with self.lock:
            self.cases[name] = found
            self.write()
        print(f"[{elapsed():6.1f} s] {name}: {summary(found)}", flush=True)

    def end(self) -> int:
        """Mark what did not run; return the exit status."""
        with self.lock:
            for found in self.cases.values():
                if found["status"] == WAITING:
                    found["status"] = LATE
            self.content["complete"] = True
            self.content["seconds"] = elapsed()
            self.write()
            statuses = [found["status"] for found in self.cases.values()]
        counts = {s: statuses.count(s) for s in dict.fromkeys(statuses)}
        print(f"[{elapsed():6.1f} s] {counts} in {self.path}", flush=True)
        return int("failed" in counts or "error" in counts)


def in_json(value):
    """The value with numbers that JSON has; others become text."""
    if isinstance(value, dict):
        return {key: in_json(each) for key, each in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def elapsed() -> float:
    return time.perf_counter() - BEGAN


def summary(found: dict) -> str:
    """What was found, in one line."""
    parts = [found["status"]]
    if "of its bound" in found:
        parts.append(f"{found['of its bound']:.2g} of the bound")
    for key, value in found.items():
        if isinstance(value, dict) and "ratio" in value:
            parts.append(f"{key} {value['ratio']:.3f}")
    if "ratio" in found:
        parts.append(f"ratio {found['ratio']:.3f}")
    return ", ".join([*parts, *found.get("message", "").splitlines()[:1]])


def run_all(cases: list[Case], record: Record, left) -> None:
    """Run the cases, a few of them ahead where nothing is timed.

    Args:
        cases: those of most worth first.
        record: gets what is found.
        left: a function that returns the seconds that are left.
    """
    begun: deque = deque()
    for case in cases:
        while begun and (case.timed or len(begun) >= AHEAD):
            end(*begun.popleft(), record)
        if left() < case.needs:
            record.note(case.name, {"status": LATE})
            continue
        found: dict = {}
        start = elapsed()
        try:
            finish = case.begin(found)
        except Exception as error:
            record.note(case.name, failure(error, found))
        else:
            begun.append((case, finish, found, start))
        if case.timed and begun:
            end(*begun.popleft(), record)
    while begun:
        end(*begun.popleft(), record)


def end(case, finish, found, start, record) -> None:
    """Finish a case that has begun."""
    try:
        finish()
    except Exception as error:
        found = failure(error, found)
    found = {"status": "measured", **found, "seconds": elapsed() - start}
    record.note(case.name, found)


def failure(error, found) -> dict:
    """What is recorded of an error: its message, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    places = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames]
    message = f"{type(error).__name__}: {str(error)[:2000]}"
    return {**found, "status": "error", "message": message, "at": places}


def stop_late(end, seconds, leave=os._exit) -> threading.Timer:
    """End the process when the time is over, whatever it is doing.

    Nothing else interrupts a compiler.

    Args:
        end: called then; returns the exit status.
        seconds: since the process began.
        leave: ends the process.
    """
    left = max(seconds - elapsed(), 0)
    timer = threading.Timer(left, lambda: leave(end()))
    timer.daemon = True
    timer.start()
    return timer
