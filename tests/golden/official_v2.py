"""What the official commands of BEiT v2's pre-training and of its tokenizer's training make of
their flags.
"""

from __future__ import annotations

from official_commands import Command
from official_files import MEAN_AND_STD, Originals, Row, shared

DATA, CROP, UTILS = "beit2/datasets.py", "beit2/transforms.py", "beit2/utils.py"
NOTHING = (("auto_augment", None), ("re_prob", 0.0), ("mix_up", 0.0), ("cutmix", 0.0))


def pre_training_v2(files: Originals, command: Command) -> dict[str, Row]:
    flags = files.defaults(command.script) | files.typed(command)
    modelling, engine = "beit2/modeling_pretrain.py", "beit2/engine_for_pretraining.py"
    rows = files.network(flags["model"][0], modelling) | shared(files, command, flags)
    rows["model.shared_rel_pos_bias"] = flags["rel_pos_bias"]
    rows["model.rel_pos_bias"] = files.at(modelling, "use_rel_pos_bias=False", False)
    rows |= tokenizer(files, flags, size="codebook_size", width="codebook_dim")
    rows["mask.exact"] = files.at("beit2/masking_generator.py", "maintain a fix number", True)
    rows["mask.early_block"], rows["mask.head_blocks"] = flags["early_layers"], flags["head_layers"]
    rows["mask.shared_lm_head"] = flags["shared_lm_head"]
    rows["augment.color_jitter"] = files.at(DATA, "ColorJitter(0.4, 0.4, 0.4)", 0.4)
    rows["augment.hflip"] = files.at(DATA, "RandomHorizontalFlip(p=0.5)", 0.5)
    rows["augment.crop_ratio"] = files.at(CROP, "ratio=(3. / 4., 4. / 3.)", [3 / 4, 4 / 3])
    for name, value in NOTHING:
        rows[f"augment.{name}"] = files.at(DATA, "self.common_transform = ", value)
    rows["augment.label_smoothing"] = files.at(engine, "nn.CrossEntropyLoss()", 0.0)
    rows |= training(files, command, flags)
    rows["optimizer.decay_rel_pos_bias"] = files.at(modelling, "'pos_embed', 'cls_token'", True)
    return rows


def tokenizer_training(files: Originals, command: Command) -> dict[str, Row]:
    flags = files.defaults(command.script) | files.typed(command)
    modelling, script = "beit2/modeling_vqkd.py", command.script
    rows = shared(files, command, flags | {"layer_scale_init_value": (None, "")})
    del rows["model.layer_scale_init_value"]
    for name, value in zip(("mean", "std"), MEAN_AND_STD[False], strict=True):
        rows[f"dataset.{name}"] = (value, flags["process_type"][1])  # as `pre_process` has it
    rows["model.patch_size"] = files.at(modelling, "img_size=224, patch_size=16", 16)
    rows |= tokenizer(files, flags, size="codebook_n_emd", width="codebook_emd_dim")
    rows["tokenizer.interpolation"] = flags["train_interpolation"]
    rows["tokenizer.code_decay"] = flags["ema_decay"]
    rows["tokenizer.commitment"] = files.at(modelling, "beta=1.0, kmeans_init", 1.0)
    rows["dataset.interpolation"] = flags["train_interpolation"]
    rows["dataset.crop_pct"] = files.at(DATA, "args.crop_pct = 224 / 256", 224 / 256)
    flip = "RandomHorizontalFlip(0.5)"
    rows["augment.color_jitter"] = flags["color_jitter"]
    rows["augment.hflip"] = files.at(DATA, flip, 0.5)
    rows["augment.crop_ratio"] = files.at(DATA, "RandomResizedCrop(args.input_size", [3 / 4, 4 / 3])
    for name, value in (*NOTHING, ("label_smoothing", 0.0)):
        rows[f"augment.{name}"] = files.at(DATA, flip, value)
    rows |= training(files, command, flags)
    rate, where = flags["lr"]
    scaled, line = files.at(script, "args.lr = total_batch_size / 128 * args.lr", rate)
    rows["optimizer.base_lr"] = (scaled * rows["optimizer.lr_base_size"][0] / 128, line)
    assert where  # of the flag; the line above scales it
    rows["hardware.is_dynamic_loss_scale"] = files.at(script, "loss_scaler = NativeScaler()", True)
    return rows


def tokenizer(files: Originals, flags: dict[str, Row], *, size: str, width: str) -> dict[str, Row]:
    """The shape of the tokenizer whose name a flag says, `vqkd_encoder_base_decoder_3x768x12_clip`:
    the decoder's depth, width and heads; the encoder's are those of the defaults.
    """
    name, where = flags["tokenizer_model" if "tokenizer_model" in flags else "model"]
    depth, embed_dim, heads = map(int, name.split("_")[4].split("x"))
    own = "beit2/modeling_vqkd.py"
    return {
        "tokenizer.vocabulary": flags[size],
        "tokenizer.code_width": flags[width],
        "tokenizer.decoder_depth": (depth, where),
        "tokenizer.embed_dim": (embed_dim, where),
        "tokenizer.num_heads": (heads, where),
        "tokenizer.depth": files.at(own, "embed_dim=768, depth=12, num_heads=12", 12),
    }


def training(files: Originals, command: Command, flags: dict[str, Row]) -> dict[str, Row]:
    """The crop, and what the optimizer is given."""
    least, where = flags["min_crop_scale"]
    return {
        "augment.crop_scale": ([least, 1.0], where),
        "optimizer.beta": flags["opt_betas"],
        "optimizer.clip_global_norm_value": flags["clip_grad"],
        # No layer of it is given a rate of its own
        "optimizer.layer_decay": files.at(command.script, "optimizer = create_optimizer(", 1.0),
    }
