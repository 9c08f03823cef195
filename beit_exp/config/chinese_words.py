"""English message -> Chinese, with the same gaps in both."""

from __future__ import annotations

MESSAGES = {  # the longer ones first, where one is the beginning of another
    # --help
    "usage: {program} [group=option] [setting=value] [flags]": (
        "用法：{program} [分组=选项] [设置=值] [标志]（中文说明见 README_CN.md）"
    ),
    "# the quickstart, with one setting changed": "# 快速开始，改动一个设置",
    "# your own images, a folder for each class": "# 自己的图片，每类一个文件夹",
    "# a recipe on your own ImageNet": "# 在自己的 ImageNet 上使用一个配方",
    "# a sweep of two choices and two values": "# 参数扫描：两个选项，两个取值",
    # Settings
    "1 setting is wrong:": "1 个设置有误：",
    "{count} settings are wrong:": "{count} 个设置有误：",
    "{key}: there is no such setting. Did you mean {near}?": (
        "{key}：没有这个设置。是否想写 {near}？"
    ),
    "{key}: there is no such setting.": "{key}：没有这个设置；--help 列出各分组与设置",
    "{key} is not set: it must be {law}": "{key} 未设置：{law}",
    "{word} is no override: it must be key=value": "{word} 不是设置：须写成 键=值",
    "{word} is no override: {why}": "{word} 不是设置：Hydra 读不懂，请给值加引号",
    "{word}: the setting is there already, so without the plus: {right}": (
        "{word}：这个设置已经存在，不要加号：{right}"
    ),
    "{word}: several values are a sweep, which needs -m; as a list it is {listed}, as one text "
    "{text}": "{word}：多个值是参数扫描，须加 -m；若是列表，写 {listed}；若是一个文本，写 {text}",
    "{word}: several values are a sweep, which needs -m": "{word}：多个值是参数扫描，须加 -m",
    "{key} = {value}: matches no option": "{key} = {value}：没有匹配的选项",
    "{what} needs another package: {install}": "{what} 需要另一个软件包：{install}",
    "--config-dir={folder}: there is no such folder": "--config-dir={folder}：没有这个文件夹",
    # Data
    "dataset.data_url = {place}: the folder {folder} is missing. It must hold {what}To try the "
    "project without it, run the quickstart: {command}": (
        "dataset.data_url = {place}：缺少文件夹 {folder}。须有 train/<类别>/* 与 val/<类别>/*，"
        "每类一个文件夹，或同名的 tar，或分片。没有 val/、或类别文件夹直接放在 data_url 之下时，"
        "用 dataset.val_fraction=0.2 留出验证集。想先试用，可运行快速开始：{command}"
    ),
    "dataset.data_url = {place}: both {folder} and {archive} are there; remove one": (
        "dataset.data_url = {place}：{folder} 与 {archive} 同时存在，请去掉一个"
    ),
    "dataset.data_url = {place}: {split} and {other} must hold the same classes; only one of them "
    "has {classes}": (
        "dataset.data_url = {place}：{split} 与 {other} 的类别须相同；只有一边有 {classes}"
    ),
    "dataset.data_url = {place}: {folder} holds {count} class folders{named}; there must be one "
    "for each class, two at the least": (
        "dataset.data_url = {place}：{folder} 中有 {count} 个类别文件夹；每类须有一个，至少两个"
    ),
    "dataset.data_url = {place}: {folder} holds {count} class folders; there must be one for each "
    "class, two at the least": (
        "dataset.data_url = {place}：{folder} 中有 {count} 个类别文件夹；每类须有一个，至少两个"
    ),
    "dataset.num_classes = {classes}: {folder} holds {count} class folders. "
    "dataset.num_classes=auto counts them": (
        "dataset.num_classes = {classes}：{folder} 中有 {count} 个类别文件夹。"
        "dataset.num_classes=auto 会自动计数"
    ),
    "dataset.num_classes = {classes}: {folder} holds {count} class folders. It must hold the same "
    "as train/": (
        "dataset.num_classes = {classes}：{folder} 中有 {count} 个类别文件夹，须与 train/ 相同"
    ),
    "dataset.{name} = {value}: {place} is there, too. Say dataset.{_} to use it, or remove it": (
        "dataset.{name} = {value}：{place} 已经存在。去掉这个设置就使用它，否则请移走它"
    ),
    "dataset.labels = {file}: there is no such file": "dataset.labels = {file}：没有这个文件",
    "dataset.labels = {file}: that is a folder": (
        "dataset.labels = {file}：这是文件夹，须为 CSV 文件"
    ),
    "the class folder {folder} holds no image ({endings}): put some in, or remove it": (
        "类别文件夹 {folder} 中没有图片（{endings}）：请放入图片，或删除它"
    ),
    "train.batch_size = {size}: the {count} training images make no full step of {step} images "
    "(batch_size x devices x accumulate_steps). Take a smaller train.batch_size": (
        "train.batch_size = {size}：{count} 张训练图片不足一步所需的 {step} 张"
        "（批大小 x 设备数 x 累积步数），请减小 train.batch_size"
    ),
    "{file} cannot be read as an image: {why}": (
        "图片 {file} 读不出：{why}。dataset.bad_images=replace 可用下一张代替训练图片"
    ),
    "images = {place}: there is no such folder or file": "images = {place}：没有这个文件夹或文件",
    "images = {place}: the folder holds no image ({endings})": (
        "images = {place}：文件夹中没有图片（{endings}）"
    ),
    # Weights and runs
    "{key} = {place}: there is no such file or run directory": (
        "{key} = {place}：没有这个文件或运行目录"
    ),
    "{place} is missing: neither a run directory nor a weights file": (
        "{place} 不存在：须为运行目录或权重文件"
    ),
    "{place} holds no checkpoint (looked for checkpoints/step_*.safetensors)": (
        "{place} 中没有检查点（checkpoints/step_*.safetensors）"
    ),
    "{file} does not fit the network: {what}. With these settings it would: {settings}": (
        "权重 {file} 与网络不符。使用这些设置即可相符：{settings}"
    ),
    "{file} does not fit the network: {what}": (
        "权重 {file} 与网络不符；model=auto 使用权重本身的网络"
    ),
    "{place} holds another run; it can be resumed with its own settings alone:": (
        "{place} 中已有另一次运行，只能用它自己的设置继续："
    ),
    "{place} holds another run, of other weights or another task; it can be resumed with its own "
    "settings alone:": "{place} 中已有另一次运行（权重或任务不同），只能用它自己的设置继续：",
    "To resume it as it is: {command}": "按原来的设置继续：{command}",
    "To change them all the same: {command}": "仍要改变设置：{command}",
    "To begin another: choose another hydra.run.dir": "另开始一次运行：换一个 hydra.run.dir",
    "another process is at work in {place}: wait for its end, or choose another hydra.run.dir": (
        "另一个进程正在 {place} 中运行：请等它结束，或换一个 hydra.run.dir"
    ),
    "{place} cannot be written: {why}. Mend that, or choose another hydra.run.dir": (
        "{place} 无法写入（{why}）：请检查权限与磁盘空间，或换一个 hydra.run.dir"
    ),
    # Device and training
    "hardware.device_target = {device}: MindSpore {version} finds no such device here. "
    "hardware=cpu runs anywhere; hardware=ascend needs CANN and an Ascend card ({why})": (
        "hardware.device_target = {device}：MindSpore {version} 在此找不到这种设备。"
        "hardware=cpu 处处可用；hardware=ascend 需要 CANN 与昇腾卡"
    ),
    "the disk is full ({why}); free some space, then: {command}": (
        "磁盘已满：请清出空间，然后运行：{command}"
    ),
    "there is not enough memory ({why}); free some memory, or take a smaller train.batch_size, "
    "then: {command}": "内存不足：请释放内存或减小 train.batch_size，然后运行：{command}",
    "training has diverged: {what}. The last good checkpoint is {place}. A lower {advice}": (
        "训练已发散。最后一个好的检查点是 {place}。可减小 optimizer.base_lr（学习率）、"
        "加长 scheduler.warmup_length（预热）或减小 optimizer.clip_global_norm_value（梯度裁剪）"
    ),
    "stopped by a signal; to go on: {command}": "收到信号而停止；继续运行：{command}",
}

