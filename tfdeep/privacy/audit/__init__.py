"""Audits: is training as private as it claims?

A proof says what a mechanism guarantees; an audit looks at what the code
does. Each returns an `AuditReport`: `print(report)`, `report.passed`.
"""

from tfdeep.privacy.audit.canaries import mechanism
from tfdeep.privacy.audit.everything import everything
from tfdeep.privacy.audit.membership import (
    attack_area,
    attack_rates,
    membership,
)
from tfdeep.privacy.audit.noise import noise, noise_of
from tfdeep.privacy.audit.one_run import (
    epsilon_lower_bound,
    epsilon_of_guesses,
    one_run,
)
from tfdeep.privacy.audit.report import AuditReport, Finding
from tfdeep.privacy.audit.sensitivity import isolation, sensitivity
from tfdeep.privacy.audit.statistics import gaussian_epsilon, rate_interval

__all__ = [
    "AuditReport",
    "Finding",
    "attack_area",
    "attack_rates",
    "epsilon_lower_bound",
    "epsilon_of_guesses",
    "everything",
    "gaussian_epsilon",
    "isolation",
    "mechanism",
    "membership",
    "noise",
    "noise_of",
    "one_run",
    "rate_interval",
    "sensitivity",
]
