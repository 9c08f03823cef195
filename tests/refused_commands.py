"""Commands with a wrong word, and the wrong sweeps: case -> (words, what the message must say)."""

from __future__ import annotations

WRONG_WORDS = {
    "malformed override": (
        ("optimizer.beta=[0.9",),
        "optimizer.beta=[0.9 is no override: no viable",
    ),
    "a word alone": (("finetune",), "finetune is no override: it must be key=value"),
    "password of a database": (
        ("tracking.uri=postgresql://me:pa55@host/db",),
        "tracking.uri = 'postgresql://me:***@host/db': must hold no password",
    ),
    "password in a sweep": (
        ("-m", "train.checkpoint_url=s3://a,s3://key:pa55@b"),
        "train.checkpoint_url = 's3://key:***@b': must hold no password",
    ),
    "password in a tag": (
        ("tracking.tags={source: 'https://me:pa55@host'}",),
        "tracking.tags.source = 'https://me:***@host': must hold no password",
    ),
    "password of a search's store": (
        ("sweep=optuna", "hydra.sweeper.storage=mysql+pymysql://me:pa55@host/db"),
        "hydra.sweeper.storage=mysql+pymysql://me:***@host/db: must hold no password. Name a "
        "variable of the environment that holds all of it: 'hydra.sweeper.storage=${oc.env:NAME}'",
    ),
    "password in a malformed override": (
        ("tracking.uri=postgresql://me:pa55{[@host/db",),
        "tracking.uri=postgresql://me:***@host/db is no override: quote it",
    ),
    "password in an unknown key": (
        ("trackin.uri=https://me:pa55@host",),
        "trackin.uri: there is no such setting. Did you mean tracking.uri?",
    ),
    "no hint that misleads": (
        ("train.gradient_noise=1",),
        "train.gradient_noise: there is no such setting.\n",
    ),
    "deletion of nothing": (("~trian.epochs",), "Did you mean train.epochs?"),
    "deletion of a setting": (("~train.epochs",), "train.epochs is not set: it must be a whole"),
    "addition of what is there": (
        ("+train.epochs=3",),
        "the setting is there already, so without the plus: train.epochs=3",
    ),
    "no option": (("optimizer=null",), "optimizer = 'null': must be one of adam_weight_decay"),
    "unknown key in a mapping": (
        ("train={epochz: 3}",),
        "train.epochz: there is no such setting. Did you mean train.epochs?",
    ),
    "value for a section": (("benchmark=3",), "benchmark = 3: must be a group of settings"),
    "several values without a sweep": (
        ("seed=1,2",),
        "seed=1,2: several values are a sweep, which needs -m; as a list it is seed=[1,2]",
    ),
    "unknown setting of Hydra": (("hydra.run.dirr=x",), "Could not override 'hydra.run.dirr'"),
    "sweep over Hydra": (
        ("-m", "hydra.job.name=a,b"),
        "hydra.job.name=a,b: a setting of Hydra's has one value",
    ),
    "two flags of which Hydra takes one": (
        ("-m", "seed=1,2", "--cfg", "job"),
        "-m and --cfg: one at a time",
    ),
    "unknown launcher": (
        ("hydra/launcher=basik",),
        "hydra/launcher = 'basik': must be one of basic, joblib, submitit_local",
    ),
    "unknown option in a sweep": (
        ("-m", "optimizer=adamw,momentm"),
        "optimizer = 'momentm': must be one of adam_weight_decay, adamw, momentum. Did you",
    ),
    "pattern of no option": (
        ("-m", "experiment=glob(zz*)"),
        "experiment = 'glob(zz*)': matches no option",
    ),
    "wrong value in a sweep": (
        ("-m", "optimizer.layer_decay=0.65,1.5"),
        "1 setting is wrong:\n  optimizer.layer_decay = 1.5: must be a number > 0 and <= 1\n",
    ),
    "wrong value in a large sweep": (
        ("-m", "seed=range(300)", "train.epochs=1,0"),
        "1 setting is wrong:\n  train.epochs = 0: must be a whole number > 0\n",
    ),
    "wrong pair in a sweep": (
        ("-m", "train.batch_size=7,8", "augment.mix_up=0,1"),
        "1 setting is wrong:\n  train.batch_size = 7: must be even",
    ),
    "wrong for every job": (
        ("-m", "seed=1,2", "train.epochs=0"),
        "1 setting is wrong:\n  train.epochs = 0: must be a whole number > 0\n",
    ),
    "wrong with one option of a sweep": (
        ("-m", "scheduler=constant,multistep", "scheduler.milestones=[9,3]"),
        "scheduler.milestones = [9, 3]: must rise",
    ),
    "missing data of every job": (
        ("-m", "experiment=imagenet_base,imagenet_large", "seed=1,2"),
        "dataset.data_url = '../data/imagenet': the folder ../data/imagenet is missing",
    ),
    "wrong value of a prepared sweep": (
        ("sweep=base_lr", "optimizer.base_lr=0.1,-1"),
        "1 setting is wrong:\n  optimizer.base_lr = -1: must be a number > 0\n",
    ),
    "wrong value of a search": (
        ("sweep=optuna", "optimizer.base_lr=interval(-1,1)"),
        "1 setting is wrong:\n  optimizer.base_lr = -1.0: must be a number > 0\n",
    ),
}
