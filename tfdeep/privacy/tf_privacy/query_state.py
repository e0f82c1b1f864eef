"""The global state of a DPQuery, in float32 arrays of constant shape.

TF Privacy hands the state on as a nested structure of tensors. Saved as they
are, three kinds of them would do harm. The buffer of a noise tree grows by a
level whenever the number of updates doubles: it is padded to its final
height. What a constructor said, a saved state must not contradict: constants
are left out. So are seeds: noise that was drawn from a saved seed could be
drawn again. The time of a restart, in float64, is kept in two parts.
"""

import tensorflow as tf

CONSTANT, SEED, TIME, INDEX, NODE, PLAIN = range(6)
_CONSTANTS: tuple[str, ...]
_CONSTANTS = ("noise_multiplier", "target_quantile", "learning_rate")
_CONSTANTS += ("denominator",)
DEFAULT_UPDATES = 2**20


def levels(updates: int) -> int:
    """The height of the noise tree after so many updates."""
    return int(updates + 1).bit_length() + 1


class QueryState:
    """Packs the state of a query into a list of arrays, and back.

    Args:
        structure: the query's initial state.
        updates: the largest number of updates between two restarts.
        constant: whether the query never changes its state.
    """

    def __init__(
        self,
        structure,
        updates: int = DEFAULT_UPDATES,
        constant: bool = False,
    ):
        self._levels = levels(updates)
        self._roles = tf.nest.flatten(roles(structure))
        if constant:
            self._roles = [CONSTANT] * len(self._roles)
        leaves = tf.nest.flatten(structure)
        # As NumPy: tensors of a graph, or of another device, stay behind.
        self._initial = [tf.get_static_value(leaf) for leaf in leaves]
        self._structure = tf.nest.map_structure(lambda leaf: 0, structure)

    @property
    def holds_noise(self) -> bool:
        """Whether what is kept are nodes of a tree of noise."""
        return NODE in self._roles

    def pack(self, structure) -> list:
        """The arrays to keep."""
        leaves = tf.nest.flatten(structure)
        return [
            self._encode(tf.convert_to_tensor(leaf), role)
            for leaf, role in zip(leaves, self._roles, strict=True)
            if role not in (CONSTANT, SEED)
        ]

    def _encode(self, leaf, role: int):
        if role == TIME:
            coarse = tf.cast(leaf, "float32")
            rest = leaf - tf.cast(coarse, leaf.dtype)
            return tf.stack([coarse, tf.cast(rest, "float32")])
        leaf = tf.cast(leaf, "float32")
        return leaf if role == PLAIN else self._pad(leaf, role)

    def _pad(self, leaf, role: int):
        empty = self._levels - tf.shape(leaf)[0]
        tf.debugging.assert_non_negative(
            empty,
            "The noise tree is full: it holds fewer updates than were taken.",
        )
        paddings = [[0, empty], *[[0, 0]] * (leaf.shape.rank - 1)]
        value = -1.0 if role == INDEX else 0.0
        padded = tf.pad(leaf, paddings, constant_values=value)
        return tf.ensure_shape(padded, (self._levels, *leaf.shape[1:]))

    def unpack(self, arrays):
        """The structure that the query knows."""
        kept = iter([tf.convert_to_tensor(each) for each in arrays])
        leaves = [
            tf.constant(start) if role in (CONSTANT, SEED) else next(kept)
            for start, role in zip(self._initial, self._roles, strict=True)
        ]
        used = None
        # In a tree the index comes after the nodes.
        for place in reversed(range(len(leaves))):
            role, dtype = self._roles[place], self._initial[place].dtype
            if role == TIME:
                coarse, rest = tf.unstack(tf.cast(leaves[place], dtype))
                leaves[place] = coarse + rest
            if role == INDEX:
                used = tf.reduce_sum(tf.cast(leaves[place] >= 0, "int32"))
            if role in (INDEX, NODE):
                leaves[place] = leaves[place][:used]
            leaves[place] = tf.cast(leaves[place], dtype)
        return tf.nest.pack_sequence_as(self._structure, leaves)


def roles(structure, role: int = PLAIN):
    """The structure with, for each tensor, the part it plays."""
    if isinstance(structure, dict):
        return {key: roles(value, role) for key, value in structure.items()}
    if not isinstance(structure, (tuple, list)):
        is_time = role == PLAIN and structure.dtype == tf.float64
        return TIME if is_time else role
    names = getattr(structure, "_fields", None)
    inner = [
        roles(each, _role_of(name, role))
        for name, each in zip(
            names or [""] * len(structure), structure, strict=True
        )
    ]
    return type(structure)(*inner) if names else type(structure)(inner)


def _role_of(name: str, role: int) -> int:
    known = {"level_buffer": NODE, "level_buffer_idx": INDEX, "seeds": SEED}
    return CONSTANT if name in _CONSTANTS else known.get(name, role)


def with_seeds(structure, make):
    """The structure with each pair of seeds replaced by `make()`."""
    parts = zip(
        tf.nest.flatten(structure),
        tf.nest.flatten(roles(structure)),
        strict=True,
    )
    leaves = [
        tf.cast(make(), leaf.dtype) if role == SEED else leaf
        for leaf, role in parts
    ]
    return tf.nest.pack_sequence_as(structure, leaves)
