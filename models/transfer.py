"""Transfer learning: trains a pretrained network on other data, with a searched part of it frozen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hpo.space import Choice, Float, Int, When
from models.backbones import PACKAGES, PRETRAINED, blocks_of, build, describe, head_of, load
from models.base import Supervised

Freeze = Literal["none", "blocks", "epochs", "all"]


class Transfer(Supervised):
    """A backbone with pretrained weights, and a new last layer to `outputs`.

    Takes the backbone's inputs (batch, ...), prepared as for the backbone; returns (batch, ..., outputs). The backbone
    is any network with a linear layer at its end: one of our models, another LightningModule or nn.Module, or one of
    torchvision or timm if that is installed.

    The backbone's layers can be frozen, in blocks from the input on: frozen blocks keep their weights and the
    statistics of batch normalisation, and run in evaluation mode. The others learn at `backbone_lr` times the learning
    rate of the new layer.
        freeze: none     all learn from the start
                blocks   the first `frozen_blocks` never learn; the first layers are the most general ones:
                         Yosinski et al. 2014, arXiv 1411.1792
                epochs   none learns in the first `frozen_epochs`; then the last block does, and with every further
                         epoch one more: gradual unfreezing, Howard and Ruder 2018, arXiv 1801.06146
                all      only the new layer learns

    Args:
        weights: a checkpoint or state dict, read when training begins; in a study file also `trial:STUDY/best`, or
            `pretrained` for those that torchvision or timm offer. Empty: the backbone starts from initial weights.
        backbone: package.module:Class, torchvision/NAME or timm/NAME; by default the model of the trial.
        backbone_arguments: of its constructor, as a mapping or JSON; by default those of the trial.
        head: name of the linear layer that is replaced; by default the last one.
        dropout: of the new layer's input.
        frozen_blocks: at most the number of blocks.
        gradually: false lets all blocks learn after `frozen_epochs`.

    Raises:
        ValueError: the backbone cannot be built, the weights belong to another network, or it cannot process the data.
    """

    def __init__(
        self,
        outputs: int,
        weights: str = "",
        backbone: str = "",
        backbone_arguments: str | Mapping[str, Any] = "",
        head: str = "",
        dropout: Annotated[float, Float(0.0, 0.5)] = 0.0,
        freeze: Annotated[Freeze, Choice()] = "none",
        frozen_blocks: Annotated[int, Int(1, 4), When(freeze="blocks")] = 1,
        frozen_epochs: Annotated[int, Int(1, 10), When(freeze="epochs")] = 1,
        gradually: bool = True,
        backbone_lr: Annotated[float, Float(0.01, 1.0, log=True), When(freeze=("none", "blocks", "epochs"))] = 0.1,
        **common: Any,
    ) -> None:
        # Saved as hyperparameters: a checkpoint of this model is rebuilt without the weights that it started from.
        backbone, arguments = describe(weights, backbone, backbone_arguments)
        backbone_arguments = json.dumps(arguments)
        super().__init__(**common)
        self.save_hyperparameters()
        self.net = build(backbone, arguments)
        self._head = head_of(self.net, head)
        old = self.net.get_submodule(self._head)
        assert isinstance(old, nn.Linear)
        new = nn.Sequential(nn.Dropout(dropout), nn.Linear(old.in_features, outputs))
        self.net.set_submodule(self._head, new)
        self._blocks = blocks_of(self.net, self._head)
        self._frozen: set[nn.Module] = set()
        self._is_loaded = False  # from a checkpoint of this model, or of the backbone
        self._is_tried = False
        self._is_one_of_several_ranks = False
        self.register_load_state_dict_post_hook(_mark_as_loaded)  # type: ignore[no-untyped-call]
        self._freeze(self._frozen_blocks_in(0))

    def forward(self, inputs: Any) -> Tensor:
        outputs: Tensor = self.net(inputs) if self._is_tried else self._try(inputs)
        return outputs

    def train(self, mode: bool = True) -> Transfer:
        """Frozen blocks stay in evaluation mode once training has begun."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def setup(self, stage: str) -> None:
        if stage != "fit":
            return
        if self.hparams["weights"] and not self._is_loaded:
            self._load()
        if self.trainer.world_size > 1:
            # The ranks exchange gradients only of parameters that required one at the start.
            self._is_one_of_several_ranks = True
            self._freeze(self._frozen_blocks_in(0))

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self._freeze(self._frozen_blocks_in(self.current_epoch))
        self._frozen = self._frozen_modules()
        self.train(self.training)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        if self._is_one_of_several_ranks:
            for block in self._blocks[: self._frozen_blocks_in(self.current_epoch)]:
                for parameter in block.parameters:
                    parameter.grad = None

    @property
    def starts_late(self) -> bool:  # type: ignore[override]
        return bool(self.hparams["freeze"] == "epochs")

    def trained(self) -> list[dict[str, Any]]:
        """The new layer's parameters, and those of the backbone that ever learn, with a lower learning rate."""
        new = list(self.net.get_submodule(self._head).parameters())
        never = 0 if self.hparams["freeze"] == "epochs" else self._frozen_blocks_in(0)
        backbone = [parameter for block in self._blocks[never:] for parameter in block.parameters]
        slower = self.hparams["lr"] * self.hparams["backbone_lr"]
        return [{"params": new}, *([{"params": backbone, "lr": slower}] if backbone else [])]

    def _frozen_blocks_in(self, epoch: int) -> int:
        """How many of the first blocks do not learn in an epoch; the first epoch is 0."""
        count = len(self._blocks)
        match self.hparams["freeze"]:
            case "all":
                return count
            case "blocks":
                return min(count, int(self.hparams["frozen_blocks"]))
            case "epochs":
                thawed = max(0, epoch - int(self.hparams["frozen_epochs"]) + 1)
                return max(0, count - (thawed if self.hparams["gradually"] else thawed * count))
        return 0

    def _freeze(self, count: int) -> None:
        has_gradient = self._is_one_of_several_ranks and self.hparams["freeze"] == "epochs"
        for number, block in enumerate(self._blocks):
            for parameter in block.parameters:
                parameter.requires_grad_(number >= count or has_gradient)

    def _frozen_modules(self) -> set[nn.Module]:
        """The modules of the frozen blocks, except for a recurrent network with some layers that learn."""
        count = self._frozen_blocks_in(self.current_epoch)
        learning = {module for block in self._blocks[count:] for module in block.modules}
        return {module for block in self._blocks[:count] for module in block.modules} - learning

    def _load(self) -> None:
        weights, backbone = self.hparams["weights"], self.hparams["backbone"]
        if weights == PRETRAINED and backbone.partition("/")[0] in PACKAGES:
            offered = build(backbone, json.loads(self.hparams["backbone_arguments"]), pretrained=True)
            kept = {k: v for k, v in offered.state_dict().items() if not k.startswith(f"{self._head}.")}
            self.net.load_state_dict(kept, strict=False)
        else:
            load(self.net, weights, head=self._head)
        self._is_loaded = True

    def _try(self, inputs: Any) -> Tensor:
        """The first forward pass, with errors that explain why the backbone cannot process this data."""
        backbone = self.hparams["backbone"]
        # not hparams["outputs"]: the head may have been replaced by another Transfer with this one as its backbone
        *_, last = (layer for layer in self.net.get_submodule(self._head).modules() if isinstance(layer, nn.Linear))
        expected = last.out_features
        shapes = ", ".join(str(tuple(x.shape)) for x in ([inputs] if isinstance(inputs, Tensor) else inputs))
        try:
            outputs: Tensor = self.net(inputs)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise ValueError(
                f"Transfer: the backbone {backbone}, with layer '{self._head}' replaced, cannot process a batch "
                f"{shapes}: {error}. Give it data like its training data; if '{self._head}' is not its last layer, "
                "name that as `head`"
            ) from error
        if not isinstance(outputs, Tensor) or outputs.shape[-1] != expected:
            shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            raise ValueError(
                f"Transfer: the backbone {backbone} returns {shape}, not (batch, {expected}), after its layer "
                f"'{self._head}' was replaced: name its output layer as `head`"
            )
        self._is_tried = True
        return outputs


def _mark_as_loaded(model: Transfer, _: Any) -> None:
    model._is_loaded = True
