"""Layers whose random stream goes on where a saved model left off.

Keras saves a layer's weights and not the state of its `SeedGenerator`: a
run that is resumed from a checkpoint would draw its first numbers again.
"""

import keras


class SavesSeedState:
    """Adds the state of `seed_generator`, if there is one, to saved weights.

    To be inherited before the Keras layer. Files without the state load too.
    """

    def save_own_variables(self, store):
        super().save_own_variables(store)
        generator = getattr(self, "seed_generator", None)
        if generator is not None:
            store["seed_state"] = keras.ops.convert_to_numpy(generator.state)

    def load_own_variables(self, store):
        values = {key: store[key] for key in store.keys()}
        state = values.pop("seed_state", None)
        super().load_own_variables(values)
        generator = getattr(self, "seed_generator", None)
        if state is not None and generator is not None:
            generator.state.assign(state)


@keras.saving.register_keras_serializable(package="tfdeep")
class Dropout(SavesSeedState, keras.layers.Dropout):
    """`keras.layers.Dropout`, resumed from a checkpoint as it was."""
