"""Pre-training: views, masks, tokenizer, objective and what fine-tuning takes over."""

from __future__ import annotations

import json

import mindspore as ms
import numpy as np
import pytest
from conftest import GOLDEN, TINY, make_config
from mindspore import Tensor
from PIL import Image

from beit_exp.config.schema import Config
from beit_exp.data.build import Shard, TrainStream
from beit_exp.data.sources import ImageList, list_classes, open_split, training_images
from beit_exp.data.transforms import color_jitter
from beit_exp.data.views import eval_masks, eval_views, train_masks, train_views
from beit_exp.errors import UserError
from beit_exp.launch.tokenizer_first import tokenizer_run
from beit_exp.model.build import build_masked_model
from beit_exp.model.precision import build_precision
from beit_exp.model.visual_tokenizer import (
    DalleDecoder,
    VisualTokenizer,
    build_tokenizer,
    map_pixels,
)
from beit_exp.optim.schedule import build_schedule
from beit_exp.tasks.pretrain import masked_batch
from beit_exp.tasks.train_tokenizer import anneal, usage
from beit_exp.train.build import build_trainer
from beit_exp.train.losses import Autoencoding, MaskedPrediction, Reconstruction, reconstruction
from beit_exp.weights.tokenizer import load_tokenizer, read_tokenizer
from beit_exp.weights.torch_file import read_torch_file

DALLE = GOLDEN / "mim" / "dalle_encoder_state_dict.pth"
SMALL_TOKENIZER = ("tokenizer.vocabulary=16", "tokenizer.hidden=8", "tokenizer.decoder_input=8")


@pytest.fixture(autouse=True)
def _compiled() -> None:
    ms.set_context(mode=ms.GRAPH_MODE)


def pretraining(data, *more: str) -> Config:
    return make_config(
        "experiment=pretrain_digits",
        *TINY,
        *SMALL_TOKENIZER,
        "model.patch_size=8",
        "mask.num_mask_patches=7",
        "mask.min_mask_patches_per_block=2",
        f"dataset.data_url={data}",
        *more,
    )


def stream_of(cfg: Config, rank: int = 0, size: int = 1) -> TrainStream:
    return TrainStream(training_images(cfg), cfg, Shard(rank, size))


# Data


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> ImageList:
    """Four large smooth pictures, as class folders."""
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(4):
        y, x = np.mgrid[0:300, 0:400]
        waves = [
            np.sin((x + 40 * number) / 30) + np.cos(y / (20 + 5 * number)),
            np.sin(x * y / 9e3),
            np.cos(x / 50),
        ]
        pixels = np.clip(127 + 60 * np.stack(waves, axis=-1), 0, 255).astype(np.uint8)
        path = folder / str(number % 2) / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)
    return list_classes(folder)


@pytest.mark.parametrize("is_training", [True, False])
def test_both_views_show_the_same_crop(photographs: ImageList, is_training: bool) -> None:
    cfg = make_config(
        "experiment=pretrain_base",
        "tokenizer.weights=x",
        "train.batch_size=4",
        "train.accumulate_steps=1",
    )
    if is_training:
        views = next(train_views(TrainStream(photographs, cfg, Shard(0, 1)), cfg, first=0, last=1))
    else:
        views = next(eval_views(photographs, cfg, Shard(0, 1)))
    assert views.images.shape == (4, 3, 224, 224) and views.tokenizer_images.shape == (
        4,
        3,
        112,
        112,
    )
    halved = views.images.reshape(4, 3, 112, 2, 112, 2).mean(axis=(3, 5)) * 0.5 + 0.5
    assert np.abs(halved - views.tokenizer_images).mean() < 0.01


