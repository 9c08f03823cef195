"""Convert weights: `python -m beit_exp.weights IN OUT [--to ours|official|huggingface]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from beit_exp.config.schema import CheckpointKind
from beit_exp.errors import UserError
from beit_exp.hardware.terminal import complain, take_any_text
from beit_exp.storage.temporary import temporary_folder
from beit_exp.weights.names import to_hugging_face, to_official


def convert(place: str, target: Path, *, kind: CheckpointKind, to: str) -> None:
    """Write the weights of any readable file as .safetensors; `to` says under whose names."""
    # MindSpore cannot even be imported where temporary files have no place
    temporary_folder()
    from beit_exp.weights.read import read_weights, save_weights
    from beit_exp.weights.source import find_source

    source = find_source(place, kind)
    if target.suffix != ".safetensors":
        raise UserError(f"{target}: the name of the output must end in .safetensors")
    arrays = read_weights(source.path, is_averaged=source.is_averaged)
    named = {
        "ours": arrays,
        "official": to_official(arrays),
        "huggingface": to_hugging_face(arrays),
    }[to]
    save_weights(named, target)
    print(f"{target}: {len(arrays)} parameters under {to} names {source.why}".rstrip())


def main(arguments: list[str]) -> int:
    """Exit status 0: done; 2: something the user can mend."""
    take_any_text()
    parser = argparse.ArgumentParser(
        prog="python -m beit_exp.weights", description="Convert BEiT weights."
    )
    parser.add_argument(
        "source", type=Path, metavar="IN", help=".pth, .safetensors, .ckpt, or a run directory"
    )
    parser.add_argument("target", type=Path, metavar="OUT", help="a .safetensors file")
    parser.add_argument(
        "--to",
        choices=("ours", "official", "huggingface"),
        default="ours",
        help="whose parameter names",
    )
    parser.add_argument(
        "--kind", choices=("best", "last", "ema"), default="best", help="which of a run's weights"
    )
    options = parser.parse_args(arguments)
    try:
        convert(str(options.source), options.target, kind=options.kind, to=options.to)
    except UserError as error:
        complain(error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
