"""What `fit` of a private model does besides: it stops, and logs epsilon."""

import keras

from tfdeep.privacy.per_example.purity import NotPrivateError


class Ledger(keras.callbacks.Callback):
    """Stops training before the update that would exceed the plan.

    The model counts its updates itself, in a weight; here they are counted
    from above, and looked up only where the end is near. Epsilon is added to
    the logs of each epoch, for the callbacks that come after. A batch of more
    rows than planned took no step; an epoch with one fails.
    """

    def __init__(self):
        super().__init__()
        self._at_most = 0.0
        self._step = 1.0
        self._before = (0, 0)

    def on_train_begin(self, logs=None):
        self._at_most = self.model.updates_left()
        self._step = self.model.updates_per_execution()

    def on_train_batch_end(self, batch, logs=None):
        self._at_most -= self._step
        if self._at_most < self._step:
            self._at_most = self.model.updates_left()
            if self._at_most < self._step:
                self.model.stop_training = True

    def on_epoch_begin(self, epoch, logs=None):
        self._before = self._counts()

    def _counts(self):
        """The updates that were due so far, and those that were taken."""
        return self.model.count_of_due(), self.model.count_of_updates()

    def on_epoch_end(self, epoch, logs=None):
        due, taken = (
            after - before
            for after, before in zip(self._counts(), self._before, strict=True)
        )
        if taken < due and self.model.updates_left() > 0:
            raise NotPrivateError(
                f"{due - taken} of {due} updates came with more rows than the "
                "plan is about. They were not used: an example would be in "
                "more updates than were accounted for. Make batches of "
                "`plan.batch_size`, or a plan for these."
            )
        if logs is not None:
            logs.update(self.model.epoch_logs())
