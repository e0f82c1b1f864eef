"""TF Privacy's gradient code, called on a few examples at a time."""

import keras
import tensorflow as tf

from tfdeep.checks import check_positive


def sum_in_chunks(twin, loss_of, arrays, variables, chunk_size: int):
    """Clip and sum without noise: see `Guarded.clipped_sum`.

    `twin`, TF Privacy's class with no noise, is asked for the mean over each
    chunk. Rows that fill the last chunk are copies of the first with a loss
    of 0, whose gradient is 0.
    """
    check_positive("chunk_size", chunk_size)
    batch = tf.shape(arrays[0])[0]
    size = tf.minimum(chunk_size, batch)
    count = (batch + size - 1) // size
    rows = tf.range(count * size)
    source = tf.where(rows < batch, rows, 0)
    real = tf.cast(rows < batch, "float32")
    targets = [
        v.value if isinstance(v, keras.Variable) else v for v in variables
    ]

    def body(index, sums, losses):
        places = index * size + tf.range(size)
        kept = [tf.gather(each, tf.gather(source, places)) for each in arrays]
        shown = []

        def loss():
            value = loss_of(kept)
            shown[:] = [value]
            return value * tf.cast(tf.gather(real, places), value.dtype)

        pairs = twin._compute_gradients(loss, targets)
        scale = tf.cast(size, "float32")
        added = [
            total + grad * tf.cast(scale, grad.dtype)
            for total, (grad, _) in zip(sums, pairs, strict=True)
        ]
        return index + 1, added, losses.write(index, shown[0])

    sums = [tf.zeros_like(each) for each in targets]
    losses = tf.TensorArray("float32", count, infer_shape=False)
    _, sums, losses = tf.while_loop(
        lambda index, *_: index < count, body, [0, sums, losses]
    )
    return sums, losses.concat()[:batch]
