"""The command, from a clone:

`python launch.py ...` is what `beit-exp ...` is where the package is installed.
"""

from beit_exp.__main__ import main

if __name__ == "__main__":
    main()
