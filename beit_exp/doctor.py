"""Is this machine ready? `python -m beit_exp.doctor [--data FOLDER] [--uri STORE] [--runs FOLDER]`

Checks what runs depend on and says what to do about each thing that is wrong. Needs nothing but
Python to start. `--dry-run ascend [OVERRIDES]` compiles a task on a simulated card instead,
`--self-check [OVERRIDES]` computes on the devices and compares, and `--settings [NAME]` says what
settings mean.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from beit_exp.errors import UserError
from beit_exp.hardware.terminal import take_any_text
from beit_exp.storage.passwords import hide_password
from beit_exp.storage.temporary import temporary_folder

PYTHONS = ((3, 10), (3, 12))
LEAST_DISK_GB = 5.0
TIMEOUT_S = 120
DRY_RUN, SELF_CHECK, SETTINGS = "--dry-run", "--self-check", "--settings"


@dataclass(frozen=True)
class Finding:
    """One check: what was seen and, where it is wrong, what to do."""

    name: str
    seen: str
    fix: str | None = None


def check_python() -> Finding:
    seen = ".".join(map(str, sys.version_info[:3]))
    if PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        return Finding("Python", seen)
    return Finding(
        "Python", seen, "use Python 3.10, 3.11 or 3.12: MindSpore 2.10 ships for no other"
    )


def check_numpy() -> Finding:
    version = _version("numpy")
    if version.startswith("1."):
        return Finding("NumPy", version)
    return Finding(
        "NumPy", version, "pip install 'numpy>=1.26.4,<2': MindSpore 2.10 is built for NumPy 1.x"
    )


def check_mindspore() -> Finding:
    version = _version("mindspore")
    if not version.startswith("2.10."):
        return Finding("MindSpore", version, "pip install 'mindspore>=2.10,<2.11'")
    code = "import mindspore as ms; print((ms.Tensor([1.0, 2.0]).reshape((2, 1)) * 2).sum())"
    done = _python(code)
    if done.returncode == 0 and done.stdout.strip().endswith("6.0"):
        return Finding("MindSpore", f"{version}, computes")
    last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
    return Finding(
        "MindSpore",
        f"{version}, fails: {last}",
        "reinstall in a fresh environment as the README says",
    )


def check_device() -> Finding:
    if count := count_cards():
        return Finding("device", f"{count} Ascend")
    if Path("/usr/local/Ascend").exists():
        return Finding(
            "device",
            "CANN is installed, but no card answers",
            "source set_env.sh of CANN; try npu-smi info",
        )
    return Finding("device", "CPU (no CANN, so hardware=ascend cannot run here)")


def check_kernels() -> Finding:
    code = "from beit_exp.model.operations import onednn_kernels; print(onednn_kernels.describe())"
    return Finding("kernels", (_python(code).stdout.strip().splitlines() or ["no answer"])[-1])


def check_temporary() -> Finding:
    try:
        return Finding("temporary files", f"in {temporary_folder()}")
    except UserError as error:
        seen, _, fix = str(error).partition(": ")
        return Finding("temporary files", seen, fix)


def check_cores() -> Finding:
    return Finding("cores", f"{os.cpu_count()} (bounds hardware.num_parallel_workers)")


def check_port() -> Finding:
    import socket

    try:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            with socket.create_connection(listener.getsockname(), timeout=5):
                return Finding("ports", "loopback connections work")
    except OSError as error:
        return Finding(
            "ports", str(error), "several processes need the loopback interface: check the firewall"
        )


def check_store(uri: str) -> Finding:
    code = "from beit_exp.tracking.mlflow_store import open_store, resolve_uri; "
    code += "open_store(resolve_uri(None)).search_experiments(max_results=1)"
    # Not on the command line, which everybody on this machine may read
    done = _python(code, environment={"MLFLOW_TRACKING_URI": uri})
    shown = hide_password(uri)
    if done.returncode == 0:
        return Finding("tracking store", shown)
    last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
    return Finding(
        "tracking store",
        f"{shown}: {hide_password(last)}",
        "start the server, or set tracking.uri to one that answers",
    )


def check_data(folder: Path) -> Finding:
    missing = [split for split in ("train", "val") if not (folder / split).is_dir()]
    classes = sum(entry.is_dir() for entry in folder.iterdir()) if folder.is_dir() else 0
    if len(missing) == 2 and classes >= 2:
        return Finding("data", f"{classes} classes in {folder}; experiment=own_images splits them")
    if missing:
        return Finding(
            "data",
            f"{folder} lacks {' and '.join(missing)}",
            "a data set is <class>/*, or train/<class>/* and val/<class>/*",
        )
    counts = [
        sum(entry.is_dir() for entry in (folder / split).iterdir()) for split in ("train", "val")
    ]
    if counts[0] != counts[1] or counts[0] < 2:
        return Finding(
            "data",
            f"{counts[0]} classes in train, {counts[1]} in val",
            "both need the same, two at least",
        )
    return Finding("data", f"{counts[0]} classes in {folder}; task=check_data reads every image")


def check_disk(folder: Path) -> Finding:
    place = next(parent for parent in (folder, *folder.resolve().parents) if parent.exists())
    free_gb = shutil.disk_usage(place).free / 1e9
    if free_gb >= LEAST_DISK_GB:
        return Finding("disk", f"{free_gb:.0f} GB free for runs in {folder}")
    return Finding(
        "disk",
        f"{free_gb:.1f} GB free",
        "a BEiT-base checkpoint takes 1 GB: choose another hydra.run.dir",
    )


def count_cards() -> int:
    """The Ascend cards that MindSpore finds here."""
    done = _python("from mindspore import hal; print(hal.device_count('Ascend'))")
    count = (done.stdout.strip().splitlines() or ["0"])[-1] if done.returncode == 0 else "0"
    return int(count) if count.isdigit() else 0


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _python(
    code: str, *, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own: a broken library must not take the doctor along."""
    command = [sys.executable, "-c", code]
    try:
        return subprocess.run(
            command,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no answer within {TIMEOUT_S} s")


def parse_options(arguments: list[str]) -> argparse.Namespace:
    """What is to be checked, or said."""
    parser = argparse.ArgumentParser(
        prog="python -m beit_exp.doctor", description="Check this machine."
    )
    parser.add_argument("--data", type=Path, help="a dataset.data_url to check")
    parser.add_argument(
        "--uri", default=os.environ.get("MLFLOW_TRACKING_URI"), help="a tracking store to check"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are written")
    parser.add_argument(
        DRY_RUN, metavar="ascend", help="compile a task on a simulated card; see --dry-run --help"
    )
    parser.add_argument(
        SELF_CHECK,
        action="store_true",
        help="compute on the devices and compare; see --self-check --help",
    )
    parser.add_argument(
        SETTINGS,
        nargs="?",
        const="",
        metavar="NAME",
        help="say what settings mean: all, of a group, or those whose name begins so",
    )
    parser.add_argument(
        "--write", action="store_true", help=f"with {SETTINGS}: write their pages in conf/"
    )
    options = parser.parse_args(arguments)
    if options.write and options.settings is None:
        parser.error(f"--write goes with {SETTINGS} alone")
    return options


def main(arguments: list[str]) -> int:
    """Exit status 0: all is well; 1: something is to be mended."""
    take_any_text()
    temporary = check_temporary()
    if temporary.fix and (DRY_RUN in arguments or SELF_CHECK in arguments):
        print(f"{temporary.seen}: {temporary.fix}", file=sys.stderr)
        return 2
    if DRY_RUN in arguments:
        from beit_exp.dry_run import run

        return run.main([word for word in arguments if word != DRY_RUN])
    if SELF_CHECK in arguments:
        from beit_exp.self_check import run as self_check

        words = [word for word in arguments if word != SELF_CHECK]
        return self_check.main(words, cards=count_cards())
    options = parse_options(arguments)
    if options.settings is not None:
        from beit_exp.launch import settings_text

        return settings_text.main(options.settings, is_writing=options.write)
    checks: list[Callable[[], Finding]] = [
        check_python,
        check_numpy,
        check_temporary,
        check_mindspore,
        check_device,
        check_kernels,
    ]
    checks += [check_cores, check_port, lambda: check_disk(options.runs)]
    if options.uri:
        checks.append(lambda: check_store(options.uri))
    if options.data:
        checks.append(lambda: check_data(options.data))
    findings = [check() for check in checks]
    for finding in findings:
        print(f"{'fix ' if finding.fix else 'ok  '}  {finding.name:15} {finding.seen}")
        if finding.fix:
            print(f"{'':22}{finding.fix}")
    return int(any(finding.fix for finding in findings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
