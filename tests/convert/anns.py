"""ANNs as other people write them."""

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    """A residual block in the manner of torchvision, with functional calls in place."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride > 1 or before != after:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class ResNet(nn.Module):
    """Modules, adaptive pool, torch.flatten, functional dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU6())
        self.layers = nn.Sequential(Block(6, 6, 1), Block(6, 8, 2))
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.layers(self.stem(x))
        x = torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1)
        return self.fc(F.dropout(x, 0.5, self.training))


class Functional(nn.Module):
    """Functions and methods, a norm before activations, groups, `view` with the batch size, a norm of a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.hidden = nn.Linear(8 * 16, 12, bias=False)
        self.norm1d = nn.BatchNorm1d(12)
        self.out = nn.Linear(12, 5)

    def forward(self, x):
        x = self.conv(x)
        y = self.grouped(torch.clamp(self.norm(x), min=0, max=2.0))
        x = torch.add(x, y).relu()
        x = F.avg_pool2d(x, 2, stride=2)
        x = x.view(x.size(0), -1)
        return self.out(F.relu(self.norm1d(self.hidden(x))))


def all_convolutional() -> nn.Module:
    """No linear layer: the scores are means of maps."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Dropout(0.1), nn.Conv2d(6, 5, 1), nn.AvgPool2d(4), nn.Flatten()
    )


ANNS = {"resnet": ResNet, "functional": Functional, "all convolutional": all_convolutional}


def trained(make) -> nn.Module:
    """In float64, with running averages of a few batches."""
    torch.manual_seed(0)
    ann = make().double()
    for _ in range(3):
        ann(2 * torch.randn(8, 3, 8, 8, dtype=torch.float64) + 0.3)
    return ann.eval()
