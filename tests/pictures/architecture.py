"""BEiT in pre-training and in fine-tuning, with the sizes of BEiT-base."""

from __future__ import annotations

import numpy as np
from settings import make_config

from beit_exp.config.schema import Config
from beit_exp.data.masking import block_mask
from beit_exp.data.views import tokenizer_size
from beit_exp.model.cost import TABLE_OF_CLASS_TOKEN, parameter_count
from pictures.diagram import Diagram
from pictures.mosaic import photograph_paths
from pictures.palette import Palette

WIDTH, HEIGHT = 720, 1010
IMAGE = 126  # units along a side
TOKENIZER, MASKED, WHOLE = 83, 253, 550  # the middles of the columns
FINETUNING = ("experiment=imagenet_base", "dataset.data_url=/imagenet")
PRETRAINING = ("experiment=pretrain_base", "dataset.data_url=/imagenet", "tokenizer.weights=/d.pth")
MASK_SEED = 5


def draw(palette: Palette) -> str:
    """The SVG of both networks beside each other."""
    before, after = make_config(*PRETRAINING), make_config(*FINETUNING)
    picture = Diagram(palette, WIDTH, HEIGHT, "BEiT in pre-training and in fine-tuning")
    _images(picture, before)
    _tokens(picture, before)
    _blocks(picture, after)
    _heads(picture, before, after)
    return picture.svg()


def patches(cfg: Config) -> int:
    """Patches along a side."""
    return cfg.model.image_size // cfg.model.patch_size


def hidden(cfg: Config) -> np.ndarray:
    """A mask of pre-training, drawn by its own code."""
    return block_mask(
        patches(cfg),
        count=cfg.mask.num_mask_patches,
        min_block=cfg.mask.min_mask_patches_per_block,
        is_exact=cfg.mask.exact,
        rng=np.random.default_rng(MASK_SEED),
    )


def table_rows(cfg: Config) -> int:
    """Relative positions, of each of which a head has a bias."""
    return (2 * patches(cfg) - 1) ** 2 + TABLE_OF_CLASS_TOKEN


def _note(picture: Diagram, x: float, y: float, text: str) -> None:
    picture.text(x, y, text, size=13, color=picture.palette.muted)


def _images(picture: Diagram, cfg: Config) -> None:
    picture.text((20 + 316) / 2, 24, "Pre-training", bold=True, size=18)
    picture.text(WHOLE, 24, "Fine-tuning", bold=True, size=18)
    mask, size = hidden(cfg), cfg.model.image_size
    picture.parts.append(f'<defs><g id="photograph">{photograph_paths(IMAGE)}</g></defs>')
    _image(picture, TOKENIZER, None, cuts=1)
    _image(picture, MASKED, mask, cuts=patches(cfg))
    _image(picture, WHOLE, None, cuts=patches(cfg))
    view = tokenizer_size(cfg)
    _note(picture, TOKENIZER, 188, f"{view} × {view} pixels")
    _note(picture, MASKED, 188, f"{mask.sum()} of {mask.size} hidden")
    side = cfg.model.patch_size
    _note(picture, WHOLE, 188, f"{size} × {size}: {mask.size} patches of {side} × {side}")


def _image(picture: Diagram, middle: float, mask: np.ndarray | None, *, cuts: int) -> None:
    """The photograph, cut into patches, some of which may be hidden."""
    left, top, side = middle - IMAGE / 2, 42, IMAGE / cuts
    parts = ['<use href="#photograph"/>']
    if mask is not None:
        color = picture.palette.grid
        parts += [
            f'<rect x="{column * side:g}" y="{row * side:g}" width="{side:g}" height="{side:g}" '
            f'fill="{color}"/>'
            for row, column in zip(*np.nonzero(mask), strict=True)
        ]
    lines = "".join(
        f"M0 {place:g}H{IMAGE}M{place:g} 0V{IMAGE}"
        for place in (round(number * side, 2) for number in range(1, cuts))
    )
    parts.append(f'<path d="{lines}" stroke="{picture.palette.page}" stroke-width="1"/>')
    picture.parts.append(f'<g transform="translate({left:g} {top})">{"".join(parts)}</g>')


