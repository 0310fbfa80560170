"""An arm of several links that back-propagation moves to its target: direct kinematics, backwards.

The end point is a function of the joint angles, written as one does with NumPy: a loop over the
links that fills the rows of an array. Its derivative moves the angles until the point is reached.

    python examples/e_arm.py [folder for the picture, examples/output if none is given]
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
from walkthrough import Numbers, same_array, walk

import ndtape as nt

OUTPUT = Path(__file__).parent / "output"


def planar_arm(angles, links):
    """The joints of a planar arm from the base to the end point, shape (links + 1, 2)."""
    joints = nt.zeros((len(links) + 1, 2))
    direction = 0.0
    for i, length in enumerate(links):
        direction = direction + angles[i]
        joints[i + 1, 0] = joints[i, 0] + length * np.cos(direction)
        joints[i + 1, 1] = joints[i, 1] + length * np.sin(direction)
    return joints


def rotation(axis, angle):
    """The rotation by an angle about coordinate axis 0, 1 or 2."""
    c, s = np.cos(angle), np.sin(angle)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = nt.zeros((3, 3))
    matrix[axis, axis] = 1.0
    matrix[i, i], matrix[i, j] = c, -s
    matrix[j, i], matrix[j, j] = s, c
    return matrix


def spatial_arm(angles, links):
    """The joints of an arm whose base turns about the vertical and whose other joints pitch."""
    joints = nt.zeros((len(links) + 1, 3))
    frame = rotation(2, angles[0])
    for i, length in enumerate(links):
        frame = frame @ rotation(1, -angles[i + 1])
        joints[i + 1] = joints[i] + length * frame[:, 0]
    return joints


def reach(arm, angles, links, target, rate, steps):
    """Plain descent on the squared distance; the angles of every step, the start first."""

    def distance(angles):
        return np.sum((arm(angles, links)[-1] - target) ** 2)

    path = [angles.copy()]
    angles = angles.copy()
    for _ in range(steps):
        angles -= rate * nt.grad(distance)(angles)
        path.append(angles.copy())
    return path


def end_point(arm, angles, links):
    return arm(angles, links).value[-1]


def law_of_cosines(links, target):
    """Joint angles of a planar arm of two links that reach the target, elbow down."""
    a, b = links
    squared = float(target @ target)
    elbow = math.acos((squared - a * a - b * b) / (2 * a * b))
    inner = math.atan2(b * math.sin(elbow), a + b * math.cos(elbow))
    return np.array([math.atan2(target[1], target[0]) - inner, elbow])


TWO = (1.0, 1.0)
THREE = (1.0, 0.8, 0.5)
TARGET = np.array([1.2, 0.8])
SPATIAL_TARGET = np.array([0.9, 0.7, 0.8])


def e6(numbers: Numbers) -> None:
    """E6. direct kinematics backwards: an arm that approaches its target"""
    angles = np.array([0.3, 0.6])
    numbers.check_array(
        "end point", end_point(planar_arm, angles, TWO), (2,), "1.57694646 1.07884712"
    )
    jacobian = nt.jacobian(lambda a: planar_arm(a, TWO)[-1])(angles)
    numbers.check_array(
        "Jacobian", jacobian, (2, 2), "-1.07884712 -0.78332691  1.57694646 0.62160997"
    )
    path = reach(planar_arm, angles, TWO, TARGET, 0.15, 1000)
    squared = np.sum((end_point(planar_arm, path[100], TWO) - TARGET) ** 2)
    numbers.check("squared distance after 100 steps", squared, "3.5e-10")
    numbers.check_array("angles after 1000", path[-1], (2,), "-0.17739022 1.53078565")
    same_array(path[-1], law_of_cosines(TWO, TARGET), within=1e-8)

    angles = np.array([0.3, 0.4, 0.5])
    numbers.check_array(
        "three links", end_point(planar_arm, angles, THREE), (2,), "1.74838912 1.27691390"
    )
    path = reach(planar_arm, angles, THREE, TARGET, 0.15, 500)
    same_array(end_point(planar_arm, path[-1], THREE), TARGET, within=1e-8)

    path = spatial_path()
    missed = np.linalg.norm(end_point(spatial_arm, path[-1], THREE) - SPATIAL_TARGET)
    numbers.check("in space, distance after 500 steps", round(float(missed), 6), "0")


def spatial_path():
    start = np.array([0.2, 0.3, 0.4, 0.5])
    return reach(spatial_arm, start, THREE, SPATIAL_TARGET, 0.15, 500)


def draw_arms(folder):
    """Save a picture of three arms on their way; the file, or None without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("matplotlib is not installed: no picture of the arms")
        return None
    moves = [
        ("two links", planar_arm, TWO, TARGET, np.array([0.3, 0.6])),
        ("three links", planar_arm, THREE, TARGET, np.array([0.3, 0.4, 0.5])),
    ]
    picture = Figure(figsize=(13, 4.5), layout="constrained")
    for k, (title, arm, links, target, angles) in enumerate(moves, 1):
        path = reach(arm, angles, links, target, 0.15, 100)
        axes = picture.add_subplot(1, 3, k, aspect="equal", title=title)
        _draw_path(axes, [arm(path[i], links).value for i in SHOWN], target)
    axes = picture.add_subplot(1, 3, 3, projection="3d", title="in space")
    path = spatial_path()
    _draw_path(axes, [spatial_arm(path[i], THREE).value for i in SHOWN], SPATIAL_TARGET)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "e6_arms.png"
    picture.savefig(file, dpi=120)
    print(f"\nthe arms on their way: {file}")
    return file


SHOWN = [0, 1, 2, 4, 8, 16, 32, 100]  # steps of the descent


def _draw_path(axes, poses, target):
    for k, joints in enumerate(poses):
        strength = 0.15 + 0.85 * k / (len(poses) - 1)
        axes.plot(*joints.T, "o-", color="C0", alpha=strength, markersize=4)
    ends = np.array([joints[-1] for joints in poses])
    axes.plot(*ends.T, ":", color="C1")
    axes.plot(*([value] for value in target), "x", color="C3", markersize=10, markeredgewidth=2.5)


def main() -> Numbers:
    """The section; its numbers by name."""
    return walk("An arm that reaches for its target", [e6])


if __name__ == "__main__":
    main()
    draw_arms(Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT)
