"""A file from which private training goes on exactly, and which is secret."""

from pathlib import Path

import numpy as np

from tfdeep.privacy.memory import as_array

ENDING = ".secret.npz"
WARNING = (
    "SECRET. This file holds noise and sums of a private training run. Who "
    "reads it can undo the privacy of the weights."
)


def save(model, path) -> None:
    """Write the variables of a compiled model; see `save_resumable`."""
    if not str(path).endswith(ENDING):
        raise ValueError(
            f"`path` must end in {ENDING!r}, so that whoever meets the file "
            f"knows that it is secret. Received: path={str(path)!r}."
        )
    arrays = {
        f"{number:05d} {name}": array
        for number, (name, array) in enumerate(_named(model))
    }
    arrays["TERMS"] = np.array(model.memory.terms)
    with open(path, "wb") as file:
        np.savez(file, WARNING=np.array(WARNING), **arrays)


def load(model, path) -> None:
    """Read them back; see `load_resumable`."""
    if not Path(path).is_file():
        raise ValueError(f"There is no file at `path`. Received: {path!s}.")
    with np.load(path) as file:
        named = {name: file[name] for name in file.files}
    terms = str(named.pop("TERMS", ""))
    named.pop("WARNING")
    found = list(named.values())
    variables = _variables(model)
    wanted = [tuple(variable.shape) for variable in variables]
    if [array.shape for array in found] != wanted:
        raise ValueError(
            f"The file at `path` is of a model with other variables. "
            f"Received: {len(found)} of them, or of other shapes, where the "
            f"model has {len(wanted)}. Compile the same model with the same "
            "optimizer and mechanism first."
        )
    model.memory.check_terms(terms, {"updates_taken": 1})
    taken = model.count_of_updates()
    for variable, array in zip(variables, found, strict=True):
        variable.assign(array)
    model.memory.take_counts({"updates_taken": taken})
    model.memory.from_elsewhere = False


def _variables(model) -> list:
    """All that an update depends on, but for where its noise comes from.

    From a stream that a file brought back, the same noise would come twice.
    """
    if not (model.built and model.compiled):
        raise ValueError(
            "The model must be built and compiled: the file holds the state of "
            "its optimizer, too. Call `compile`, and give the model an Input."
        )
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    stream = model.noise_generator.state
    mine = [v for v in model.variables if v is not stream]
    return [*mine, *model.optimizer.variables]


def _named(model):
    """The variables of a model, each with its path."""
    for variable in _variables(model):
        yield variable.path.replace("/", "."), as_array(variable)
