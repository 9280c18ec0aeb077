"""The autoencoder: its layers for samples of any shape, and the scores of its codes."""

from __future__ import annotations

import json
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score
from torch import Tensor, nn

from hpo.space import SearchSpace
from hpo.training.load_model import load_model
from models.autoencoder import Autoencoder
from models.clustering import cluster_scores
from models.data import Digits

torch.set_num_threads(1)

SHAPES = [(7,), (1, 1, 1), (1, 8, 8), (3, 5, 9), (4, 6)]


def trainer(**options: Any) -> Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    return Trainer(**{"accelerator": "cpu", "enable_checkpointing": False, **quiet, **options})


def kinds_of(layers: nn.Module) -> list[str]:
    return [type(layer).__name__ for layer in layers.children()]


# ---- its layers


@pytest.mark.parametrize("kind", ["dense", "convolutional"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("depth", [1, 3])
def test_samples_of_any_shape_get_a_code_and_are_rebuilt_in_that_shape(
    kind: Any, shape: tuple[int, ...], depth: int
) -> None:
    model = Autoencoder(input_shape=shape, kind=kind, depth=depth, batch_norm=True, dropout=0.2, latent=3)
    x = torch.rand(4, *shape)

    assert model.encode(x).shape == (4, 3)
    assert model(x).shape == x.shape


def test_a_dense_one_halves_its_width_and_mirrors_itself() -> None:
    model = Autoencoder(input_shape=(64,), depth=3, width=32, latent=4)

    sizes = [layer.out_features for layer in model.modules() if isinstance(layer, nn.Linear)]

    assert sizes == [32, 16, 8, 4, 8, 16, 32, 64]


def test_nothing_follows_the_code_and_the_reconstruction() -> None:
    model = Autoencoder(input_shape=(64,), depth=1, dropout=0.1, batch_norm=True, activation="gelu")

    assert kinds_of(model.encoder) == ["Linear", "BatchNorm1d", "GELU", "Dropout", "Linear"]
    assert kinds_of(model.decoder) == ["Linear", "BatchNorm1d", "GELU", "Dropout", "Linear"]


def test_a_convolutional_one_halves_the_image_and_doubles_the_channels() -> None:
    model = Autoencoder(input_shape=(3, 28, 28), kind="convolutional", depth=3, channels=8)
    sizes = []
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _, __, output: sizes.append(tuple(output.shape[1:])))

    model(torch.rand(1, 3, 28, 28))

    assert sizes == [(8, 14, 14), (16, 7, 7), (32, 4, 4), (16, 7, 7), (8, 14, 14), (3, 28, 28)]


def test_samples_of_four_dimensions_have_no_convolution_here() -> None:
    with pytest.raises(ValueError, match="Autoencoder: takes images, whose input_shape is"):
        Autoencoder(input_shape=(2, 3, 4, 5), kind="convolutional")


def test_categories_are_not_left_out_in_silence() -> None:
    with pytest.raises(ValueError, match=r"2 columns of the data are categories: .* one_hot"):
        Autoencoder(input_shape=(3,), cardinalities=(4, 5))


def test_of_several_inputs_the_first_is_rebuilt() -> None:
    model = Autoencoder(input_shape=(5,))
    x, lengths = torch.rand(4, 5), torch.ones(4)

    assert torch.equal(model((x, lengths)), model(x))


def test_channels_and_width_are_searched_for_the_kind_that_has_them() -> None:
    space = SearchSpace.of(Autoencoder)

    assert space["width"].when == {"kind": ("dense",)}
    assert space["channels"].when == {"kind": ("convolutional",)}
    assert {"lr", "optimizer", "weight_decay"} <= set(space)


# ---- its scores


@pytest.fixture(scope="module")
def fitted() -> tuple[Autoencoder, dict[str, float]]:
    torch.manual_seed(0)
    model = Autoencoder(input_shape=(1, 8, 8), latent=8, lr=3e-3, class_counts=(1,) * 10)
    fit = trainer(max_epochs=4)
    fit.fit(model, datamodule=Digits(batch_size=100))
    return model.eval(), {name: value.item() for name, value in fit.callback_metrics.items()}


def validation_part() -> tuple[Tensor, Tensor]:
    data = Digits(batch_size=100)
    data.setup("fit")
    batches = list(data.val_dataloader())
    return torch.cat([x for x, _ in batches if isinstance(x, Tensor)]), torch.cat([y for _, y in batches])


def test_the_loss_is_the_mean_squared_error_per_pixel(fitted: tuple[Autoencoder, dict[str, float]]) -> None:
    model, metrics = fitted
    x, _ = validation_part()

    with torch.no_grad():
        error = (model(x) - x).square().mean().item()

    assert metrics["val_loss"] == pytest.approx(error, rel=1e-5)
    assert metrics["val_loss"] < 0.06  # that of the mean image is 0.083
    assert metrics["train_loss"] > 0


def test_the_codes_are_scored_as_scikit_learn_would(fitted: tuple[Autoencoder, dict[str, float]]) -> None:
    model, metrics = fitted
    x, y = validation_part()
    with torch.no_grad():
        codes = model.encode(x).double().numpy()

    found = KMeans(10, n_init=3, random_state=0).fit_predict(codes)

    assert metrics["val_silhouette"] == pytest.approx(silhouette_score(codes, found), rel=1e-5)
    assert metrics["val_adjusted_rand"] == pytest.approx(adjusted_rand_score(y.numpy(), found), rel=1e-5)


def test_the_test_part_is_scored_on_demand(fitted: tuple[Autoencoder, dict[str, float]]) -> None:
    (scores,) = trainer().test(fitted[0], datamodule=Digits(), verbose=False)

    assert scores.keys() == {"test_loss", "test_silhouette", "test_adjusted_rand"}


def test_it_predicts_codes_and_the_errors_of_reconstructions(fitted: tuple[Autoencoder, dict[str, float]]) -> None:
    model, _ = fitted
    x, y = validation_part()

    with torch.no_grad():
        found = model.predict_step((x, y), 0)

        assert torch.equal(found["code"], model.encode(x))
        torch.testing.assert_close(found["error"], (model(x) - x).square().flatten(1).mean(1))


def test_without_classes_there_is_no_agreement_with_them() -> None:
    model = Autoencoder(input_shape=(1, 8, 8), task="regression")
    fit = trainer(max_epochs=1, limit_train_batches=2)

    fit.fit(model, datamodule=Digits())

    assert {"val_loss", "val_silhouette"} <= fit.callback_metrics.keys()
    assert "val_adjusted_rand" not in fit.callback_metrics


def test_a_checkpoint_and_its_configuration_rebuild_it(tmp_path: Path) -> None:
    model = Autoencoder(input_shape=(1, 8, 8), kind="convolutional", channels=4)
    fit = trainer(max_epochs=1, limit_train_batches=2, limit_val_batches=1)
    fit.fit(model, datamodule=Digits())
    fit.save_checkpoint(tmp_path / "best.ckpt", weights_only=True)
    config = {**json.loads(json.dumps(dict(model.hparams))), "class": "models.autoencoder:Autoencoder"}

    again = load_model({"model": config}, tmp_path / "best.ckpt", Path())

    x = torch.rand(3, 1, 8, 8)
    assert torch.equal(again(x), model.eval()(x))


def blobs(samples: int, clusters: int, *, distance: float = 20.0) -> tuple[Any, Any]:
    labels = np.arange(samples) % clusters
    return np.random.default_rng(1).normal(size=(samples, 3)) + distance * np.eye(clusters, 3)[labels], labels


def test_clear_clusters_have_scores_near_1() -> None:
    codes, labels = blobs(300, 3)

    scores = cluster_scores(codes.astype(np.float32), labels, clusters=3)

    assert scores["adjusted_rand"] == 1.0
    assert scores["silhouette"] > 0.8


def test_no_clusters_at_all_have_the_worst_score_and_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cluster_scores(np.ones((50, 4)), np.arange(50) % 2, clusters=3) == {
            "silhouette": -1.0,
            "adjusted_rand": 0.0,
        }
        assert cluster_scores(np.ones((1, 4)), None, clusters=3) == {"silhouette": -1.0}


def test_fewer_codes_than_clusters_are_scored_all_the_same() -> None:
    codes, _ = blobs(6, 3)

    assert -1 <= cluster_scores(codes, None, clusters=10)["silhouette"] <= 1


def test_codes_that_are_no_numbers_have_no_score() -> None:
    codes, labels = blobs(30, 3)
    codes[4, 1] = np.nan

    assert all(np.isnan(score) for score in cluster_scores(codes, labels, clusters=3).values())


def test_many_samples_are_scored_by_some_of_them_and_always_the_same() -> None:
    codes, labels = blobs(1500, 3, distance=2.0)
    score = partial(cluster_scores, codes, labels, clusters=3)

    assert score() == score()
    assert score()["silhouette"] == pytest.approx(silhouette_score(codes, labels), abs=0.1)
