"""`python -m netemu.cli` is `netemu`."""

import sys

from netemu.cli import main

sys.exit(main())
