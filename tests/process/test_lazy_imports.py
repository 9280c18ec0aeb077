import subprocess
import sys
import textwrap

STEPS = """
    import torch

    def weights(name):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        optimizer = getattr(torch.optim, name)(model.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2)
        for _ in range(4):
            optimizer.zero_grad()
            model(torch.ones(4, 3)).square().sum().backward()
            optimizer.step()
            schedule.step()
        optimizer.load_state_dict(optimizer.state_dict())
        return model.weight.detach().clone()

    NAMES = ["Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD"]
"""


def run_python(code: str) -> str:
    parts = [textwrap.dedent(part) for part in (STEPS, code)]
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", "".join(parts)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_neither_lightning_nor_an_optimizer_nor_a_model_brings_the_compiler_or_drawings_into_memory() -> None:
    run_python("""
        import importlib, pkgutil, sys
        import hpo.training.preload, hpo.training.trial, models
        for module in pkgutil.walk_packages(models.__path__, "models."):
            importlib.import_module(module.name)
        for name in NAMES:
            weights(name)
        assert not sys.modules.keys() & {"torch._dynamo", "sympy", "matplotlib", "scipy.signal"}
    """)


def test_steps_are_the_same_before_the_compiler_is_imported_and_after() -> None:
    code = """
        {}
        for name in NAMES:
            print(name, weights(name).tolist())
    """
    plain, held_back = run_python(code.format("")), run_python(code.format("import hpo.training.preload"))
    imported = run_python(code.format("import hpo.training.preload, torch._dynamo"))

    assert plain == held_back == imported
    assert len(plain.splitlines()) == 11


def test_a_lazily_imported_module_is_there_when_it_is_used() -> None:
    run_python("""
        import hpo.training.preload
        import matplotlib, scipy.signal, torchmetrics
        matplotlib.use("agg")
        metric = torchmetrics.classification.BinaryAccuracy()
        metric.update(torch.tensor([0.2, 0.9]), torch.tensor([0, 1]))
        figure, axes = metric.plot()
        assert type(figure).__module__ == "matplotlib.figure"
        assert scipy.signal.hilbert([1.0, 2.0]).shape == (2,)

        import pytorch_lightning as pl
        from pytorch_lightning.utilities.compile import _maybe_unwrap_optimized

        module = pl.LightningModule()
        assert _maybe_unwrap_optimized(module) is module
        compiled = torch.compile(module)
        assert type(compiled).__name__ == "OptimizedModule"
        assert _maybe_unwrap_optimized(compiled) is module
    """)


def test_lightnings_advice_on_tf32_fails_no_trial_that_has_chosen_it_in_torchs_newer_way() -> None:
    """As on a GPU that has TF32."""
    run_python("""
        import hpo.training.preload
        from lightning_fabric.accelerators import cuda as fabric
        from pytorch_lightning.accelerators import cuda
        torch.cuda.is_available = fabric._is_ampere_or_later = lambda *_: True
        torch.cuda.get_device_name = lambda *_: "a GPU"
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        try:
            fabric._check_cuda_matmul_precision(torch.device("cuda", 0))
        except RuntimeError:
            cuda._check_cuda_matmul_precision(torch.device("cuda", 0))
        else:
            raise AssertionError("torch tells: this is no longer needed")
    """)
