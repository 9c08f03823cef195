"""Make `recipe.json`, `recipe_init.safetensors` and `predict_logits.npz` with torch and timm,
without this project.

    python tests/golden/make_recipe.py DIGITS_FOLDER

DIGITS_FOLDER is what `python launch.py` writes to data/digits. Two epochs of the quickstart's
network on its images in sorted order, without augmentation: timm's BEiT, its layer-decay groups,
torch's AdamW, the official cosine table.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.loss import LabelSmoothingCrossEntropy
from timm.models.beit import Beit

HERE = Path(__file__).resolve().parent
EPOCHS, BATCH, BASE_LR, MIN_LR, LAYER_DECAY, WEIGHT_DECAY, CLIP, SMOOTHING = (
    2,
    64,
    2e-3,
    1e-6,
    0.75,
    0.05,
    5.0,
    0.1,
)
OVERRIDES = [
    "augment=none",
    f"augment.label_smoothing={SMOOTHING}",
    "train.shuffle=false",
    f"train.epochs={EPOCHS}",
    f"train.batch_size={BATCH}",
    "train.log_every_steps=1",
    "scheduler.warmup_length=1",
    f"scheduler.min_lr={MIN_LR}",
    f"optimizer.base_lr={BASE_LR}",
    f"optimizer.layer_decay={LAYER_DECAY}",
    f"optimizer.weight_decay={WEIGHT_DECAY}",
    f"optimizer.clip_global_norm_value={CLIP}",
]


def load(path: Path) -> torch.Tensor:
    image = Image.open(path).convert("RGB").resize((32, 32), Image.Resampling.BICUBIC)
    return (torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255 - 0.5) / 0.5


def read(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    paths = sorted(folder.glob("*/*.png"))
    return torch.stack([load(path) for path in paths]), torch.tensor(
        [int(path.parent.name) for path in paths]
    )


def groups(model: Beit) -> list[dict]:
    """unilm/beit optim_factory.py: 1 for the head's layer, one factor more for each layer below."""
    depth = len(model.blocks)
    made = []
    for name, parameter in model.named_parameters():
        if name in ("cls_token", "pos_embed") or name.startswith("patch_embed"):
            layer = 0
        else:
            layer = int(name.split(".")[1]) + 1 if name.startswith("blocks") else depth + 1
        is_exempt = (
            parameter.ndim <= 1 or name.endswith(".bias") or name in ("cls_token", "pos_embed")
        )
        scale = LAYER_DECAY ** (depth + 1 - layer)
        made.append(
            {
                "params": [parameter],
                "scale": scale,
                "weight_decay": 0.0 if is_exempt else WEIGHT_DECAY,
            }
        )
    return made


def make_recipe(digits: Path) -> None:
    torch.manual_seed(0)
    model = Beit(
        img_size=32,
        patch_size=8,
        embed_dim=128,
        depth=4,
        num_heads=4,
        num_classes=10,
        use_abs_pos_emb=True,
        use_rel_pos_bias=True,
        init_values=0.1,
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("relative_position_bias_table"):
                parameter.normal_(std=0.02)
    model.train()
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, HERE / "recipe_init.safetensors")
    images, labels = read(digits / "train")
    steps = len(images) // BATCH
    warmup = np.linspace(0, BASE_LR, steps)
    rest = np.arange((EPOCHS - 1) * steps)
    cosine = [
        MIN_LR + 0.5 * (BASE_LR - MIN_LR) * (1 + math.cos(math.pi * t / len(rest))) for t in rest
    ]
    optimizer = torch.optim.AdamW(groups(model), lr=BASE_LR, betas=(0.9, 0.999), eps=1e-8)
    loss_of = LabelSmoothingCrossEntropy(SMOOTHING)
    losses = []
    for number, lr in enumerate([*warmup, *cosine]):
        for group in optimizer.param_groups:
            group["lr"] = lr * group["scale"]
        at = number % steps * BATCH
        loss = loss_of(model(images[at : at + BATCH]), labels[at : at + BATCH])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    images, labels = read(digits / "val")
    with torch.no_grad():
        top1 = 100 * (model(images).argmax(1) == labels).float().mean().item()
    made_by = f"torch {torch.__version__}, timm {timm.__version__}"
    record = {"made_by": made_by, "overrides": OVERRIDES, "losses": losses, "val_top1": top1}
    (HERE / "recipe.json").write_text(json.dumps(record, indent=1) + "\n")


def make_predictions() -> None:
    """Logits of the small reference model for the four photographs, through the evaluation
    transform.
    """
    golden = json.loads((HERE / "model" / "rel_pos" / "config.json").read_text())
    model = Beit(**golden)
    state = torch.load(HERE / "model" / "rel_pos" / "official.pth", weights_only=True)["model"]
    model.load_state_dict(state, strict=False)
    model.eval()
    size = golden["img_size"]
    names, rows = [], []
    for path in sorted((HERE / "eval").glob("*.jpg")):
        image = Image.open(path).convert("RGB")
        short = int(size / 0.875)
        width, height = image.size
        scaled = (
            (short, int(short * height / width))
            if width <= height
            else (int(short * width / height), short)
        )
        image = image.resize(scaled, Image.Resampling.BICUBIC)
        left, top = round((scaled[0] - size) / 2), round((scaled[1] - size) / 2)
        pixels = np.array(image.crop((left, top, left + size, top + size)))
        tensor = (torch.from_numpy(pixels).permute(2, 0, 1).float() / 255 - 0.5) / 0.5
        with torch.no_grad():
            rows.append(model(tensor[None])[0].numpy())
        names.append(path.name)
    np.savez(HERE / "predict_logits.npz", names=np.array(names), logits=np.stack(rows))


if __name__ == "__main__":
    make_recipe(Path(sys.argv[1]))
    make_predictions()
