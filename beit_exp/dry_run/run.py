"""The dry run: MindSpore's own Ascend backend compiles and runs a task on a machine without a card.

`python -m beit_exp.doctor --dry-run ascend [OVERRIDES]`, the overrides being those of launch.py.
Real are the front end, the passes for Ascend, the choice of kernels, the plan of memory and the
loop that launches. The device's answers are not: every number is zero. So it tells whether graphs
compile, and to what, and nothing about results or speed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from beit_exp.config.command_line import override
from beit_exp.config.mapping import build_config, differences
from beit_exp.config.schema import Config
from beit_exp.dry_run.images import make_images, write_labels
from beit_exp.dry_run.report import StageReport, as_json, build_stage, table
from beit_exp.dry_run.settings import (
    DATA,
    LABELS,
    TEACHER,
    TOKENIZER,
    absolute_paths,
    check_device,
    few_classes,
    few_steps,
    images_needed,
    per_class,
)
from beit_exp.dry_run.simulation import CARDS, find_cann, simulate, simulation_environment
from beit_exp.dry_run.stubs import mindspore_version
from beit_exp.dry_run.tokenizer import lacks_teacher, lacks_tokenizer, make_teacher, make_tokenizer
from beit_exp.errors import UserError
from beit_exp.hardware.nodes import check_place, find_place
from beit_exp.hardware.terminal import complain
from beit_exp.launch.overrides import typed_values
from beit_exp.launch.run_directory import check_files
from beit_exp.launch.tokenizer_first import FOLDER, tokenizer_run, trains_tokenizer_first
from beit_exp.storage.files import write_atomically

RUN = "run"
UNTOLD = ("dataset.data_url", "tracking.", "benchmark.")  # `images` tells, or no graph knows them


def main(arguments: list[str]) -> int:
    """Exit status 0: compiled and ran; 1: did not; 2: something the user can mend, or a machine
    that the dry run does not know.
    """
    options = parse(arguments)
    folder = Path(tempfile.mkdtemp(prefix="beit_exp_dry_run_"))
    is_kept = options.keep
    try:
        about, stages = dry_run(options.overrides, folder, card=options.card)
        show(about, stages)
        if options.json is not None:
            write_atomically(options.json, json.dumps(as_json(about, stages), indent=1).encode())
        has_failed = stages[-1].failure is not None
        is_kept |= has_failed
        return int(has_failed)
    except UserError as error:
        complain(error)
        return error.exit_status
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    finally:
        if is_kept:
            print(f"the files of the dry run are in {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m beit_exp.doctor --dry-run",
        description="Compile and run a task on a simulated card.",
    )
    parser.add_argument("device", choices=["ascend"])
    parser.add_argument("overrides", nargs="*", help="as for launch.py; none: the quickstart's")
    parser.add_argument("--card", choices=CARDS, default="910B", help="by default %(default)s")
    parser.add_argument("--json", type=Path, help="also write what was found to this file")
    parser.add_argument("--keep", action="store_true", help="keep the dumps and logs of MindSpore")
    return parser.parse_intermixed_args(arguments)


def dry_run(
    overrides: list[str], folder: Path, *, card: str
) -> tuple[dict[str, Any], list[StageReport]]:
    """Run what a command with these overrides would, in that folder -> what is true of all of it,
    and what each worker's run was found to be.
    """
    version = mindspore_version()
    words = ["hardware=ascend", override("hydra.run.dir", folder), *overrides]
    values = typed_values(words)
    if (process := find_place(os.environ)) is not None:
        values["hardware"]["node_num"] = values["hardware"]["node_num"] or process.nodes
    cfg = absolute_paths(build_config(values))
    if process is not None:
        hardware = cfg.hardware
        check_place(process, node_num=hardware.node_num, device_num=hardware.device_num)
    check_device(cfg)
    cfg = few_classes(cfg)
    cann = find_cann()
    environment = simulation_environment(cann, card=card)
    about = {
        "mindspore": version,
        "simulated_with": "stubs" if cann is None else str(cann),
        "card": card,
        "command": overrides,
        **prepare(cfg, folder),
    }
    stages: list[StageReport] = []
    for place, own in stages_of(cfg, folder):
        stages.append(build_stage(own, simulate(own, place, environment)))
        if stages[-1].failure is not None:
            break
    return about, stages


def stages_of(cfg: Config, folder: Path) -> list[tuple[Path, Config]]:
    """The workers' runs, in order: a tokenizer's comes before a pre-training that lacks one."""
    run_dir, own = folder / RUN, few_steps(cfg, folder)
    if not trains_tokenizer_first(own):
        return [(run_dir, own)]
    tokenizer = few_steps(tokenizer_run(own, run_dir), folder)
    return [(run_dir / FOLDER, tokenizer), (run_dir, own)]


def prepare(cfg: Config, folder: Path) -> dict[str, Any]:
    """Make the images, refuse missing files, and return what is not as in the run itself."""
    stages = [stage for _, stage in stages_of(cfg, folder)]
    needed = [
        max(per_class(count, cfg) for count in counts)
        for counts in zip(*map(images_needed, stages), strict=True)
    ]
    side = cfg.model.image_size
    counts = (needed[0], needed[1])
    images = make_images(cfg.dataset, folder / DATA, counts=counts, side=side)
    if cfg.dataset.multi_label:
        write_labels(folder / DATA, folder / LABELS)
    if lacks_tokenizer(cfg):
        make_tokenizer(cfg, folder / TOKENIZER)
    if lacks_teacher(cfg):
        make_teacher(cfg, folder / TEACHER)
    check_files(stages[-1])
    changes = {
        key: list(values)
        for key, values in differences(cfg, stages[-1]).items()
        if not key.startswith(UNTOLD)
    }
    return {"images": images, "changed": changes}


def show(about: dict[str, Any], stages: list[StageReport]) -> None:
    by = about["simulated_with"]
    print(f"\nMindSpore {about['mindspore']}, a {about['card']} simulated with {by}")
    print(f"images   {about['images']}")
    changed = [f"{key} {old} -> {new}" for key, (old, new) in about["changed"].items()]
    print("\n         ".join([f"changed  {(changed or ['nothing'])[0]}", *changed[1:]]))
    for stage in stages:
        print(f"\n{table(stage)}")
