"""Batches in the order of the data: a stream, as arrays must be shuffled."""

import keras


class InOrder(keras.utils.PyDataset):
    """Batches of `size` rows, one after the other."""

    def __init__(self, data, size: int):
        super().__init__()
        self.data = data
        self.size = size

    def __len__(self):
        return -(-len(self.data[0]) // self.size)

    def __getitem__(self, index):
        rows = slice(index * self.size, (index + 1) * self.size)
        return tuple(array[rows] for array in self.data)
