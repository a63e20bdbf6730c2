"""A SimCLR step in plain PyTorch, timed; needs torch alone. `benchmarks.step` runs it.

python benchmarks/step_peer.py JSON prints a line about itself, then, for every line that it reads,
seconds of one step, of the clock and of CPUs: embed both views, NT-Xent, reverse pass, update.
"""

import json
import sys
import time

import torch
from torch import nn
from torch.nn import functional


def conv(channels, width, side, stride):
    """Convolution and batch norm."""
    return nn.Sequential(
        nn.Conv2d(channels, width, side, stride, side // 2, bias=False), nn.BatchNorm2d(width)
    )


class Block(nn.Module):
    """A basic block of a residual network."""

    def __init__(self, channels, width, stride):
        super().__init__()
        relu = nn.ReLU(inplace=True)
        self.branch = nn.Sequential(
            conv(channels, width, 3, stride), relu, conv(width, width, 3, 1)
        )
        same = stride == 1 and channels == width
        self.shortcut = nn.Identity() if same else conv(channels, width, 1, stride)

    def forward(self, x):
        """Feature maps of feature maps."""
        return functional.relu(self.branch(x) + self.shortcut(x))


def network(about):
    """A residual network and a projector of two layers without biases."""
    width, channels = about["width"], about["shape"][-1]
    small = about["stem"] == "cifar"
    layers = [conv(channels, width, *((3, 1) if small else (7, 2))), nn.ReLU(inplace=True)]
    layers += [] if small else [nn.MaxPool2d(3, 2, 1)]
    channels = width
    for stage, blocks in enumerate(about["stage_sizes"]):
        for index in range(blocks):
            wide = width * 2**stage
            layers.append(Block(channels, wide, 2 if stage and not index else 1))
            channels = wide
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    hidden, dim = about["projector_hidden"], about["projector_dim"]
    layers += [nn.Linear(channels, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, dim, False)]
    return nn.Sequential(*layers)


def nt_xent(z, epsilon=0.5):
    """SimCLR's loss of embeddings [2b, d], both views one after the other."""
    z = functional.normalize(z)
    scores = (z @ z.T / epsilon).fill_diagonal_(float("-inf"))
    return functional.cross_entropy(scores, torch.arange(len(z)).roll(len(z) // 2))


def main(about):
    torch.set_num_threads(about["threads"])
    net = network(about)
    optimizers = {
        "sgd": lambda p: torch.optim.SGD(p, 0.1, 0.9, weight_decay=1e-6, nesterov=True),
        "adamw": lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=1e-4),
    }
    optimizer = optimizers[about["optimizer"]](net.parameters())
    height, width, channels = about["shape"]
    x = torch.randn(2 * about["batch"], channels, height, width)
    parameters = sum(p.numel() for p in net.parameters())
    print(json.dumps({"torch": torch.__version__, "parameters": parameters}), flush=True)
    for _ in sys.stdin:
        start, used = time.perf_counter(), time.process_time()
        optimizer.zero_grad()
        nt_xent(net(x)).backward()
        optimizer.step()
        seconds = time.perf_counter() - start, time.process_time() - used
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
