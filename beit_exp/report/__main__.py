"""Compare runs, or send to the stores what they missed.

python -m beit_exp.report RUN_OR_SWEEP ...                    a table, and a page with pictures
python -m beit_exp.report --store URI RUN_ID_OR_EXPERIMENT    the same from an MLflow store
python -m beit_exp.report sync RUN_DIR ...                    send the stores what they lack
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from beit_exp.config.mapping import load_config
from beit_exp.config.schema import Config
from beit_exp.errors import UserError
from beit_exp.hardware.terminal import complain, take_any_text
from beit_exp.report.page import as_told, write_report
from beit_exp.report.runs import judged_alike, read_place, read_store
from beit_exp.storage.mirror import copy_files
from beit_exp.storage.temporary import temporary_folder
from beit_exp.tracking.mlflow_sink import sync
from beit_exp.tracking.mlflow_store import reason


def main(arguments: list[str]) -> int:
    """Exit status 0: done; 2: something the user can mend."""
    take_any_text()
    try:
        temporary_folder()
        return send(arguments[1:]) if arguments[:1] == ["sync"] else compare(arguments)
    except UserError as error:
        complain(error)
        return 2


def compare(arguments: list[str]) -> int:
    """Print the table of some runs and write their page."""
    parser = argparse.ArgumentParser(
        prog="python -m beit_exp.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "places", nargs="+", metavar="RUN_OR_SWEEP", help="directories; ids or names with --store"
    )
    parser.add_argument(
        "--store", metavar="URI", help="read from this MLflow store instead of directories"
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="folder of the report (default: report, inside a single directory)",
    )
    options = parser.parse_args(arguments)
    places, uri = options.places, options.store
    runs = judged_alike(
        [
            run
            for place in places
            for run in (read_store(uri, place) if uri else read_place(Path(place)))
        ]
    )
    is_one_directory = len(places) == 1 and not options.store
    output = options.output or (Path(places[0]) / "report" if is_one_directory else Path("report"))
    names = places if uri else [Path(place).resolve().name for place in places]
    title = " ".join(names)
    print(as_told(runs))
    print(f"report    {write_report(runs, output, title=title)}")
    return 0


def send(arguments: list[str]) -> int:
    """Send to the stores what they lack of some runs; one that fails does not stop the others."""
    parser = argparse.ArgumentParser(prog="python -m beit_exp.report sync")
    parser.add_argument("run_dirs", nargs="+", type=Path, metavar="RUN_DIR")
    failures = []
    for run_dir in parser.parse_args(arguments).run_dirs:
        cfg = load_config(run_dir / "config.yaml")
        for part in (send_metrics, send_checkpoints):
            try:
                part(cfg, run_dir)
            except UserError as error:
                failures.append(str(error))
    if failures:
        raise UserError("\n".join(failures))
    return 0


def send_metrics(cfg: Config, run_dir: Path) -> None:
    """Send to the tracking store what it lacks of a run."""
    try:
        print(f"{run_dir}: {sync(cfg, run_dir)} metrics sent to {cfg.tracking.uri}")
    except UserError:
        raise
    except Exception as error:  # a store may raise anything; it is dead again
        raise UserError(
            f"{run_dir}: the tracking store failed ({reason(error)}); try again later"
        ) from error


def send_checkpoints(cfg: Config, run_dir: Path) -> None:
    """Copy a run's checkpoints to `train.checkpoint_url`, if it has one."""
    url, paths = cfg.train.checkpoint_url, sorted((run_dir / "checkpoints").glob("step_*"))
    if url is None:
        return
    try:
        copy_files(paths, url)
    except UserError:
        raise
    except Exception as error:  # as above
        raise UserError(
            f"{run_dir}: {url} took no copy ({reason(error)}); try again later"
        ) from error
    print(f"{run_dir}: {', '.join(path.name for path in paths)} copied to {url}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
