"""`python -m netemu` is `netemu`."""

import sys

from netemu.cli import main

sys.exit(main())
