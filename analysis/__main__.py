"""`python -m analysis` is `resnet-report`."""

from analysis.cli import main

raise SystemExit(main())
