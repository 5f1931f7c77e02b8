"""python -m netemu: the command, where its own name is not on PATH."""

import sys

from netemu.cli import main

sys.exit(main())
