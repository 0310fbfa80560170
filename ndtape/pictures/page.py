"""An HTML page around pictures: one, or several to leaf through without a script."""

from __future__ import annotations

from collections.abc import Sequence

from .svg import clean

STYLE = """body { font-family: sans-serif; margin: 1.5rem; color: #111827; background: #ffffff }
.step { display: none } .bar { margin: 0 0 1rem }
.bar label { border: 1px solid #d1d5db; border-radius: 4px; padding: .15rem .5rem; cursor: pointer }
input { position: absolute; opacity: 0 }"""


def page(title: str, pictures: Sequence[str]) -> str:
    """A whole page; with several pictures, one is shown, and the arrow keys change it."""
    if len(pictures) == 1:
        return _framed(title, "", pictures[0])
    rules = "\n".join(
        f"#s{i}:checked ~ .p{i} {{ display: block }} "
        f'#s{i}:checked ~ .bar label[for="s{i}"] {{ background: #dbeafe }}'
        for i in range(len(pictures))
    )
    buttons = "\n".join(
        f'<input type="radio" name="step" id="s{i}"{" checked autofocus" if i == 0 else ""}>'
        for i in range(len(pictures))
    )
    labels = " ".join(f'<label for="s{i}">{i + 1}</label>' for i in range(len(pictures)))
    steps = "\n".join(
        f'<div class="step p{i}">{picture}</div>' for i, picture in enumerate(pictures)
    )
    return _framed(title, rules, f'{buttons}\n<div class="bar">Step {labels}</div>\n{steps}')


def _framed(title: str, rules: str, body: str) -> str:
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{clean(title)}</title>
<style>
{STYLE}
{rules}
</style>
</head>
<body>
{body}
</body>
</html>
"""
