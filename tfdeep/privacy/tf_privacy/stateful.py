"""An optimizer of TF Privacy that keeps the state of its query."""

from tfdeep.privacy.tf_privacy.guarded import Guarded
from tfdeep.privacy.tf_privacy.queries import is_a, restarts
from tfdeep.privacy.tf_privacy.query_state import DEFAULT_UPDATES, QueryState
from tfdeep.untracked import Untracked


class Stateful(Guarded):
    """Keeps the state of the query in variables of the optimizer."""

    @property
    def query(self):
        """The query that was given."""
        return self._dp_sum_query.inner

    @property
    def _global_state(self):
        if is_a(self.query, "GaussianSumQuery"):
            return self.query.initial_global_state()
        weights = [each.value for each in self._query_weights.value]
        return self._query_state.unpack(weights)

    @_global_state.setter
    def _global_state(self, state):
        if is_a(self.query, "GaussianSumQuery"):
            return
        if not hasattr(self, "_query_state"):
            updates = restarts(self.query) or DEFAULT_UPDATES
            self._query_state = QueryState(state, updates)
            self._query_weights = Untracked(self._make(state))
        arrays = self._query_state.pack(state)
        for weight, value in zip(
            self._query_weights.value, arrays, strict=True
        ):
            weight.assign(value)

    def _make(self, state):
        return [
            self.add_variable(
                tuple(each.shape),
                dtype="float32",
                aggregation="only_first_replica",
                name=f"query_{index}",
            )
            for index, each in enumerate(self._query_state.pack(state))
        ]
