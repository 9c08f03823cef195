"""Commands are found and taken apart as bash would, and what is wrong with one is seen."""

from __future__ import annotations

import pytest
from documented_commands import Command, commands_of, split
from documented_launches import refusal_of, refusals
from documented_programs import wrong
from documents import read_page


def found_in(text: str) -> list[str]:
    return [str(command) for command in commands_of(read_page("docs.md", text))]


def block(text: str, language: str = "bash") -> str:
    return f"```{language}\n{text}\n```\n"


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("python launch.py seed=1   # a comment, isn't it", ["python launch.py seed=1"]),
        ("# nothing but a comment", []),
        ("echo 'a # b'", ["echo 'a # b'"]),
        ("python launch.py \\\n  seed=1 \\\n  a=b", ["python launch.py seed=1 a=b"]),
        ("pip install . &&\n    python launch.py", ["pip install .", "python launch.py"]),
        ("A=1 B='x y' python launch.py; ls", ["python launch.py", "ls"]),
        ("printf x |\n    curl -d @- localhost", ["printf x", "curl -d @- localhost"]),
        ("python launch.py > log 2>&1 < in", ["python launch.py"]),
        ('s="seed=1 a=b"\nsrun python launch.py $s', ["srun python launch.py seed=1 a=b"]),
        ("if [ 1 -eq 2 ]; then ls; fi", ["'[' 1 -eq 2 ']'", "ls"]),
        ("for s in 1 2; do python launch.py seed=$s; done", ["python launch.py 'seed=$s'"]),
        ("cat > a.yaml <<'EOF'\nseed: 1\nEOF\nls", ["cat", "ls"]),
        ('eval "$(beit-exp -sc x)"', ["eval '$(beit-exp -sc x)'", "beit-exp -sc x"]),
    ],
)  # fmt: skip
def test_a_block_is_taken_apart_as_bash_does(text: str, commands: list[str]) -> None:
    assert found_in(block(text)) == commands


def test_a_folder_is_remembered_within_a_block() -> None:
    *_, last = split("cd tests\npython -m attack.figures 3000\n")
    assert last == Command(("python", "-m", "attack.figures", "3000"), "tests")


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("Type `python launch.py seed=1`.", ["python launch.py seed=1"]),
        ("| a | b |\n|---|---|\n| `pytest -n 2` | `cat\\|dog` |", ["pytest -n 2"]),
        ("`python`, `pytest`, `seed=1`, `git`, `a -> b`, `optimizer.base_lr = 3`", []),
        ("`conda install -y x`", ["conda install -y x"]),
        ("`one at a time; --cfg shows`, `x: --cfg`", []),
        ("`A=1 mlflow ui --port 1`", ["mlflow ui --port 1"]),
        (block("$ python launch.py a=b\nresult\n$ ls", "text"), ["python launch.py a=b", "ls"]),
        (block("python launch.py seed=1", "text"), []),
    ],
)  # fmt: skip
def test_commands_are_found_in_lines_and_on_screens(text: str, commands: list[str]) -> None:
    assert found_in(text) == commands


REFUSED = """$ python launch.py optimizer.lrr=3
1 setting is wrong:
  optimizer.lrr: there is no such setting. Did you mean optimizer.base_lr?
"""


def test_a_refused_command_is_compared_with_its_words_instead() -> None:
    page = read_page("docs.md", block(REFUSED, "text"))
    ((command, message),) = refusals(page.blocks[0])
    assert (list(commands_of(page)), command) == ([], "python launch.py optimizer.lrr=3")
    assert refusal_of(["optimizer.lrr=3"]) == message.rstrip()
    assert refusal_of(["optimizer.lrr=3", "seed=x"]) != message.rstrip()
    assert refusal_of(["seed=1"]) == ""


def complaints(text: str) -> list[str]:
    return [each for command in split(text) for each in wrong(command, {})]


