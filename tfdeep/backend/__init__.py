"""What Keras has no word for: calls with their own backward pass.

Everything here takes Keras layers and backend tensors and works on every
backend that has a file here.  The other primitives, `stateless` and
`conditional`, are written with public Keras operations alone.
"""

from tfdeep.backend.conditional import conditional_call
from tfdeep.backend.dispatch import (
    after,
    any_process,
    as_step,
    as_written,
    at_once,
    compiled_pullback,
    custom_vjp,
    draws,
    gradients_with_aux,
    has_accelerator,
    has_float64,
    is_concrete,
    maps_safely,
    normal,
    of_first_process,
    on_first_replica,
    once_known,
    outside_of_traces,
    process_count,
    process_index,
    pullbacks,
    replica_count,
    require,
    runs_eagerly,
    sum_over_replicas,
    tapped_gradients,
    value_and_gradients,
    value_and_vjp,
    vjp,
    within_strategy,
)
from tfdeep.backend.own_step import OwnStep
from tfdeep.backend.scan import scan
from tfdeep.backend.stateless import (
    read_variables,
    stateless_call,
    write_variables,
)

__all__ = [
    "OwnStep",
    "after",
    "any_process",
    "as_step",
    "as_written",
    "at_once",
    "compiled_pullback",
    "conditional_call",
    "custom_vjp",
    "draws",
    "gradients_with_aux",
    "has_accelerator",
    "has_float64",
    "is_concrete",
    "maps_safely",
    "normal",
    "of_first_process",
    "on_first_replica",
    "once_known",
    "outside_of_traces",
    "process_count",
    "process_index",
    "pullbacks",
    "read_variables",
    "replica_count",
    "require",
    "runs_eagerly",
    "scan",
    "stateless_call",
    "sum_over_replicas",
    "tapped_gradients",
    "value_and_gradients",
    "value_and_vjp",
    "vjp",
    "within_strategy",
    "write_variables",
]
