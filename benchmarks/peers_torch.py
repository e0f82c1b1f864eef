"""What `peers.py` measures in PyTorch: the same nets, run eagerly.

`build(work, program, settings)` returns a model of channels first.
"""

import os
import tempfile

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def ready() -> None:
    """Start what PyTorch starts at its first operation."""
    torch.ones(1).add(1.0)


def build(work: str, program: str, settings: dict):
    return WORKS[work](program, settings).train()


def training_step(model, images, labels):
    images = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    labels = torch.from_numpy(labels).long()
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    loss = nn.CrossEntropyLoss()

    def step():
        optimizer.zero_grad()
        loss(model(images), labels).backward()
        optimizer.step()

    return step


def parameters(model) -> int:
    return sum(weight.numel() for weight in model.parameters())


def saved_mib(model) -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.pt")
        torch.save(model.state_dict(), path)
        return os.path.getsize(path) / 2**20


def image_net(name: str, **settings):
    def make(program, _):
        if program.startswith("timm"):
            import timm

            return timm.create_model(name, **settings)
        import torchvision

        return getattr(torchvision.models, name)(weights=None, **settings)

    return make


class Dropped(nn.Module):
    """x + drop(f(x)), f of normalization, ReLU and a convolution."""

    def __init__(self, channels, drop):
        super().__init__()
        self.f = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        )
        self.drop = drop

    def forward(self, x):
        return x + self.drop(self.f(x))


def in_a_row(make, settings):
    """Blocks and a classifier."""
    channels = settings["shape"][-1]
    return nn.Sequential(
        *(make(channels) for _ in range(settings["blocks"])),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, 10),
    )


def per_sample(program, settings):
    def drop():
        if program == "timm":
            import timm

            return timm.layers.DropPath(0.2)
        import torchvision

        return torchvision.ops.StochasticDepth(0.2, "row")

    return in_a_row(lambda channels: Dropped(channels, drop()), settings)


def per_batch(program, settings):
    import torchvision

    def drop():
        return torchvision.ops.StochasticDepth(0.5, "batch")

    return in_a_row(lambda channels: Dropped(channels, drop()), settings)


class Convolutions(nn.Module):
    """x + f(x), f of two convolutions after ReLUs."""

    def __init__(self, channels, recompute):
        super().__init__()
        self.recompute = recompute
        self.f = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x):
        if self.recompute:
            return checkpoint(self._sum, x, use_reentrant=False)
        return self._sum(x)

    def _sum(self, x):
        return x + self.f(x)


def recomputed_blocks(program, settings):
    recompute = program == "torch.utils.checkpoint"
    return in_a_row(
        lambda channels: Convolutions(channels, recompute), settings
    )


def coupling_blocks(program, settings):
    import memcnn

    def half(channels):
        return nn.Sequential(
            nn.ReLU(), nn.Conv2d(channels // 2, channels // 2, 3, padding=1)
        )

    def block(channels):
        coupling = memcnn.AdditiveCoupling(half(channels), half(channels))
        return memcnn.InvertibleModuleWrapper(coupling, keep_input=False)

    class First(nn.Module):
        """An input that an inverse may give up, as MemCNN asks for."""

        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x.clone().requires_grad_())

    return First(in_a_row(block, settings))


WORKS = {
    "ResNet-50": image_net("resnet50"),
    "DenseNet-121": image_net("densenet121"),
    "ResNeXt-50, 32x4d": image_net("resnext50_32x4d"),
    "DenseNet-121, recomputed": image_net("densenet121", memory_efficient=True),
    "blocks dropped per sample": per_sample,
    "blocks dropped per batch": per_batch,
    "residual blocks, recomputed": recomputed_blocks,
    "coupling blocks, recomputed": coupling_blocks,
}
