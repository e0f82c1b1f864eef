"""CPU seconds of Torch-Pruning for ResNet-50, as a line of JSON.

`benchmarks/pruning.py --peer PYTHON` runs it with the Python of an
environment that has torch and torch-pruning. The net is written out here, so
that torchvision is not needed.
"""

import json
import sys
import time

import torch
import torch_pruning
from torch import nn


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut."""

    def __init__(self, before: int, width: int, stride: int):
        super().__init__()
        after = 4 * width
        self.branch = nn.Sequential(
            *unit(before, width, 1, 1),
            nn.ReLU(),
            *unit(width, width, 3, stride),
            nn.ReLU(),
            *unit(width, after, 1, 1),
        )
        self.shortcut = (
            nn.Identity()
            if before == after
            else nn.Sequential(*unit(before, after, 1, stride))
        )

    def forward(self, x):
        return torch.relu(self.branch(x) + self.shortcut(x))


def unit(before, after, size, stride):
    """A convolution and its normalization."""
    conv = nn.Conv2d(before, after, size, stride, size // 2, bias=False)
    return conv, nn.BatchNorm2d(after)


def resnet50():
    layers = [*unit(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    before = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 * 2**stage
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            layers.append(Bottleneck(before, width, stride))
            before = 4 * width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 1000)]
    return nn.Sequential(*layers)


def pruned(ratio: float) -> dict:
    """Seconds for a net, which is pruned in place."""
    model = resnet50().eval()
    x = torch.randn(1, 3, 224, 224)
    begin = time.process_time()
    torch_pruning.DependencyGraph().build_dependency(model, x)
    groups = time.process_time() - begin
    pruner = torch_pruning.pruner.MagnitudePruner(
        model,
        x,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=1),
        pruning_ratio=ratio,
        ignored_layers=[model[-1]],
    )
    begin = time.process_time()
    pruner.step()
    left = sum(each.numel() for each in model.parameters())
    return {
        "groups": groups,
        "prune": time.process_time() - begin,
        "M parameters": left / 1e6,
    }


if __name__ == "__main__":
    torch.manual_seed(0)
    print(json.dumps([pruned(0.3) for _ in range(int(sys.argv[1]))]))
