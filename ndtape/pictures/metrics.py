"""How wide a text is, without a font at hand: the advances of DejaVu Sans, a wide one.

Browsers that have no DejaVu Sans take Verdana (as wide) or a narrower font, so a text that fits by
this table fits there, too.
"""

from __future__ import annotations

import unicodedata

FONT = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif"
BASE, LINE = 1.02, 1.3  # from the top of a line to its base line, and to the next line, in em

# Thousandths of an em, from space to "~".
_ASCII = [int(w) for w in """
318 401 460 838 637 951 780 275 391 391 500 838 318 361 318 337 637 637 637 637 637 637 637
637 637 637 337 337 838 838 838 531 1000 685 687 699 771 632 576 775 752 295 295 656 558 863
749 788 604 788 695 635 611 732 685 989 686 611 686 391 337 391 838 500 500 613 635 550 635
616 353 635 634 278 278 580 278 975 634 612 635 635 412 521 393 634 592 818 592 592 525 637
337 637 838
""".split()]  # fmt: skip
_OTHERS = {"·": 318, "−": 838, "×": 838, "÷": 838, "∂": 518, "²": 401, "³": 401, "ᵀ": 386,
           "∘": 627, "√": 638, "…": 1000, "→": 838, "←": 838, "↻": 838, "≤": 838, "≥": 838,
           "≠": 838, "π": 603, "σ": 634, "'": 275, "′": 228, "⁻": 529, "⁰": 401, "¹": 401,
           "–": 500}  # fmt: skip
_LETTER, _WIDE, _OTHER = 1180, 1100, 1450  # what is not in the table: bounds, not measures


def _advance(char: str) -> int:
    code = ord(char)
    if 32 <= code < 127:
        return _ASCII[code - 32]
    if char in _OTHERS:
        return _OTHERS[char]
    if unicodedata.combining(char):
        return 0
    if unicodedata.east_asian_width(char) in "WF":
        return _OTHER if code > 0xFFFF else _WIDE
    return _LETTER if char.isalnum() else _OTHER


def width(text: str, size: float) -> float:
    """The width of a line of text in a font of that size; never too little.

    >>> width("sin x", 10)
    23.43
    """
    return size * sum(map(_advance, text)) / 1000


def shortened(text: str, size: float, most: float) -> str:
    """The text, cut in its middle where it is wider than `most`.

    >>> shortened("the_name_of_a_very_long_variable", 10, 100)
    'the_nam…variable'
    """
    if width(text, size) <= most:
        return text
    kept = min(len(text), int(5 * most / size))  # no letter of a name is narrower than 0.2 em
    while kept > 1:
        kept -= 1
        head = kept // 2
        short = text[:head].rstrip() + "…" + text[len(text) - kept + head :].lstrip()
        if width(short, size) <= most:
            return short
    return "…"
