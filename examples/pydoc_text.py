"""Real text that is on every machine: Python's own documentation topics, as `help()` shows them.

About 370 000 letters of English and Python, in alphabetic order of the topics. Paragraphs that
stand in several topics are taken once, so that text held back has not been seen. Other versions of
Python have other texts, so curves of training differ a little between them.
"""

from __future__ import annotations

import numpy as np

RARE = 20  # letters that occur less often become one letter, "?"


def load(limit=None):
    """The text and its alphabet: one string, and the sorted letters that occur in it."""
    from pydoc_data.topics import topics

    paragraphs = {}
    for name in sorted(topics):
        for paragraph in topics[name].strip().split("\n\n"):
            paragraphs.setdefault(" ".join(paragraph.split()), paragraph)
    text = "\n\n".join(paragraphs.values())[:limit]
    letters, counts = np.unique(np.array(list(text)), return_counts=True)
    rare = {ord(letter): "?" for letter in letters[counts < RARE]}
    text = text.translate(rare)
    return text, "".join(sorted(set(text)))


def encode(text, alphabet):
    """The place of each letter in the alphabet, as integers."""
    place = {letter: i for i, letter in enumerate(alphabet)}
    return np.array([place[letter] for letter in text])


def streams(codes, batch, length):
    """Windows of a batch of streams that run through the text side by side.

    Yields `(inputs, targets)`, both (length, batch), the targets one letter later. Stream b of a
    window goes on where stream b of the window before ended, so that a state can be carried over;
    at the end of the text all streams begin again.
    """
    each = (len(codes) - 1) // batch
    inputs = codes[: batch * each].reshape(batch, each).T
    targets = codes[1 : batch * each + 1].reshape(batch, each).T
    if each < length:
        raise ValueError(f"{len(codes)} letters are too few for {batch} streams of {length}")
    while True:
        for first in range(0, each - length + 1, length):
            yield inputs[first : first + length], targets[first : first + length]
