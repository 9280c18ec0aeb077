"""The data module of a study without `data:`, whose model has its loaders itself."""

from __future__ import annotations

from pytorch_lightning import LightningDataModule


class OwnLoaders(LightningDataModule):
    """Has no loaders: the Trainer is given no data module, and takes the model's."""