@pytest.mark.parametrize(
    "text",
    [
        "python launch.py",
        "python launch.py -m optimizer.layer_decay=0.65,0.75 augment=light,none",
        "python launch.py -m 'augment=glob(l*)'",
        "python launch.py experiment=imagenet_base --cfg job",
        "python launch.py --config-dir=FOLDER experiment=mine",
        "python launch.py hydra.run.dir=runs/$SLURM_JOB_ID",
        "beit-exp seed=2 ...",
        "python -m beit_exp.doctor --dry-run ascend --card 910A seed=2",
        "python -m beit_exp.weights IN OUT.safetensors --to official",
        "cd tests && python -m attack.figures 3000",
        "pytest -n 2 -m 'slow and not long' tests/runs/test_kills.py -k resumes",
        "pytest tests/test_*.py",
        "pytest tests/model/",
        "pip install -c .ci/constraints.txt -e '.[dev]'",
        "pip install 'beit-exp[s3,onnx]'",
        "srun --nodes=2 python launch.py seed=1",
        "sbatch --wrap 'python launch.py seed=1'",
        "docker build -f .docker/Dockerfile -t beit-exp .",
        "docker run --rm beit-exp seed=2",
        "mlflow models serve -m models:/NAME/1 --env-manager local -p 5001",
        "python tests/benchmarks/compare.py PYTHON FOLDER --rounds 3",
        ".ci/run",
    ],
)
def test_a_right_command_is_no_complaint(text: str) -> None:
    assert complaints(text) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("conda install x", "conda: a command of no known kind"),
        ("python launch.py optimizer.lrr=3", "optimizer.lrr: there is no such setting"),
        ("python launch.py seed=x", "seed = 'x'"),
        ("python launch.py augment=lihgt", "lihgt"),
        ("python launch.py -m augment=light,lihgt", "lihgt"),
        ("python launch.py -m seed=1,2 optimizer.layer_decay=0.5,1.5", "layer_decay = 1.5"),
        ("python launch.py seed=1,2", "several values are a sweep"),
        ("python launch.py experiment=mine", "mine"),
        ("python launch.py --cfgg job", "unrecognized arguments: --cfgg"),
        ("python launch.py dataset.data_url=THEIRS", "THEIRS: no known placeholder"),
        ("beit-exp seed=x", "seed = 'x'"),
        ("python train.py", "train.py: no such file"),
        ("python -m beit_exp.docter", "beit_exp.docter: no such module"),
        ("python -m beit_exp.doctor --dataset PATH", "no option --dataset"),
        ("python -m beit_exp.doctor --self-check seed=x", "seed = 'x'"),
        ("python -m beit_exp.report --out X RUN", "no option --out"),
        ("python -m beit_exp.worker", "takes one run directory"),
        ("python -m attack.figures", "attack.figures: no such module"),
        ("python tests/benchmarks/compare.py --round 3", "no option --round"),
        ("pytest tests/nowhere", "tests/nowhere: no tests"),
        ("pytest -m slwo", "slwo: no such marker"),
        ("pytest -k no_such_test_name", "-k no_such_test_name: no such test"),
        ("pytest tests/test_worker.py::test_nothing", "tests/test_worker.py::test_nothing: no"),
        ("pip install -e '.[devel]'", "no extra devel"),
        ("pip install -c constraints.txt .", "constraints.txt: no such file"),
        ("srun --nodes=2 python launch.py seed=x", "seed = 'x'"),
        ("sbatch --wrap 'python launch.py seed=x'", "seed = 'x'"),
        ("mpirun -np 2 -x MASTER_ADDR=HOST python launch.py seed=x", "seed = 'x'"),
        ("sh -c 'python launch.py seed=x'", "seed = 'x'"),
        ("docker build -f Dockerfile .", "Dockerfile: no such file"),
        ("docker run --rm beit-exp seed=x", "seed = 'x'"),
        ("mlflow iu", "mlflow has no command iu"),
        ("mlflow ui --backend-uri x", "mlflow has no option --backend-uri there"),
        ("mypy tests/nowhere.py", "tests/nowhere.py: no such file"),
        ("cd nowhere", "nowhere: no such folder"),
    ],
)  # fmt: skip
def test_a_wrong_command_is_seen(text: str, complaint: str) -> None:
    assert any(complaint in each for each in complaints(text)), complaints(text)
