"""A page in a browser without a window: what a script in it sees after a while."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((path for path in map(shutil.which, NAMES) if path), None)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=20000",
    "--dump-dom",
)

needs_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")


def told_by(page: str, script: str, folder: Path, width: int = 1280) -> Any:
    """What `script`, the body of an async function, returns at the end of a page; as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    asking = (
        "<script>(async () => { let told; try { told = await (async () => {" + script + "})(); }"
        " catch (error) { told = {error: String(error.stack)}; }"
        ' const out = document.createElement("pre"); out.id = "told";'
        " out.textContent = JSON.stringify(told); document.body.append(out); })();</script>"
    )
    path = folder / "asked.html"
    path.write_text(page.replace("</body>", asking + "</body>"), encoding="utf-8")
    command = [str(BROWSER), *FLAGS, f"--user-data-dir={folder / 'profile'}"]
    command += [f"--window-size={width},900", path.as_uri()]
    done = subprocess.run(command, capture_output=True, timeout=50, check=True, text=True)
    found = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    told = json.loads(html.unescape(found[1]))
    assert "error" not in told, told["error"]
    return told
