"""Commands with wrong settings: case -> (words, what the message must say)."""

from __future__ import annotations

from settings import GOLDEN, OFFICIAL

WRONG_SETTINGS = {
    "unknown key": (
        ("optimizer.lrr=1",),
        "optimizer.lrr: there is no such setting. Did you mean optimizer.base_lr?",
    ),
    "key of another group": (
        ("train.base_lr=1",),
        "train.base_lr: there is no such setting. Did you mean optimizer.base_lr?",
    ),
    "unknown top-level key": (("modle=x",), "modle: there is no such setting. Did you mean model?"),
    "unknown option": (
        ("optimizer=adamx",),
        "optimizer = 'adamx': must be one of adam_weight_decay, adamw, momentum. Did",
    ),
    "unknown experiment": (
        ("experiment=imagenet_bse",),
        "vqkd_base. Did you mean imagenet_base?",
    ),
    "wrong type": (("seed=abc",), "seed = 'abc': must be a whole number >= 0"),
    "fraction for a count": (
        ("train.epochs=1.5",),
        "train.epochs = 1.5: must be a whole number > 0",
    ),
    "not a number": (("optimizer.base_lr=nan",), "optimizer.base_lr = nan: must be a number > 0"),
    "out of range": (
        ("optimizer.layer_decay=1.2",),
        "optimizer.layer_decay = 1.2: must be a number > 0 and <= 1",
    ),
    "unknown choice": (("model.pooling=max",), "model.pooling = 'max': must be one of mean, cls"),
    "unknown task": (
        ("task=finetun",),
        "must be one of finetune, pretrain, train_tokenizer, evaluate, predict, explain, features, "
        "probe, export, soup, check_data, benchmark. Did you mean finetune?",
    ),
    "text for a list": (
        ("dataset.mean=0.5",),
        "dataset.mean = 0.5: must be a list of 3, each a number",
    ),
    "null where a value is needed": (
        ("model.depth=null",),
        "model.depth = null: must be a whole number > 0",
    ),
    "impossible pair": (
        ("model.image_size=30",),
        "model.image_size = 30: must be a multiple of model.patch_size",
    ),
    "warm-up too long": (("scheduler.warmup_length=99",), "scheduler.warmup_length = 99: plus"),
    "half precision of a card on a CPU": (
        ("hardware=cpu", "hardware.half=bfloat16"),
        "hardware.half = 'bfloat16': must be float16 but for hardware.device_target=ascend",
    ),
    "fusing on a CPU": (
        ("hardware=cpu", "hardware.jit_level=O1"),
        "hardware.jit_level = 'O1': must be auto but for hardware.device_target=ascend",
    ),
    "scale without half precision": (
        ("hardware.loss_scale=1024",),
        "hardware.loss_scale = 1024: must be 1 at",
    ),
    "odd batch with mixup": (
        ("augment.mix_up=1", "train.batch_size=7"),
        "train.batch_size = 7: must be even",
    ),
    "weight decay that ends and never was": (
        ("optimizer.weight_decay=0", "optimizer.weight_decay_end=0.1"),
        "optimizer.weight_decay_end = 0.1: must be null where optimizer.weight_decay is 0",
    ),
    "policy": (
        ("augment.auto_augment=rand-m99",),
        "augment.auto_augment = 'rand-m99': m is out of range",
    ),
    "value to be given": (
        ("dataset=image_folder", "dataset.num_classes=2"),
        "dataset.data_url is not set",
    ),
    "missing folder": (
        ("experiment=imagenet_base",),
        "the folder ../data/imagenet is missing",
    ),
    "missing checkpoint": (
        ("task=evaluate", "checkpoint=nowhere"),
        "checkpoint = 'nowhere': there is no such file",
    ),
    "missing weights": (
        ("model.pretrained=no.pth",),
        "model.pretrained = 'no.pth': there is no such file",
    ),
    "missing images": (
        ("task=predict", f"checkpoint={GOLDEN}", "images=none"),
        "images = 'none': there is no such folder",
    ),
    "checkpoint while training": (("checkpoint=x",), "and be null for any other"),
    "unknown mode": (("augment.mixup_mode=half",), "must be one of batch, pair, elem"),
    "unknown schedule": (
        ("scheduler.name=cosine",),
        "must be one of cosine_lr, constant_lr, exponential_lr, multistep_lr",
    ),
    "falling milestones": (
        ("scheduler.milestones=[9,3]",),
        "scheduler.milestones = [9, 3]: must rise",
    ),
    "crop beyond the image": (
        ("augment.crop_scale=[0.5,2]",),
        "augment.crop_scale = [0.5, 2]: must be two shares",
    ),
    "box without cutmix": (("augment.cutmix_minmax=[0.1,0.2]",), "and needs augment.cutmix > 0"),
    "nodes that nobody started": (
        ("hardware.node_num=2",),
        "hardware.node_num = 2: must be 1, the nodes that the environment names, or null",
    ),
    "no time to meet": (
        ("hardware.cluster_timeout_s=0",),
        "hardware.cluster_timeout_s = 0: must be",
    ),
    "nothing gained": (
        ("train.recompute=true",),
        "train.recompute = true: must be false but for hardware.device_target",
    ),
    "copies to a web page": (("train.checkpoint_url=http://x",), "must begin with s3:// or obs://"),
    "change of no setting": (
        ("allow_changes=[epochs]",),
        "allow_changes = ['epochs']: must be full names of settings",
    ),
    "no layer scale": (("model.layer_scale_init_value=0",), "must be a number > 0 or null"),
    "heads": (
        ("model.num_heads=3",),
        "model.embed_dim = 128: must be a multiple of model.num_heads",
    ),
    "two kinds of tables": (("model.shared_rel_pos_bias=true",), "one of the two may be true"),
    "lowest rate above the peak": (
        ("scheduler.min_lr=1",),
        "scheduler.min_lr = 1: must be at most optimizer.base_lr",
    ),
    "objective": (
        ("objective=val/acc",),
        "must be one of val/top1, val/top5, val/loss, val/balanced_accuracy, val/macro_f1, ",
    ),
    "weights of another number of classes": (
        ("train.class_weights=[1,2]",),
        "train.class_weights = [1, 2]: must be one weight for each of dataset.num_classes classes",
    ),
    "balanced without classes": (
        ("experiment=pretrain_digits", "train.sampling=balanced"),
        "train.sampling = 'balanced': must be uniform for task=pretrain",
    ),
    "focal loss without classes": (
        ("experiment=pretrain_digits", "train.focal_gamma=2"),
        "train.focal_gamma = 2: must be 0 for task=pretrain",
    ),
    "weights without classes": (
        ("experiment=pretrain_digits", "train.class_weights=balanced"),
        "train.class_weights = 'balanced': must be null for task=pretrain",
    ),
    "balanced twice": (
        ("train.sampling=balanced", "train.class_weights=balanced"),
        "train.class_weights = 'balanced': must be null or a list where train.sampling is balanced",
    ),
    "balanced in a fixed order": (
        ("train.sampling=balanced", "train.shuffle=false"),
        "train.shuffle = false: must be true where train.sampling is balanced",
    ),
    "accuracy without labels": (
        ("experiment=pretrain_digits", "objective=val/top1"),
        "objective = 'val/top1': must be one that the task measures",
    ),
    "masked accuracy with labels": (
        ("objective=val/masked_accuracy",),
        "must be one that the task measures",
    ),
    "all hidden": (
        ("experiment=pretrain_digits", "mask.num_mask_patches=64"),
        "mask.num_mask_patches = 64: must be less than the number of patches",
    ),
    "the class token's blocks without pre-training": (
        ("mask.early_block=2", "mask.head_blocks=2"),
        "mask.early_block = 2: must be null for task=finetune and task=benchmark",
    ),
    "the class token's blocks after the last": (
        ("experiment=pretrain_digits", "mask.early_block=7", "mask.head_blocks=2"),
        "mask.early_block = 7: must be at most model.depth",
    ),
    "the class token's blocks, uncounted": (
        ("experiment=pretrain_digits", "mask.early_block=2"),
        "mask.head_blocks = null: must be null where mask.early_block is, and a number where",
    ),
    "the class token's blocks from nowhere": (
        ("experiment=pretrain_digits", "mask.head_blocks=2"),
        "mask.head_blocks = 2: must be null where mask.early_block is",
    ),
    "a head of no blocks": (
        ("experiment=pretrain_digits", "mask.shared_lm_head=false"),
        "mask.shared_lm_head = false: must be true unless mask.early_block adds blocks",
    ),
    "mixup without labels": (
        ("experiment=pretrain_digits", "augment.mix_up=0.8"),
        "augment.mix_up = 0.8: must be 0 for task=pretrain and task=train_tokenizer",
    ),
    "two warm-ups": (
        ("scheduler.warmup_steps=10", "scheduler.warmup_length=1"),
        "scheduler.warmup_steps = 10: must be null unless",
    ),
    "colours changed twice": (
        ("augment.color_jitter=0.4", "augment.auto_augment=rand-m9"),
        "augment.color_jitter = 0.4: must be 0 while augment.auto_augment is set",
    ),
    "frozen pre-training": (
        ("experiment=pretrain_digits", "train.freeze=backbone"),
        "train.freeze = 'backbone': must be null for task=pretrain",
    ),
    "average of nothing": (
        ("train.ema_decay=1.0",),
        "train.ema_decay = 1.0: must be a number > 0 and < 1 or null",
    ),
    "no spread": (("dataset.std=[0,1,1]",), "dataset.std.0 = 0: must be a number > 0"),
    "Ascend's format on a CPU": (
        ("task=export", f"checkpoint={GOLDEN}", "export.formats=[air]", "hardware=cpu"),
        "export.formats = ['air']: must not hold air for hardware.device_target=cpu",
    ),
    "unknown kind of soup": (("soup.kind=best",), "must be one of greedy, uniform"),
    "a folder without checkpoints": (
        ("task=evaluate", f"checkpoint={GOLDEN}"),
        "golden holds no checkpoint (looked for checkpoints/step_*.safetensors)",
    ),
    "soup of nothing": (("task=soup",), "a run's or a sweep's directory for task=soup"),
    "soup of a file": (
        ("task=soup", f"checkpoint={OFFICIAL}"),
        "must be the directory of a run or of a sweep, on this machine, for task=soup",
    ),
    "soup of a folder without runs": (
        ("task=soup", f"checkpoint={GOLDEN}"),
        "golden is neither a run directory",
    ),
    "soup by another measure": (
        ("task=soup", f"checkpoint={OFFICIAL}", "objective=val/masked_accuracy"),
        "objective = 'val/masked_accuracy': must be one that the task measures",
    ),
    "soup on several devices": (
        ("task=soup", f"checkpoint={OFFICIAL}", "hardware.device_num=2"),
        "hardware.device_num = 2: must be 1 but for tasks that train",
    ),
    "a comparison of the update, which has no images": (
        ("task=benchmark", "benchmark.parts=[update]", "benchmark.against='python other.py'"),
        "benchmark.against = 'python other.py': must be null but for task=benchmark on one device",
    ),
    "mirror images in training": (
        ("evaluation.flip=true",),
        "evaluation.flip = true: must be false but for",
    ),
    "unknown hardware": (
        ("hardware=tpu",),
        "hardware = 'tpu': must be one of ascend, ascend_8p, auto, cpu",
    ),
    "processes for one folder": (
        ("task=predict", f"checkpoint={GOLDEN}", "hardware.device_num=2"),
        "hardware.device_num = 2: must be 1 but for tasks that train, task=evaluate, "
        "task=features, task=probe and task=benchmark",
    ),
}
