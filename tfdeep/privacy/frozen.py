"""Settings that do not change once they are made.

Two models may be given one object. What one of them learns from its plan must
not reach the other: it goes into a copy.
"""

import copy
import inspect


class _MadeOnce(type):
    """Closes each object when its constructor is done, whoever wrote that."""

    def __call__(cls, *args, **kwargs):
        made = super().__call__(*args, **kwargs)
        vars(made)["_closed"] = True
        return made

    @property
    def __signature__(cls):
        """That of the constructor, which `__call__` would hide."""
        signature = inspect.signature(cls.__init__)
        _, *parameters = signature.parameters.values()
        return signature.replace(parameters=parameters)


class Frozen(metaclass=_MadeOnce):
    """Base of settings: attributes are set in `__init__` and never after."""

    _closed = False

    def __setattr__(self, name, value):
        if self._closed:
            raise AttributeError(
                f"{type(self).__name__} cannot be changed once it is made, as "
                f"several models may hold it. Received: {name}={value!r}. "
                "Make another."
            )
        super().__setattr__(name, value)

    def __delattr__(self, name):
        raise AttributeError(
            f"{type(self).__name__} cannot be changed once it is made. "
            f"Received: del {name}."
        )

    def changed(self, **values):
        """A copy with other values of some attributes."""
        other = copy.copy(self)
        vars(other).update(values)
        return other