def _tokens(picture: Diagram, cfg: Config) -> None:
    width, side = cfg.model.embed_dim, cfg.model.patch_size
    for middle, tone in ((TOKENIZER, "purple"), (MASKED, "blue"), (WHOLE, "blue")):
        picture.arrow((middle, 196), (middle, 220), tone=tone)
    picture.box(20, 220, IMAGE, 70, ["Tokenizer", "DALL-E's, fixed"], tone="purple")
    picture.box(
        190,
        220,
        510,
        50,
        ["Patch embedding", f"{side} × {side} pixels × 3 colours → {width} numbers"],
    )
    picture.arrow((MASKED, 270), (MASKED, 294), tone="blue")
    picture.box(170, 294, 166, 50, ["Mask token", "where it is hidden"], tone="orange")
    picture.arrow((MASKED, 344), (MASKED, 368), tone="blue")
    picture.arrow((WHOLE, 270), (WHOLE, 368), tone="blue")
    tokens = patches(cfg) ** 2 + 1
    picture.box(170, 368, 530, 50, ["Class token in front", f"{tokens} tokens of {width} numbers"])
    picture.arrow((MASKED, 418), (MASKED, 442), tone="blue")
    picture.arrow((WHOLE, 418), (WHOLE, 442), tone="blue")
    picture.arrow((40, 290), (40, 852), tone="purple")
    for number, line in enumerate(
        ("a visual token", "for each patch,", f"1 of {cfg.tokenizer.vocabulary:,}")
    ):
        picture.text(
            52, 312 + 18 * number, line, anchor="start", size=13, color=picture.palette.muted
        )


def _blocks(picture: Diagram, cfg: Config) -> None:
    model = cfg.model
    width, hidden_width = model.embed_dim, int(model.embed_dim * model.mlp_ratio)
    picture.box(64, 442, 636, 262, tone="blue")
    picture.text(382, 466, f"{model.depth} blocks, the same in both", bold=True, size=16)
    rows = (
        (498, "Attention", f"{model.num_heads} heads of {width // model.num_heads}", "γ₁"),
        (596, "MLP", f"{width} → {hidden_width:,} → {width}, GELU", "γ₂"),
    )
    for y, name, size, scale in rows:
        picture.box(96, y, 86, 52, ["Norm"])
        picture.arrow((182, y + 26), (206, y + 26), tone="blue")
        picture.box(206, y, 236, 52, [name, size])
        picture.arrow((442, y + 26), (466, y + 26), tone="blue")
        picture.box(466, y, 100, 52, [f"× {scale}", "layer scale"])
        picture.arrow((566, y + 26), (612, y + 26), tone="blue")
        picture.box(612, y, 66, 52, ["+"])
    picture.arrow((76, 524), (96, 524), tone="blue")
    picture.arrow((84, 524), (84, 484), (645, 484), (645, 498), tone="blue")
    picture.arrow((645, 550), (645, 596), tone="blue")
    picture.arrow((645, 580), (84, 580), (84, 622), (96, 622), tone="blue")
    positions = f"bias of {table_rows(cfg)} relative positions, for each head"
    _note(picture, 312, 568, positions)
    _note(picture, 548, 568, f"γ begins at {model.layer_scale_init_value:g}")
    _note(picture, 382, 674, "Pre-training: one table of relative positions for all blocks;")
    _note(
        picture, 382, 692, "fine-tuning: each block begins with a copy of it, and learns its own."
    )


def _heads(picture: Diagram, before: Config, after: Config) -> None:
    width = after.model.embed_dim
    picture.arrow((MASKED, 704), (MASKED, 732), tone="blue")
    picture.arrow((WHOLE, 704), (WHOLE, 732), tone="blue")
    picture.box(
        110,
        732,
        250,
        90,
        [
            "Norm, linear layer",
            f"{width} → {before.tokenizer.vocabulary:,}",
            "at the hidden patches alone",
        ],
    )
    picture.box(
        400,
        732,
        300,
        90,
        [
            "Mean, norm, linear layer",
            f"of the {patches(after) ** 2} patches' tokens",
            f"{width} → {after.dataset.num_classes:,}",
        ],
    )
    picture.arrow((MASKED, 822), (MASKED, 852), tone="blue")
    picture.arrow((WHOLE, 822), (WHOLE, 852), tone="blue")
    picture.box(20, 852, 340, 52, ["Cross-entropy", "with the visual tokens"], tone="green")
    picture.box(
        400, 852, 300, 52, ["Cross-entropy", "with the classes, smoothed or mixed"], tone="green"
    )
    millions = parameter_count(after.model, num_classes=after.dataset.num_classes) / 1e6
    picture.box(
        20,
        928,
        680,
        66,
        [
            f"{millions:.1f} million parameters in fine-tuning",
            "Patch embedding, class token, blocks, table come from pre-training; the head is new.",
        ],
        dashed=True,
    )
