"""What `fit` of a private model does besides: it stops, and logs epsilon."""

import keras

from tfdeep.privacy.per_example.purity import NotPrivateError


class Ledger(keras.callbacks.Callback):
    """Stops training before the update that would exceed the plan.

    The model counts its updates itself, in a weight; here they are counted
    from above, and looked up only where the end is near. Epsilon is added to
    the logs of each epoch, for the callbacks that come after. A batch that
    could not be used took no step; an epoch with one fails.
    """

    def __init__(self):
        super().__init__()
        self._at_most = 0.0
        self._step = 1.0
        self._refused = 0
        self._seen = 0
        self._batches = 0

    def on_train_begin(self, logs=None):
        self._at_most = self.model.updates_left()
        self._step = self.model.updates_per_execution()

    def on_train_batch_end(self, batch, logs=None):
        self._batches += 1
        self._at_most -= self._step
        if self._at_most < self._step:
            self._at_most = self.model.updates_left()
            if self._at_most < self._step:
                self.model.stop_training = True

    def on_epoch_begin(self, epoch, logs=None):
        self._refused = self.model.count_of_refused()
        self._seen = self.model.memory.count("batches_seen")
        self._batches = 0

    def on_epoch_end(self, epoch, logs=None):
        self.model.memory.check_not_put_back()
        self.model.memory.check_seen(self._seen, self._batches)
        refused = self.model.count_of_refused() - self._refused
        if refused:
            raise NotPrivateError(
                "Batches must have no more rows than the plan is about, or be "
                "its Poisson samples, and have a finite sum: an example would "
                "be in more updates than were accounted for. "
                f"Received: {refused} batches of another kind, "
                "which were not used. "
                "Make batches of `plan.batch_size`, or a plan for these."
            )
        if logs is not None:
            logs.update(self.model.epoch_logs())
