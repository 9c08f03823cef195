"""Make `official_recipes.csv`, the settings of the official commands, without this project.

    git clone https://github.com/microsoft/unilm && git -C unilm checkout 768a3c8
    pip download --no-deps --no-binary :all: timm==0.3.2 && tar xzf timm-0.3.2.tar.gz
    python tests/golden/make_official_recipes.py unilm timm-0.3.2

Of every experiment: the defaults of the official script, over them the flags of its command in the
document, and what the code then makes of them, each with the line it stands in. Nothing of the
originals is run.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

from official_commands import COMMANDS, Command
from official_files import DIRECT, MEAN_AND_STD, Originals, Row, shared
from official_v2 import pre_training_v2, tokenizer_training

HERE = Path(__file__).resolve().parent


def fine_tuning(files: Originals, command: Command) -> dict[str, Row]:
    flags = files.defaults(command.script) | files.typed(command)
    folder = command.script.partition("/")[0]
    data, utils = f"{folder}/datasets.py", f"{folder}/utils.py"
    factory = "timm/data/transforms_factory.py"
    rows = files.network(flags["model"][0], f"{folder}/modeling_finetune.py")
    rows |= shared(files, command, flags)
    rows["model.rel_pos_bias"] = flags["rel_pos_bias"]
    rows["model.shared_rel_pos_bias"] = files.at(
        f"{folder}/modeling_finetune.py", "use_shared_rel_pos_bias=False", False
    )
    pools, where = flags["use_mean_pooling"]
    rows["model.pooling"] = ("mean" if pools else "cls", where)
    spares, where = flags["disable_weight_decay_on_rel_pos_bias"]
    rows["optimizer.decay_rel_pos_bias"] = (not spares, where)
    classes, where = flags["nb_classes"]
    own = files.at(data, "nb_classes = 1000", 1000)
    rows["dataset.num_classes"] = (classes, where) if classes else own
    rows["dataset.interpolation"] = files.at(data, "Resize(size, interpolation=3)", "bicubic")
    is_small = flags["input_size"][0] < 384
    small = files.at(data, "args.crop_pct = 224 / 256", 224 / 256)
    rows["dataset.crop_pct"] = small if is_small else files.at(data, "args.crop_pct = 1.0", 1.0)
    rows["augment.color_jitter"] = files.at(factory, "elif color_jitter is not None:", 0.0)
    rows["augment.hflip"] = files.at(factory, "hflip=0.5,", 0.5)
    rows["augment.crop_scale"] = files.at(factory, "scale or (0.08, 1.0)", [0.08, 1.0])
    rows["augment.crop_ratio"] = files.at(factory, "ratio or (3./4., 4./3.)", [3 / 4, 4 / 3])
    averages, where = flags["model_ema"]
    rows["train.ema_decay"] = (flags["model_ema_decay"][0] if averages else None, where)
    assert flags["enable_deepspeed"][0]  # every command has it
    rows["optimizer.beta"] = files.at(utils, '"betas": [', [0.9, 0.999])
    rows["optimizer.eps"] = files.at(utils, '"eps": 1e-8', 1e-8)
    # Without "gradient_clipping" DeepSpeed clips nothing, and the engine never uses max_norm
    rows["optimizer.clip_global_norm_value"] = files.at(utils, "def create_ds_config(", None)
    rows["hardware.is_dynamic_loss_scale"] = files.at(utils, '"loss_scale": 0', True)
    rows["hardware.loss_scale"] = files.at(utils, '"initial_scale_power": 7', 2.0**7)
    rows["hardware.loss_scale_window"] = files.at(utils, '"loss_scale_window": 128', 128)
    return rows


def pre_training(files: Originals, command: Command) -> dict[str, Row]:
    flags = files.defaults(command.script) | files.typed(command)
    data, crop = "beit/datasets.py", "beit/transforms.py"
    modelling, engine = "beit/modeling_pretrain.py", "beit/engine_for_pretraining.py"
    rows = files.network(flags["model"][0], modelling) | shared(files, command, flags)
    rows["model.shared_rel_pos_bias"] = flags["rel_pos_bias"]
    rows["model.rel_pos_bias"] = files.at(modelling, "use_rel_pos_bias=False", False)
    rows["tokenizer.vocabulary"] = files.at(modelling, "vocab_size=8192, **kwargs", 8192)
    rows["mask.exact"] = files.at("beit/masking_generator.py", "if delta == 0:", False)
    rows["augment.color_jitter"] = files.at(data, "transforms.ColorJitter(0.4, 0.4, 0.4)", 0.4)
    rows["augment.hflip"] = files.at(data, "RandomHorizontalFlip(p=0.5)", 0.5)
    rows["augment.crop_scale"] = files.at(crop, "scale=(0.08, 1.0)", [0.08, 1.0])
    rows["augment.crop_ratio"] = files.at(crop, "ratio=(3. / 4., 4. / 3.)", [3 / 4, 4 / 3])
    for name, value in (("auto_augment", None), ("re_prob", 0.0), ("mix_up", 0.0), ("cutmix", 0.0)):
        rows[f"augment.{name}"] = files.at(data, "self.common_transform = ", value)
    rows["augment.label_smoothing"] = files.at(engine, "nn.CrossEntropyLoss()", 0.0)
    rows["optimizer.beta"] = flags["opt_betas"]
    rows["optimizer.clip_global_norm_value"] = flags["clip_grad"]
    # No layer of it is given a rate of its own
    rows["optimizer.layer_decay"] = files.at(command.script, "optimizer = create_optimizer(", 1.0)
    rows["optimizer.decay_rel_pos_bias"] = files.at(modelling, "'pos_embed', 'cls_token'", True)
    return rows


def linear_probe(files: Originals, command: Command) -> dict[str, Row]:
    script = command.script
    flags = files.defaults(script) | files.typed(command)
    rows = files.network(flags["model"][0], "beit/modeling_finetune.py")
    rows |= {DIRECT[flag]: row for flag, row in flags.items() if flag in DIRECT}
    rows["model.layer_scale_init_value"] = flags["layer_scale_init_value"]
    rows["model.drop_path_rate"] = files.at(script, "drop_path_rate=0", 0.0)
    devices, batch = flags["nproc_per_node"], flags["batch_size_per_gpu"]
    rows["optimizer.lr_base_size"] = (devices[0] * batch[0], f"{devices[1]}; {batch[1]}")
    for name, value in zip(("mean", "std"), MEAN_AND_STD[False], strict=True):
        rows[f"dataset.{name}"] = (value, flags["imagenet_default_mean_and_std"][1])
    rows["dataset.num_classes"] = flags["num_labels"]
    rows["dataset.crop_pct"] = files.at(script, "Resize(256, interpolation=3)", 224 / 256)
    rows["dataset.interpolation"] = files.at(script, "Resize(256, interpolation=3)", "bicubic")
    crop = "RandomResizedCrop(224)"  # the rest is torchvision's defaults
    rows["augment.interpolation"] = files.at(script, crop, "bilinear")
    rows["augment.crop_scale"] = files.at(script, crop, [0.08, 1.0])
    rows["augment.crop_ratio"] = files.at(script, crop, [3 / 4, 4 / 3])
    rows["augment.hflip"] = files.at(script, "RandomHorizontalFlip()", 0.5)
    for name in ("auto_augment", "re_prob", "color_jitter", "mix_up", "cutmix"):
        value = None if name == "auto_augment" else 0.0
        rows[f"augment.{name}"] = files.at(script, "train_transform = ", value)
    rows["augment.label_smoothing"] = files.at(script, "nn.CrossEntropyLoss()", 0.0)
    rows["optimizer.name"] = files.at(script, "torch.optim.AdamW(", "adamw")
    rows["optimizer.weight_decay"] = files.at(script, "weight_decay=1e-4", 1e-4)
    # The rest is the defaults of torch's AdamW
    for name, value in (("beta", [0.9, 0.999]), ("eps", 1e-8), ("weight_decay_end", None)):
        rows[f"optimizer.{name}"] = files.at(script, "torch.optim.AdamW(", value)
    rows["optimizer.layer_decay"] = files.at(script, "torch.optim.AdamW(", 1.0)
    rows["optimizer.clip_global_norm_value"] = files.at(script, "loss.backward()", None)
    rows["scheduler.name"] = files.at(script, "CosineAnnealingLR(", "cosine_lr")
    rows["scheduler.min_lr"] = files.at(script, "eta_min=0", 0.0)
    rows["scheduler.warmup_length"] = files.at(script, "CosineAnnealingLR(", 0)
    return rows


MAKERS = {
    "run_class_finetuning.py": fine_tuning,
    "run_beit_pretraining.py": pre_training,
    "run_linear_eval.py": linear_probe,
    "run_beitv2_pretraining.py": pre_training_v2,
    "run_vqkd_training.py": tokenizer_training,
}


if __name__ == "__main__":
    originals = Originals(Path(sys.argv[1]), Path(sys.argv[2]))
    with (HERE / "official_recipes.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("experiment", "setting", "value", "source"))
        for experiment, command in COMMANDS.items():
            rows = MAKERS[Path(command.script).name](originals, command)
            for setting, (value, source) in sorted(rows.items()):
                writer.writerow((experiment, setting, json.dumps(value), source))
