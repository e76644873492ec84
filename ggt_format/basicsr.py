"""`GGTPairDataset`: train with BasicSR, NAFNet or Restormer from a release, without a second copy of it.

Importing this module registers the dataset with BasicSR, so that an option file can name it:

    datasets:
      train:
        name: GGT-100K
        type: GGTPairDataset
        dataroot: /data/ggt-100k
        gt_size: 256
        use_hflip: true
        use_rot: true

Projects with a copy of BasicSR, such as NAFNet and Restormer, look for datasets in the files of `basicsr/data` whose
names end with `_dataset.py`. There, write a file `ggt_dataset.py` with this one line:

    from ggt_format.basicsr import GGTPairDataset
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ggt_format.augment import draw_orientation
from ggt_format.errors import ConfigError
from ggt_format.pairs import PairDataset


class GGTPairDataset:
    """The pairs of a release as BasicSR's PairedImageDataset returns them.

    An item has `lq` and `gt` (float32, 3 x height x width, RGB, 0 to 1, or normalised by `mean` and `std`), `lq_path`
    and `gt_path` (names that end with KEY.png: no such files exist), `key` and `degradation`. In the phase "train" a
    window is read and decoded instead of the whole images. Windows and orientations are drawn from Python's `random`,
    which BasicSR and PyTorch seed in each worker.

    Args:
        opt: The options of a dataset in an option file.

            dataroot: Folder or URL of the release, as `PairDataset` takes it; `dataroot_gt` is used where it
                is missing. Without both, the release is looked up as by `load_dataset`.
            phase: "train" for windows and augmentation; anything else for whole images.
            split: "train" or "test"; by default "train" in the phase "train", else "test".
            where: Conditions on the pairs, for example {degradation: [rain, snow]}.
            gt_size: Side of the square window in pixels; whole images if missing.
            use_hflip, use_rot: As in BasicSR; `use_flip` is the older name of `use_hflip`, and Restormer's
                `geometric_augs` sets both.
            scale: 1, because LQ and GT image have the same size.
            mean, std: Three numbers each.

            Other keys, such as `io_backend`, are for BasicSR's own reader or its loader and are ignored.

    Raises:
        ConfigError: There is no such release, no pair is left, or an option has a value that cannot be used.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        self.opt = opt
        self.is_training = opt.get("phase") == "train"
        if opt.get("scale", 1) != 1:
            raise ConfigError(f"scale: {opt['scale']}: LQ and GT image have the same size. Write scale: 1.")
        geometric = bool(opt.get("geometric_augs", False))
        self.use_hflip = bool(opt.get("use_hflip", opt.get("use_flip", geometric)))
        self.use_rot = bool(opt.get("use_rot", geometric))
        self.gt_size = opt.get("gt_size") if self.is_training else None
        if self.gt_size is not None and (not isinstance(self.gt_size, int) or self.gt_size < 1):
            raise ConfigError(
                f"gt_size: {self.gt_size!r}: must be a number of pixels, 1 or more. Write for example gt_size: 256."
            )
        self.mean, self.std = (_per_channel(opt, name) for name in ("mean", "std"))
        self.pairs = PairDataset(
            opt.get("dataroot") or opt.get("dataroot_gt"),
            opt.get("split") or ("train" if self.is_training else "test"),
            where=opt.get("where"),
            crop=None if self.gt_size is None else self._draw_window,
            transform=self._finish,
        )

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, number: int) -> dict[str, Any]:
        item: dict[str, Any] = self.pairs[number]
        return item

    def __getitems__(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Return the items of a batch: PyTorch's DataLoader calls this, and their bytes are then read together."""
        return self.pairs.__getitems__(numbers)

    def _draw_window(self, row: Mapping[str, Any], generator: np.random.Generator) -> tuple[int, int, int, int]:
        del generator  # it depends on the epoch, which BasicSR does not pass to a dataset
        side = int(self.gt_size or 0)
        top = random.randint(0, max(row["height"] - side, 0))
        return top, random.randint(0, max(row["width"] - side, 0)), side, side

    def _finish(self, item: dict[str, Any]) -> dict[str, Any]:
        """Orient both images equally and convert them to tensors. Bytes are flipped, which is cheaper than floats."""
        images = item["lq"], item["gt"]
        if self.is_training:
            orientation = draw_orientation(self.use_hflip, self.use_rot)
            images = orientation.apply(images[0]), orientation.apply(images[1])
        name = f"{item['degradation']}/{item['key']}.png"
        return {
            "lq": self._tensor(images[0]),
            "gt": self._tensor(images[1]),
            "lq_path": f"lq/{name}",
            "gt_path": f"gt/{name}",
            "key": item["key"],
            "degradation": item["degradation"],
        }

    def _tensor(self, pixels: np.ndarray[Any, Any]) -> Any:
        tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float().div_(255)
        if self.mean is not None:
            tensor.sub_(self.mean)
        return tensor if self.std is None else tensor.div_(self.std)


def _per_channel(opt: Mapping[str, Any], name: str) -> Any:
    """Return three numbers as a tensor (3, 1, 1); None where the option is missing."""
    values = opt.get(name)
    if values is None:
        return None
    if len(values) != 3:
        raise ConfigError(f"{name}: {values}: has {len(values)} numbers. Write three, for red, green and blue.")
    return torch.tensor(values, dtype=torch.float32).reshape(3, 1, 1)


def _register() -> None:
    """Register the dataset, where a BasicSR with a registry is installed."""
    try:
        from basicsr.utils.registry import DATASET_REGISTRY
    except ImportError:  # a copy of BasicSR that finds datasets by the names of files, or none at all
        return
    if GGTPairDataset.__name__ not in DATASET_REGISTRY:
        DATASET_REGISTRY.register(GGTPairDataset)


_register()
