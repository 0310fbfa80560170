"""What the training examples share: lines above a bar, and pictures saved where they are told.

Both are optional: without tqdm there is no bar, without matplotlib no picture.
"""

from __future__ import annotations

from pathlib import Path

OUTPUT = Path(__file__).parent / "output"


def say(line):
    """Print above a running bar."""
    try:
        from tqdm import tqdm
    except ImportError:
        print(line)
    else:
        tqdm.write(line)


def figure(columns=1, width=6.0, height=4.2):
    """A figure and its row of axes, or (None, None) without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("matplotlib is not installed: no picture")
        return None, None
    picture = Figure(figsize=(width * columns, height), layout="constrained")
    return picture, picture.subplots(1, columns, squeeze=False)[0]


def save(picture, folder, name):
    """Write the figure into the folder, which is made where it is missing; the file."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.png"
    picture.savefig(file, dpi=120)
    print(f"picture: {file}")
    return file
