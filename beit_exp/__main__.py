"""The command: `beit-exp` where the package is installed, `python launch.py` in a clone."""

import signal


def main() -> None:
    """A Ctrl-C while the libraries load ends it as silently as one before."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from beit_exp import command

    command.main()


if __name__ == "__main__":
    main()
