"""Which gradients may reach a private optimizer.

A flag that gradients have once been private says nothing of the next ones.
Here the tensors themselves are remembered: what is applied must be the very
objects that private code has handed out.
"""

import weakref


class Marks:
    """Remembers tensors by identity, and keeps none of them alive."""

    def __init__(self):
        self._marked: dict[int, weakref.ref] = {}

    def add(self, tensors) -> None:
        """Mark each of the tensors."""
        self._marked = {
            key: ref for key, ref in self._marked.items() if ref() is not None
        }
        self._marked.update({id(each): weakref.ref(each) for each in tensors})

    def holds(self, tensors) -> bool:
        """Whether there are tensors and all of them are marked."""
        given = [each for each in tensors if each is not None]
        return bool(given) and all(self._holds_one(each) for each in given)

    def _holds_one(self, tensor) -> bool:
        ref = self._marked.get(id(tensor))
        return ref is not None and ref() is tensor

    def spend(self, tensors) -> None:
        """Forget the marks of these tensors."""
        for each in tensors:
            self._marked.pop(id(each), None)
