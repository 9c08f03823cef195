"""BEiT on ImageNet with MindSpore, composed by Hydra, tracked in MLflow."""

import signal


def main() -> None:
    """The command `beit-exp`, and `launch.py` in a clone.

    A Ctrl-C while the libraries load ends it as silently as one before.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from beit_exp import command

    command.main()
