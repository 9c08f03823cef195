"""The command: `beit-exp` where the package is installed, `python launch.py` in a clone."""

import gc
import os
import signal


def main() -> None:
    """A Ctrl-C while the libraries load ends it as silently as one before."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.disable()  # what libraries make while they load is no garbage: looking for it takes a tenth
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "1"  # it would look for some in every package
    from beit_exp import command

    command.main()


if __name__ == "__main__":
    main()
