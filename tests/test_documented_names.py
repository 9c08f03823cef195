"""What the documents name in code is there: settings, their values, files, modules and tests."""

from __future__ import annotations

import pytest
from documented_names import braces, wrong_in, wrong_names
from documents import own_pages, read_page

PAGES = own_pages()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_names_only_what_is_there(name: str) -> None:
    assert list(wrong_names(PAGES[name])) == []


@pytest.mark.parametrize(
    "code",
    [
        "optimizer.base_lr",
        "optimizer.base_lr=3e-5",
        "optimizer.layer_decay=0.65,0.75",
        "dataset.num_classes=auto",
        "dataset.num_classes=N",
        "dataset.data_url=PATH",
        "hardware.device_num=1 train.accumulate_steps=8",
        "features.blocks=[-1]",
        "objective=val/balanced_accuracy",
        "task=probe",
        "model=beit_base_patch16_{224,384}",
        "model=auto",
        "augment=light,none",
        "hydra/launcher=joblib",
        "hydra/launcher=",
        "hydra.run.dir=RUN",
        "allow_changes=[train.epochs,...]",
        "tracking.tags.site=lab",
        "evaluation.sets.v2=PATH",
        "OptimizerConfig.name",
        "train.tar",
        "evaluation.csv",
        "benchmark.json",
        "beit_exp/config/schema.py",
        "beit_exp/tasks/NAME.py",
        "conf/<group>/<option>.yaml",
        "conf/model/beit_{base,large}_*.yaml",
        "conf/experiment/",
        "tasks/finetune.py",
        "golden/test_golden.py",
        "tests/golden/official_recipes.csv",
        ".ci/constraints.txt",
        "beit_exp.worker",
        "beit_exp.tracking.records",
        "beit_exp.config.mapping.build_config",
        "beit_exp.overrides",
        "BEIT_EXP_CACHE",
        "tests/test_worker.py",
        "beit/utils.py",
        "FOLDER/experiment/mine.yaml",
        "NNODES=2 NODE_RANK=0",
        "amp_level=O1",
        "key=value",
        "report/report.html",
        "x = y",
    ],
)
def test_a_right_name_is_no_complaint(code: str) -> None:
    assert list(wrong_in(code)) == []


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("optimizer.lrr", "optimizer.lrr: no such setting"),
        ("optimizer.lrr=3", "optimizer.lrr: no such setting"),
        ("seeed=3", "seeed: no such setting"),
        ("optimiser.base_lr=3", "optimiser.base_lr: no such setting"),
        ("seed=1 optimizer.lrr=PATH", "optimizer.lrr: no such setting"),
        ("optimizer.layer_decay=1.5", "optimizer.layer_decay=1.5: Input should be less than"),
        ("optimizer.layer_decay=0.5,1.5", "optimizer.layer_decay=1.5: Input should be less than"),
        ("hardware.amp_level=O4", "hardware.amp_level=O4: Input should be 'O0'"),
        ("amp_level=O4", "hardware.amp_level=O4: Input should be 'O0'"),
        ("task=prob", "task=prob: Input should be"),
        ("augment=lihgt", "augment=lihgt: no such option"),
        ("augment=none,lihgt", "augment=lihgt: no such option"),
        ("experiment=imagenet_huge", "experiment=imagenet_huge: no such option"),
        ("hydra/launcher=ray", "hydra/launcher=ray: no such option"),
        ("OptimizerConfig.lrr", "OptimizerConfig.lrr: no such field"),
        ("beit_exp/config/schemas.py", "beit_exp/config/schemas.py: no such file"),
        ("conf/models/<option>.yaml", "conf/models/<option>.yaml: no such file"),
        ("conf/experiments/", "conf/experiments/: no such file"),
        ("finetuning.py", "finetuning.py: no such file"),
        ("CONTRIBUTE.md", "CONTRIBUTE.md: no such file"),
        ("tests/test_worker.py::test_nothing", "tests/test_worker.py::test_nothing: no such test"),
        ("test_no_such_sentence", "test_no_such_sentence: no such test"),
        ("beit_exp.docter", "beit_exp.docter: no such module"),
        ("beit_exp.tracking.record", "beit_exp.tracking.record: no such module"),
        ("beit_exp.config.mapping.make_config", "beit_exp.config.mapping.make_config: no such"),
        ("BEIT_EXP_CASH", "BEIT_EXP_CASH: no code reads such a variable"),
    ],
)
def test_a_wrong_name_is_seen(code: str, complaint: str) -> None:
    (found,) = wrong_in(code)
    assert found.startswith(complaint)


def test_a_key_without_a_group_is_one_of_the_page() -> None:
    assert list(wrong_in("name=adamw", "conf/optimizer")) == []
    (complaint,) = wrong_in("name=adamw", "conf/scheduler")
    assert complaint.startswith("scheduler.name=adamw: Input should be")
    assert list(wrong_in("experiment=beit", "conf/tracking")) == []


def test_a_complaint_says_where() -> None:
    page = read_page("beit_exp/data/README.md", "a\n`splits.py`\n`splitz.py`\n")
    assert list(wrong_names(page)) == ["beit_exp/data/README.md:3: splitz.py: no such file"]


def test_braces_are_expanded_as_bash_does() -> None:
    assert braces("a_{b,c}_{1,2}") == ["a_b_1", "a_b_2", "a_c_1", "a_c_2"]