LAWS = {
    "must be {off} for dataset.name=digits, which brings its splits": (
        "dataset.name=digits 自带划分，此时须为 {off}"
    ),
    "must be {off} for dataset.name=digits": "dataset.name=digits 时须为 {off}",
    "must be a multiple of {other}": "须为 {other} 的整数倍",
    "must be at most {other}": "不得大于 {other}",
    "must be less than {other}: they are counted from 0": "须小于 {other}：从 0 数起",
    "must rise": "须从小到大",
    "must rise, and hold at least one epoch for scheduler.name=multistep_lr": (
        "须从小到大；scheduler.name=multistep_lr 时至少有一个轮次"
    ),
    "must be null or less than the number of evaluations: no training could end by it": (
        "须为 null 或小于评估次数，否则不起作用"
    ),
    "plus {other} must be less than {limit}": "与 {other} 之和须小于 {limit}",
    "one of the two may be true: a table per block or one shared by all blocks": (
        "两者只能有一个为 true：每层一个相对位置表，或各层共享一个"
    ),
    "must be even while augment.mix_up or augment.cutmix is above 0: images are mixed in pairs": (
        "augment.mix_up 或 augment.cutmix 大于 0 时须为偶数：图片成对混合"
    ),
    "must be {off} at hardware.amp_level=O0: float32 gradients need no scale": (
        "hardware.amp_level=O0（无混合精度）时须为 {off}：float32 的梯度不需要缩放"
    ),
    "must be {off} but for hardware.device_target=ascend: {why}": (
        "hardware.device_target 不是 ascend 时须为 {off}"
    ),
    "must name a run directory or a weights file for task=evaluate, {tasks}": (
        "task=evaluate、predict、explain、features、probe、export 时须为运行目录或权重文件，"
        "task=soup 时须为运行或扫描的目录，其他任务须为 null"
        "（task=finetune 从 model.pretrained 开始）"
    ),
    "must be 1 but for tasks that train, {tasks}": "这个任务只用一个设备，须为 1",
    "must be {off} for task=pretrain and task=train_tokenizer{why}": (
        "task=pretrain 与 task=train_tokenizer 时须为 {off}"
    ),
    "must be {off} for task=pretrain and task=train_tokenizer": (
        "task=pretrain 与 task=train_tokenizer 时须为 {off}"
    ),
    "must be one weight for each of dataset.num_classes classes, in their sorted order": (
        "须为每个类别一个权重，按类别名排序，共 dataset.num_classes 个"
    ),
    "must be null or a list where train.sampling is balanced, {why}": (
        "train.sampling=balanced 时须为 null 或列表"
    ),
    "must be true where train.sampling is balanced, which draws at random": (
        "train.sampling=balanced 时须为 true"
    ),
    "must be null unless scheduler.warmup_length is null or 0: {why}": (
        "预热按步数或按轮数给出，只能二选一：scheduler.warmup_length 不为 0 时须为 null"
    ),
    "must be 0 while augment.auto_augment is set, which changes colours itself": (
        "设了 augment.auto_augment 时须为 0：它自己会改变颜色"
    ),
    "must be one that the task measures: {names}": "须为这个任务会测量的指标，见英文",
    "must be false unless dataset.labels names a table: a class folder is one label": (
        "须为 false，除非 dataset.labels 给出标签表：一个类别文件夹就是一个标签"
    ),
    "must be one of {names} with dataset.multi_label=true": (
        "dataset.multi_label=true 时须为以下之一：{names}"
    ),
    "must be {off} where dataset.val_labels names {what}": (
        "已由 dataset.val_labels 给出 val/ 的类别，此时须为 {off}"
    ),
    "must be val but for task=evaluate": "task=evaluate 之外须为 val",
    "must be {off} but for task=evaluate and task=predict": (
        "task=evaluate 与 task=predict 之外须为 {off}"
    ),
    "belongs to task=predict, task=explain and task=features": (
        "只用于 task=predict、task=explain 与 task=features"
    ),
    "must be less than the number of patches, (model.image_size / model.patch_size)²": (
        "（掩码图像块的数目）须小于图像块总数 (model.image_size / model.patch_size)²"
    ),
    "must name the weights of a tokenizer for task=pretrain {where}, unless tokenizer.training "
    "says how to train one first": (
        "task=pretrain 须给出视觉词元编码器的权重，或用 tokenizer.training 说明如何先训练一个"
    ),
    "must be 1 for task=train_tokenizer, all of whose layers learn at one rate": (
        "task=train_tokenizer 各层学习率相同，没有层衰减，须为 1"
    ),
    "must hold no password, for settings are kept and shown. {where}": (
        "不得含有密码：设置会被保存与显示。密码由英文所列的环境变量给出"
    ),
}

OTHER_LAW = "这个值不合要求，或与其他设置不相容；允许的取值见上一行英文"

TYPES = {  # in this order
    "true or false": "true 或 false",
    "a whole number": "整数",
    "a number": "数值",
    "a list of at least ": "列表，项数至少 ",
    "a list of ": "列表，项数 ",
    "a list, each ": "列表，每项为 ",
    ", each ": "，每项为 ",
    "one of ": "以下之一：",
    "a mapping": "映射（键: 值）",
    "a group of settings": "一组设置",
    "text": "文本",
    " and ": " 且 ",
    " or ": " 或 ",
}
