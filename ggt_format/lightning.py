"""`GGTDataModule`: the pairs of a release for PyTorch Lightning."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from torch.utils.data import DataLoader

from ggt_format.basicsr import GGTPairDataset
from ggt_format.errors import ConfigError

try:
    from lightning.pytorch import LightningDataModule
except ImportError as fault:
    raise ConfigError("lightning is not installed. Install it: pip install lightning") from fault


class GGTDataModule(LightningDataModule):
    """Windows of the train split for training, and whole images of the test split for validation and test.

    Items are those of `GGTPairDataset`.

    Args:
        dataroot: Folder or URL of the release; None to look it up as `load_dataset` does.
        batch_size: Number of windows in a batch. Whole images come one by one, since their sizes differ.
        workers: Number of worker processes of each loader.
        options: Further options of `GGTPairDataset`, by default {"gt_size": 256, "use_hflip": True, "use_rot": True}.
    """

    def __init__(
        self,
        dataroot: str | os.PathLike[str] | None = None,
        *,
        batch_size: int = 8,
        workers: int = 2,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.dataroot, self.batch_size, self.workers = dataroot, batch_size, workers
        self.options = {"gt_size": 256, "use_hflip": True, "use_rot": True} if options is None else dict(options)
        self._datasets: dict[str, GGTPairDataset] = {}

    def setup(self, stage: str) -> None:
        """Open the splits that a stage needs: "fit", "validate", "test" or "predict"."""
        phases = ("train", "val") if stage == "fit" else ("val",)
        for phase in phases:
            if phase not in self._datasets:
                options = self.options | {"dataroot": self.dataroot, "phase": phase}
                self._datasets[phase] = GGTPairDataset(options)

    def train_dataloader(self) -> Any:
        return self._loader("train", batch_size=self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self) -> Any:
        return self._loader("val", batch_size=1)

    def test_dataloader(self) -> Any:
        return self.val_dataloader()

    def predict_dataloader(self) -> Any:
        return self.val_dataloader()

    def _loader(self, phase: str, **options: Any) -> Any:
        has_workers = self.workers > 0
        dataset: Any = self._datasets[
            phase
        ]  # torch's Dataset is not a Protocol; this dataset has the methods that a loader calls
        return DataLoader(dataset, num_workers=self.workers, persistent_workers=has_workers, **options)
