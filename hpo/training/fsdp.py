"""FSDP, several devices that share the weights of one model, with checkpoints that are read without running code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning_fabric.strategies.fsdp import _get_full_state_dict_context
from lightning_fabric.strategies.model_parallel import _load_raw_module_state
from pytorch_lightning.strategies import FSDPStrategy
from pytorch_lightning.trainer.states import TrainerFn
from torch.distributed.fsdp import FullyShardedDataParallel, OptimStateKeyType

from hpo.training.checkpoint import read


class PlainFSDPStrategy(FSDPStrategy):
    """Resumes from a whole checkpoint in plain values; Lightning's own unpickles it, which can run code."""

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        module, model = self.lightning_module, self.model
        assert module is not None
        assert model is not None
        contents = read(Path(self.broadcast(checkpoint_path)), mmap=True)
        weights = contents.pop("state_dict")
        _load_raw_module_state(weights, module=model, world_size=self.world_size, strict=module.strict_loading)
        if module.trainer.state.fn != TrainerFn.FITTING:
            return contents
        # All ranks need the whole state, of which each takes its share.
        whole = _get_full_state_dict_context(model, world_size=self.world_size, rank0_only=False)
        with whole:  # type: ignore[attr-defined]
            for optimizer, state in zip(self.optimizers, contents.get("optimizer_states", []), strict=True):
                by_name = FullyShardedDataParallel.rekey_optim_state_dict(state, OptimStateKeyType.PARAM_NAME, model)
                optimizer.load_state_dict(
                    FullyShardedDataParallel.optim_state_dict_to_load(
                        model=model, optim=optimizer, optim_state_dict=by_name
                    )
                )
        return contents