def test_views_and_masks_do_not_depend_on_the_number_of_devices(few_digits) -> None:
    whole_cfg, half_cfg = (
        pretraining(few_digits, "train.batch_size=16"),
        pretraining(few_digits, "train.batch_size=8"),
    )
    whole = stream_of(whole_cfg)
    halves = [stream_of(half_cfg, rank, 2) for rank in range(2)]
    views = list(train_views(whole, whole_cfg, first=4, last=7))  # over the end of an epoch
    masks = list(train_masks(whole, whole_cfg, first=4, last=7))
    parts = [list(train_views(half, half_cfg, first=4, last=7)) for half in halves]
    part_masks = [list(train_masks(half, half_cfg, first=4, last=7)) for half in halves]
    for number in range(3):
        images = np.concatenate([part[number].images for part in parts])
        tokenizer_images = np.concatenate([part[number].tokenizer_images for part in parts])
        np.testing.assert_array_equal(images, views[number].images)
        np.testing.assert_array_equal(tokenizer_images, views[number].tokenizer_images)
        np.testing.assert_array_equal(
            np.concatenate([part[number] for part in part_masks]), masks[number]
        )
    assert (masks[0] != masks[1]).any()


def test_an_image_is_evaluated_under_the_same_mask_whatever_the_device(few_digits) -> None:
    cfg = pretraining(few_digits)
    images = open_split(cfg.dataset, "val")
    whole = np.concatenate(list(eval_masks(images, cfg, Shard(0, 1))))
    assert len(whole) == len(images)
    for rank in range(3):
        np.testing.assert_array_equal(
            np.concatenate(list(eval_masks(images, cfg, Shard(rank, 3)))), whole[rank::3]
        )
    sizes = [len(views.images) for views in eval_views(images, cfg, Shard(0, 1))]
    assert sizes == [16, 16, 16, 2]


def test_jitter_changes_brightness_within_its_bounds_and_leaves_grey_grey() -> None:
    grey = Image.new("RGB", (8, 8), (100, 100, 100))
    rng = np.random.default_rng(0)
    found = np.array([np.asarray(color_jitter(grey, 0.4, rng=rng))[0, 0] for _ in range(300)])
    assert (found == found[:, :1]).all()
    assert found.min() >= 59 and found.max() <= 141
    assert found.min() < 65 and found.max() > 135 and abs(found.mean() - 100) < 3
    assert color_jitter(grey, 0.0, rng=rng) is grey


def test_as_many_images_of_each_class_as_asked_for(few_digits) -> None:
    few = training_images(
        make_config(f"dataset.data_url={few_digits}", "dataset.images_per_class=3")
    )
    assert np.bincount(few.labels).tolist() == [3] * 10
    assert [path.split("/")[-2] for path in few.paths] == [str(label) for label in few.labels]
    other = training_images(
        make_config(f"dataset.data_url={few_digits}", "dataset.images_per_class=3", "seed=1")
    )
    assert few.paths != other.paths
    with pytest.raises(UserError, match="dataset.images_per_class = 9: the class 0 holds 8 images"):
        training_images(make_config(f"dataset.data_url={few_digits}", "dataset.images_per_class=9"))


# Tokenizer


