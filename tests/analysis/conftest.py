from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

# importlib import mode knows no sibling modules, so the helper gets its name here
_spec = importlib.util.spec_from_file_location("make_run", Path(__file__).with_name("make_run.py"))
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
sys.modules["make_run"] = _module
_spec.loader.exec_module(_module)
