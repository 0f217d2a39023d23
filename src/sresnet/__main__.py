"""python -m sresnet."""

import sys

from sresnet.cli import main

sys.exit(main())
