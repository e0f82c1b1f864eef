"""Labels in streams: looked at before their step, and none of them lost."""

import pickle

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers import BACKEND
from tests.training.harness import EAGER
from tfdeep.training import BatchEntropyRegularizer, DeepSupervision, Head
from tfdeep.training.companions import Targets
from tfdeep.training.streams import CheckedBatches, checked


class Batches(keras.utils.PyDataset):
    """A list as a data set, which counts epochs."""

    def __init__(self, batches, **kwargs):
        super().__init__(**kwargs)
        self.batches, self.epochs = batches, [0, 0]

    @property
    def num_batches(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]

    def on_epoch_begin(self):
        self.epochs[0] += 1

    def on_epoch_end(self):
        self.epochs[1] += 1


def tf_data(batches):
    tf = pytest.importorskip("tensorflow")
    if BACKEND != "tensorflow":
        pytest.skip("A process of two backends.")
    spec = (tf.TensorSpec((None, 8)), tf.TensorSpec((None,), "int32"))
    return tf.data.Dataset.from_generator(
        lambda: iter(batches), output_signature=spec
    )


def generator(batches):
    yield from batches


STREAMS = {
    "generator": generator,
    "data set": Batches,
    "workers": lambda batches: Batches(batches, workers=2),
    "tf.data": tf_data,
}
each_stream = pytest.mark.parametrize(
    "stream", STREAMS.values(), ids=list(STREAMS)
)


def batches_of(data, wrong=None):
    """Four batches, one of them with a label of no class."""
    x, y = (array.copy() for array in data)
    if wrong is not None:
        y[8 * wrong + 3] = 3
    return [(x[i : i + 8], y[i : i + 8]) for i in range(0, 32, 8)]


def quiet(y, scores):
    """A loss of the output to which every label is right."""
    return keras.ops.sum(keras.ops.square(scores), -1)


class Steps(keras.callbacks.Callback):
    """Counts the steps, also when training stops."""

    count = 0

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1


def supervised(net):
    keras.utils.set_random_seed(3)
    wrapper = DeepSupervision(net(), {"hidden_1": Head()})
    wrapper.compile(keras.optimizers.SGD(0.1), quiet, **EAGER)
    return wrapper


@each_stream
@pytest.mark.parametrize("wrong", [0, 2])
def test_a_wrong_label_trains_nothing(net, data, stream, wrong):
    wrapper, steps = supervised(net), Steps()
    # In the words of TensorFlow, where it runs the stream.
    with pytest.raises(Exception, match="must be numbers from 0 to 2"):
        wrapper.fit(
            stream(batches_of(data, wrong)),
            shuffle=False,
            verbose=0,
            callbacks=[steps],
        )
    assert steps.count <= wrong
    assert all(np.isfinite(w).all() for w in wrapper.get_weights())


def test_no_batch_is_lost_and_none_comes_twice(net, data, subtests):
    """Without learning a mean over batches tells, whatever their order."""

    def means(**arguments):
        wrapper, steps = supervised(net), Steps()
        wrapper.optimizer.learning_rate = 0.0
        fitted = wrapper.fit(
            **arguments, shuffle=False, verbose=0, callbacks=[steps]
        )
        assert steps.count == 4
        return {key: value[0] for key, value in fitted.history.items()}

    expected = means(x=data[0], y=data[1], batch_size=8)
    for name, stream in STREAMS.items():
        with subtests.test(name):
            found = means(x=stream(batches_of(data)), steps_per_epoch=4)
            assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.tensorflow
def test_shuffled_batches_keep_their_order(data):
    orders = []
    for checks in ((), (lambda y: None,)):
        keras.utils.set_random_seed(1)
        batches = tf_data(batches_of(data)).shuffle(4, seed=1)
        if checks:
            batches = checked(batches, checks)
        orders.append([[float(x[0, 0]) for x, _ in batches] for _ in range(2)])
    assert orders[0] == orders[1] and orders[0][0] != orders[0][1]


@pytest.mark.tensorflow
def test_targets_of_several_outputs_come_by_name():
    import tensorflow as tf

    y = {"size": np.ones((4, 1)), "kind": np.array([0, 1, 2, 3])}
    batches = tf.data.Dataset.from_tensors((np.ones((4, 8)), y, np.ones(4)))
    check = Targets("hidden", "kind", ("kind",), 4)
    assert len(next(iter(checked(batches, [check])))) == 3
    check = Targets("hidden", "kind", ("kind",), 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="from 0 to 3"):
        next(iter(checked(batches, [check])))


def test_a_data_set_stays_what_it_is(data):
    batches = Batches(batches_of(data), workers=3, max_queue_size=5)
    found = CheckedBatches(batches, [Targets("hidden", None, (), 3)])
    found = pickle.loads(pickle.dumps(found))  # As another process gets it.
    assert (found.workers, found.max_queue_size) == (3, 5)
    assert not found.use_multiprocessing and found.num_batches == 4
    np.testing.assert_array_equal(found[1][1], batches[1][1])
    found.on_epoch_begin()
    found.on_epoch_end()
    assert found.batches.epochs == [1, 1]


def test_a_generator_goes_on_where_it_was(data):
    stream = generator(batches_of(data))
    seen = []
    passing = checked(stream, [seen.append])
    next(passing)
    passing.close()
    assert len(list(stream)) == 3 and len(seen) == 1


@pytest.mark.parametrize("batch", [(np.ones(2),), {"x": np.ones(2)}])
def test_batches_without_targets_pass(batch):
    def refuse(y):
        raise AssertionError("There is nothing to look at.")

    assert next(checked(generator([batch]), [refuse])) is batch
    assert checked("something else", [refuse]) == "something else"


def test_streams_are_left_alone_where_nothing_can_be_checked(net):
    with_loss = Head(layers.Dense(1), loss="mse")
    assert not DeepSupervision(net(), {"hidden_1": with_loss}).target_checks()
    assert not BatchEntropyRegularizer(net()).target_checks()