def convolved(x_CHW: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """A convolution that keeps the size, from its definition."""
    margin = weight.shape[2] // 2
    padded = np.pad(x_CHW, ((0, 0), (margin, margin), (margin, margin)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(1, 2))
    return np.einsum("chwij,ocij->ohw", windows, weight) + bias[:, None, None]


def decoded(arrays: dict[str, np.ndarray], shares_VGG: np.ndarray, *, blocks: int) -> np.ndarray:
    """DALL-E's decoder in NumPy, by the paper's appendix A.2 (four groups, each block 1x1, 3x3,
    3x3, 3x3).
    """

    def layer(name: str, x: np.ndarray) -> np.ndarray:
        return convolved(x, arrays[f"{name}.weight"], arrays[f"{name}.bias"])

    x = layer("input", shares_VGG)
    for group in range(4):
        for block in range(blocks):
            name, y = f"groups.{group}.{block}", x
            for number in range(1, 5):
                y = layer(f"{name}.conv_{number}", np.maximum(y, 0))
            x = (layer(f"{name}.id_path", x) if f"{name}.id_path.weight" in arrays else x) + y / (
                4 * blocks
            ) ** 2
        if group < 3:
            x = x.repeat(2, axis=1).repeat(2, axis=2)
    return layer("output", np.maximum(x, 0))


def test_the_decoder_is_the_papers() -> None:
    decoder = DalleDecoder(input_width=6, hidden=4, blocks_per_group=2, vocabulary=5)
    rng = np.random.default_rng(0)
    for parameter in decoder.get_parameters():
        parameter.set_data(Tensor(rng.standard_normal(parameter.shape).astype(np.float32) * 0.5))
    arrays = {
        parameter.name: parameter.asnumpy().astype(np.float64)
        for parameter in decoder.get_parameters()
    }
    shares = rng.random((2, 5, 3, 3)).astype(np.float32)
    expected = np.stack([decoded(arrays, one, blocks=2) for one in shares])
    assert expected.shape == (2, 6, 24, 24)
    found = decoder(Tensor(shares)).asnumpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_dalles_state_dict_loads_with_and_without_a_prefix(monkeypatch) -> None:
    shape = json.loads((GOLDEN / "mim" / "config.json").read_text())["encoder"]
    settings = (
        f"tokenizer.vocabulary={shape['vocab_size']}",
        f"tokenizer.hidden={shape['n_hid']}",
        f"tokenizer.blocks_per_group={shape['n_blk_per_group']}",
    )
    reference = np.load(GOLDEN / "mim" / "reference.npz")
    tokenizer = load_tokenizer(make_config(*settings).tokenizer, str(DALLE))
    assert tokenizer.decoder is None
    assert list(tokenizer.trainable_params()) == []
    tokens = tokenizer(Tensor(reference["tokenizer_images_0_1"])).asnumpy()
    np.testing.assert_array_equal(tokens, reference["tokens"])
    plain = read_tokenizer(DALLE)
    prefixed = {f"encoder.{name}": array for name, array in read_torch_file(DALLE).items()}
    monkeypatch.setattr("beit_exp.weights.tokenizer.read_torch_file", lambda path: prefixed)
    again = read_tokenizer(DALLE)
    assert plain.keys() == again.keys()


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (("tokenizer.hidden=8",), "does not fit the tokenizer: "),
        (("tokenizer.blocks_per_group=3",), "tensors differ"),
    ],
)
def test_a_tokenizer_of_another_shape_is_refused(settings: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        load_tokenizer(make_config(*settings).tokenizer, str(DALLE))


def test_weights_of_something_else_are_no_tokenizer() -> None:
    with pytest.raises(UserError, match="holds no visual tokenizer"):
        load_tokenizer(make_config().tokenizer, str(GOLDEN / "mim" / "official.pth"))


def test_the_likelihood_of_pixels_is_a_density() -> None:
    x = np.linspace(1e-4, 1 - 1e-4, 40001, dtype=np.float32)
    for mean, ln_b in ((0.0, 0.0), (1.5, -1.0), (-2.0, 0.5)):
        laws = np.concatenate(
            [np.full((len(x), 3, 1, 1), mean), np.full((len(x), 3, 1, 1), ln_b)], axis=1
        )
        images = np.broadcast_to(x[:, None, None, None], (len(x), 3, 1, 1)).copy()
        cost, _ = reconstruction(Tensor(laws.astype(np.float32)), Tensor(images))
        assert np.exp(-cost.asnumpy().astype(float)).mean() == pytest.approx(1, abs=0.02)


def test_drawn_tokens_cost_the_decoder_what_they_are_decoded_to() -> None:
    cfg = make_config(*SMALL_TOKENIZER).tokenizer
    tokenizer = build_tokenizer(cfg, has_decoder=True, seed=3)
    images = np.random.default_rng(0).random((2, 3, 16, 16), dtype=np.float32)
    no_noise, temperature = np.zeros((2, 16, 2, 2), np.float32), np.float32(0.5)
    objective = Autoencoding(tokenizer, straight_through=True, kl_weight=0.0)
    loss, error = objective(Tensor(images), Tensor(no_noise), Tensor(temperature))
    tokens, rebuilt, costs, errors = Reconstruction(tokenizer)(Tensor(images))
    assert tokens.shape == (2, 4) and rebuilt.shape == images.shape
    assert float(loss.asnumpy()) == pytest.approx(costs.asnumpy().mean(), rel=1e-5)
    assert float(error.asnumpy()) == pytest.approx(errors.asnumpy().mean(), rel=1e-5)
    assert errors.asnumpy() == pytest.approx(
        ((rebuilt.asnumpy() - images) ** 2).mean(axis=(1, 2, 3)), rel=1e-4
    )
    soft, _ = Autoencoding(tokenizer, straight_through=False, kl_weight=0.0)(
        Tensor(images), Tensor(no_noise), Tensor(np.float32(1e-3))
    )
    # Cold mixtures are tokens
    assert float(soft.asnumpy()) == pytest.approx(float(loss.asnumpy()), abs=1e-3)


def test_the_divergence_is_that_from_the_uniform_distribution() -> None:
    cfg = make_config(*SMALL_TOKENIZER).tokenizer
    tokenizer = build_tokenizer(cfg, has_decoder=True, seed=3)
    images = np.random.default_rng(0).random((2, 3, 16, 16), dtype=np.float32)
    arrays = Tensor(images), Tensor(np.zeros((2, 16, 2, 2), np.float32)), Tensor(np.float32(1.0))
    with_it, without = (
        float(
            Autoencoding(tokenizer, straight_through=False, kl_weight=weight)(*arrays)[0].asnumpy()
        )
        for weight in (2.0, 0.0)
    )
    logits = tokenizer.encoder(map_pixels(Tensor(images))).asnumpy().astype(float)
    q = np.exp(logits - logits.max(axis=1, keepdims=True))
    q /= q.sum(axis=1, keepdims=True)
    assert with_it - without == pytest.approx(2 * (q * np.log(q * 16)).sum(axis=1).mean(), rel=1e-3)


@pytest.mark.parametrize("straight_through", [True, False])
def test_a_tokenizer_learns_encoder_and_decoder(few_digits, straight_through: bool) -> None:
    cfg = tokenizer_run(
        pretraining(few_digits, f"tokenizer.straight_through={straight_through}"), few_digits
    )
    stream = stream_of(cfg)
    tokenizer = build_tokenizer(cfg.tokenizer, has_decoder=True, seed=0)
    objective = Autoencoding(tokenizer, straight_through=straight_through, kl_weight=0.01)
    trainer = build_trainer(cfg, objective, steps_per_epoch=stream.steps_per_epoch, ranks=1)
    before = {
        parameter.name: parameter.asnumpy().copy() for parameter in tokenizer.get_parameters()
    }
    images = next(train_views(stream, cfg, first=0, last=1)).tokenizer_images
    noise = np.random.default_rng(0).gumbel(size=(16, 16, 4, 4)).astype(np.float32)
    losses = [trainer([(images, noise, np.float32(1.0))]).loss for _ in range(20)]
    assert losses[-1] < losses[1] - 0.1
    unchanged = [
        name
        for name, value in before.items()
        if (tokenizer.parameters_dict()[name].asnumpy() == value).all()
    ]
    assert unchanged == []


def test_temperature_falls_between_its_ends_and_usage_counts_tokens() -> None:
    temperatures = anneal(1.0, 0.0625, steps=100)
    assert temperatures[0] == 1.0 and temperatures[-1] == pytest.approx(0.0625)
    assert (np.diff(temperatures) <= 0).all()
    assert usage(np.array([5.0, 5.0, 5.0, 5.0])) == {
        "token_usage": 100.0,
        "token_perplexity": pytest.approx(4.0),
    }
    assert usage(np.array([8.0, 0.0, 0.0, 0.0])) == {
        "token_usage": 25.0,
        "token_perplexity": pytest.approx(1.0),
    }


# Objective and network


def masked_setup(few_digits, *more: str):
    cfg = pretraining(few_digits, *more)
    stream = stream_of(cfg)
    tokenizer: VisualTokenizer = build_tokenizer(cfg.tokenizer, has_decoder=True, seed=0)
    precision = build_precision("O0", half=ms.float32)
    network = build_masked_model(cfg.model, vocabulary=16, precision=precision, seed=0)
    views = next(train_views(stream, cfg, first=0, last=1))
    hidden = next(train_masks(stream, cfg, first=0, last=1))
    return cfg, tokenizer, network, views, hidden


def test_what_fills_up_changes_nothing(few_digits) -> None:
    cfg, tokenizer, network, views, hidden = masked_setup(few_digits)
    objective = MaskedPrediction(network)
    objective.set_train(False)
    assert hidden.sum() < len(hidden) * 7  # masks hide fewer here and there
    part = type(views)(views.images[:5], views.tokenizer_images[:5])
    full = masked_batch(tokenizer, part, hidden[:5], cfg, 16)
    exact = masked_batch(tokenizer, part, hidden[:5], cfg, 5)
    shapes = [array.shape for array in full]
    assert shapes == [(16, 3, 32, 32), (16, 16), (112,), (112,), (112,)]
    found, expected = (
        [float(value.asnumpy()) for value in objective(*map(Tensor, arrays), None)]
        for arrays in (full, exact)
    )
    assert found == pytest.approx(expected, rel=1e-5)
    images, hidden_BP, places, tokens, weights = exact
    logits = (
        network(Tensor(images), Tensor(hidden_BP), Tensor(places))
        .asnumpy()[weights == 1]
        .astype(float)
    )
    mine = tokenizer(Tensor(part.tokenizer_images)).asnumpy()[hidden[:5].reshape(5, -1)]
    np.testing.assert_array_equal(mine, tokens[weights == 1])
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert expected[0] == pytest.approx(
        -np.log(shares[np.arange(len(mine)), mine]).mean(), rel=1e-5
    )
    assert expected[1] == pytest.approx(100 * (logits.argmax(axis=1) == mine).mean(), rel=1e-5)


def test_initial_weights_are_cut_off_at_one_deviation(few_digits) -> None:
    _, _, network, _, _ = masked_setup(few_digits, "model.embed_dim=64")
    arrays = {parameter.name: parameter.asnumpy() for parameter in network.get_parameters()}
    for name in (
        "patch_embed.proj.weight",
        "mask_token",
        "cls_token",
        "pos_embed",
        "lm_head.weight",
    ):
        assert 0.015 < np.abs(arrays[name]).max() <= 0.02, name
    # the standard deviation of a normal law cut off at ±1 is 0.5396 of the whole one's
    assert arrays["lm_head.weight"].std() == pytest.approx(0.5396 * 0.02, rel=0.05)
    assert np.abs(arrays["blocks.1.mlp.fc2.weight"]).max() == pytest.approx(0.02 / 2, rel=0.05)
    assert not arrays["patch_embed.proj.bias"].any() and not arrays["lm_head.bias"].any()


def test_warm_up_in_steps_is_that_of_as_many_epochs() -> None:
    steps = make_config("scheduler.warmup_length=0", "scheduler.warmup_steps=14").scheduler
    epochs = make_config("scheduler.warmup_length=2").scheduler
    found, expected = (
        build_schedule(cfg, peak_lr=1.0, epochs=6, steps_per_epoch=7) for cfg in (steps, epochs)
    )
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(
        UserError, match="scheduler.warmup_steps = 14: must be less than the 14 steps"
    ):
        build_schedule(steps, peak_lr=1.0, epochs=2, steps_per_epoch=7)


# Stages


def test_the_tokenizers_run_has_the_runs_settings_but_for_its_own(few_digits, tmp_path) -> None:
    cfg = pretraining(few_digits, "hardware.amp_level=O1", "optimizer.layer_decay=0.9", "seed=3")
    run = tokenizer_run(cfg, tmp_path / "run")
    assert (run.task, run.objective, run.hardware.amp_level) == (
        "train_tokenizer",
        "val/loss",
        "O0",
    )
    assert (run.seed, run.dataset, run.tokenizer.vocabulary) == (3, cfg.dataset, 16)
    assert run.optimizer.base_lr == cfg.tokenizer.training["optimizer"]["base_lr"]
    assert run.tracking.run_name == "tokenizer run"


def test_wrong_settings_of_the_tokenizers_run_are_named(few_digits, tmp_path) -> None:
    cfg = pretraining(few_digits, "+tokenizer.training.optimizer.lrr=1")
    with pytest.raises(
        UserError, match=r"tokenizer\.training.*\n.*optimizer\.lrr: there is no such setting"
    ):
        tokenizer_run(cfg, tmp_path / "run")
