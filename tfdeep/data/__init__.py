"""Data sets by name, as batches of standardised images.

Importing this imports neither TensorFlow Datasets nor, by itself, a backend;
`load` does.
"""

from tfdeep.data.augmentation import RandomPadCrop
from tfdeep.data.pipeline import augmentation, load, standardization
from tfdeep.data.prepare import DataUnavailableError
from tfdeep.data.registry import DataInfo, info, names

__all__ = [
    "DataInfo",
    "DataUnavailableError",
    "RandomPadCrop",
    "augmentation",
    "info",
    "load",
    "names",
    "standardization",
]
