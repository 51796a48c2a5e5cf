"""A figure's svg as part of a page: colours that follow light and dark, ids of its own."""

from __future__ import annotations

import re
from html import escape

from analysis.display.figures import COLOURS, GREY, INK, PAPER, SOFT
from analysis.display.plates import NAME

GRID = "#b0b0b0"  # matplotlib's
# colour in the file -> variable of the page; ink last, as it is one of the palette too
VARIABLES = {
    **{colour.lower(): f"--c{n}" for n, colour in enumerate(COLOURS)},
    GREY: "--muted",
    SOFT: "--soft",
    GRID: "--line",
    PAPER: "--paper",
    INK: "--ink",
}


def inline(svg: str, name: str, title: str) -> str:
    """An svg file as an element of a page.

    Args:
        svg: as matplotlib writes it with text as text and a clear background.
        name: unique on the page; leads its ids.
        title: what it shows, for who cannot see it.

    Returns:
        The element. Curves carry whose they are as `data-trial` and `data-cell`.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.DOTALL)
    width, height = re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', body)[0]
    body = re.sub(r"<[^>]+>", _rounded, body)
    opening = (
        f'<svg class="plate" role="img" aria-label="{escape(title)}" '
        f'viewBox="0 0 {width} {height}" style="--w:{width}" '
        'xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    body = opening + body[body.index(">") + 1 :]
    body = re.sub(r'<g id="([^"|]*)\|(\d+)\|[a-z]*">', _owned, body)
    body = body.replace(f'<g id="{NAME}">', f'<g class="{NAME}">')
    referred = set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", body))
    body = re.sub(
        r' id="([^"]*)"',
        lambda found: f' id="{name}-{found[1]}"' if found[1] in referred else "",
        body,
    )
    body = re.sub(r"(url\(|href=\")#", rf"\g<1>#{name}-", body)
    body = re.sub(r"font-family: [^;]*; ?", "", body)
    body = re.sub(r"\n\s*", " ", body)
    return re.sub(r"#[0-9a-f]{6}\b", _variable, body)


def _rounded(tag: re.Match[str]) -> str:
    """Places to a hundredth of a point, which is finer than a screen; texts stay as they are."""
    return re.sub(r"(\.\d\d)\d+", r"\1", tag[0])


def _owned(found: re.Match[str]) -> str:
    return f'<g data-trial="{found[1]}" data-cell="{found[2]}">'


def _variable(found: re.Match[str]) -> str:
    name = VARIABLES.get(found[0])
    return f"var({name})" if name else found[0]
