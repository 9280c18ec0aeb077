"""Rounds 32-bit factors on GPUs to TF32, by torch's newer settings: its older ones refuse to be read from then on."""

from __future__ import annotations

import torch

from projects.nets import Leaver

torch.backends.cuda.matmul.fp32_precision = "tf32"
torch.backends.cudnn.conv.fp32_precision = "tf32"  # type: ignore[attr-defined]


class Rounding(Leaver):
    """As good as any other."""
