"""`python -m search` is `resnet-search`."""

import sys

from search.cli import main

sys.exit(main())
