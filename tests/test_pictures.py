"""Pictures of graphs: what they show, and that everything in them can be read.

The geometry is read from the SVG itself, and texts are measured by the font's own outlines, not
by the table that placed them.
"""

import math
import random
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pictures
import pytest
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from test_random_programs import OPERATIONS, Program

import ndtape as nt
from ndtape.pictures import layout, metrics

SVG = "{http://www.w3.org/2000/svg}"
ENGINES = [
    pytest.param(
        engine, marks=pytest.mark.skipif(engine not in layout.available(), reason="not installed")
    )
    for engine in layout.ENGINES
]


FONT = FontProperties(family="DejaVu Sans")


@cache
def measured(text, size):
    """The width of a text by the outlines of the font itself."""
    return float(TextPath((0, 0), text, size=size, prop=FONT).get_extents().width)


class Rectangle:
    def __init__(self, element):
        self.x0, self.y0 = float(element.get("x")), float(element.get("y"))
        self.x1 = self.x0 + float(element.get("width"))
        self.y1 = self.y0 + float(element.get("height"))

    def overlaps(self, other, slack=0.0):
        return (
            min(self.x1, other.x1) - max(self.x0, other.x0) > slack
            and min(self.y1, other.y1) - max(self.y0, other.y0) > slack
        )

    def holds(self, x, y, slack=0.0):
        return self.x0 + slack < x < self.x1 - slack and self.y0 + slack < y < self.y1 - slack


class Picture:
    """Groups of an SVG: nodes and labels by key, edges as points along them."""

    def __init__(self, drawing):
        self.root = ET.fromstring(str(drawing))
        groups = [g for g in self.root.iter(f"{SVG}g") if g.get("data-key")]
        self.places, self.texts, self.edges, self.heads = {}, {}, {}, {}
        for g in groups:
            key, kind = g.get("data-key"), g.get("class").split()[0]
            if kind == "edge":
                self.edges[key] = along(g.find(f"{SVG}path").get("d"))
                self.heads[key] = g.find(f"{SVG}polygon")
            else:
                self.places[key] = Rectangle(g.find(f"{SVG}rect"))
                self.texts[key] = list(g.iter(f"{SVG}text"))
        self.arrows = {arrow.key: arrow for arrow in drawing.scene.arrows}


def along(path, parts=8):
    """Points on a path of cubic curves."""
    numbers = np.array(re.findall(r"-?[\d.]+", path), float).reshape(-1, 2)
    t = np.linspace(0, 1, parts)[:, None]
    curves = [
        (1 - t) ** 3 * p + 3 * t * (1 - t) ** 2 * a + 3 * t**2 * (1 - t) * b + t**3 * q
        for p, a, b, q in (numbers[i : i + 4] for i in range(0, len(numbers) - 1, 3))
    ]
    return np.concatenate(curves)


def check_geometry(drawing):
    """No boxes or labels overlap, no text leaves its box, no arrow crosses a box or label."""
    picture = Picture(drawing)
    width, height = (float(picture.root.get(name)) for name in ("width", "height"))
    for (one, a), (two, b) in combinations(picture.places.items(), 2):
        assert not a.overlaps(b), (one, two)
    for key, texts in picture.texts.items():
        place = picture.places[key]
        assert place.x0 >= 0 and place.y0 >= 0 and place.x1 <= width and place.y1 <= height
        check_texts(texts, place)
    caption = [t for g in picture.root.iter(f"{SVG}g") if g.get("class") == "caption"
               for t in g.iter(f"{SVG}text")]  # fmt: skip
    for text in caption:
        half = measured(text.text, float(text.get("font-size"))) / 2
        assert 0 <= float(text.get("x")) - half and float(text.get("x")) + half <= width
        assert all(place.y1 < float(text.get("y")) - 9 for place in picture.places.values())
        assert float(text.get("y")) + 3 <= height
    for key, points in picture.edges.items():
        arrow = picture.arrows[key]
        own = {key, arrow.tail, arrow.head}
        for other, place in picture.places.items():
            if other not in own:
                assert not any(place.holds(x, y, 1.0) for x, y in points), (key, other)
        check_head(picture, key)


def check_texts(texts, place):
    bottom = place.y0
    for text in texts:
        x, y, size = (float(text.get(name)) for name in ("x", "y", "font-size"))
        half = measured(text.text, size) / 2
        assert place.x0 <= x - half and x + half <= place.x1, text.text
        assert bottom <= y - 0.76 * size and y + 0.24 * size <= place.y1 + 0.05, text.text
        bottom = y + 0.2 * size  # the next line stands below
    assert texts


def check_head(picture, key):
    """The tip of an arrow touches the box that it points at."""
    arrow, head = picture.arrows[key], picture.heads[key]
    assert (head is None) == arrow.headless
    if head is None:
        return
    x, y = map(float, head.get("points").split()[0].split(","))
    place = picture.places[arrow.tail if arrow.against else arrow.head]
    assert place.x0 - 2 <= x <= place.x1 + 2 and place.y0 - 2 <= y <= place.y1 + 2
    assert not place.holds(x, y, 2.0)


@pytest.fixture(scope="module")
def drawings():
    return {engine: pictures.pictures(engine=engine) for engine in layout.available()}


@pytest.mark.parametrize("engine", ENGINES)
def test_every_picture_can_be_read(drawings, engine):
    assert len(drawings[engine]) == 30
    for drawing in drawings[engine].values():
        check_geometry(drawing)


@pytest.mark.parametrize("engine", ENGINES)
def test_to_the_right(engine):
    for section in (pictures.sweeps, pictures.forks, pictures.softmax, pictures.unrolled):
        for drawing in section(direction="right", engine=engine).values():
            check_geometry(drawing)
    assert drawing.layout.width > drawing.layout.height


@pytest.mark.parametrize("seed", range(2))
def test_random_programs_can_be_read(seed):
    rng = random.Random(seed)
    steps = [
        (rng.randrange(len(OPERATIONS)), rng.randrange(9), rng.randrange(9)) for _ in range(12)
    ]
    with nt.Tape() as tape:
        *_, y = Program(steps).run(nt, pictures.leaves(x=0.3, another_input=-0.7, z=1.2))
    for engine in layout.available():
        chosen = {"sweep": ["forward", "reverse"], "operations": ["nodes", "edges"],
                  "direction": ["down", "right"], "blank": [False, True]}  # fmt: skip
        drawing = tape.draw(y, engine=engine, **{k: rng.choice(v) for k, v in chosen.items()})
        check_geometry(drawing)
        for frame in drawing.frames[-1:]:
            check_geometry(frame)


def texts(drawing):
    """All texts of a picture, whatever its layout."""
    return sorted(t.text for t in ET.fromstring(str(drawing)).iter(f"{SVG}text"))


def test_pictures_of_the_docs_are_current(drawings):
    """Their texts: where they stand depends on the version of the layout."""
    fresh = next(iter(drawings.values()))
    files = {path.stem: path for path in pictures.FOLDER.glob("*.svg")}
    assert set(files) == set(fresh)
    for name, path in files.items():
        there = sorted(t.text for t in ET.parse(path).iter(f"{SVG}text"))
        assert there == texts(fresh[name]), f"{name}: run python examples/pictures.py"


# --- what they show -------------------------------------------------------------------------------


def boxes(drawing):
    """The lines of each box by its heading, and its look."""
    return {box.lines[0].text: (box.look, [line.text for line in box.lines[1:]])
            for box in drawing.scene.boxes}  # fmt: skip


def labels(drawing):
    """Lines of labels by the headings of the boxes that the arrow joins."""
    names = {box.key: box.lines[0].text for box in drawing.scene.boxes}
    return {(names[a.tail], names[a.head]): [line.text for line in a.lines]
            for a in drawing.scene.arrows}  # fmt: skip


def test_inputs_constants_and_operations():
    shown = boxes(pictures.styles()["p1_styles"])
    assert shown == {
        "a": ("input", ["2", "de/da = 4"]),
        "b": ("input", ["3", "de/db = 3"]),
        "c = a²": ("operation", ["4", "de/dc = 1"]),
        "3": ("constant", []),  # no adjoint
        "d = 3·b": ("operation", ["9", "de/dd = 1"]),
        "e = c + d": ("operation", ["13", "de/de = 1"]),
    }
    parameter = boxes(pictures.styles()["p1_parameter"])
    assert parameter["b"] == ("parameter", ["3"])


def test_values_forwards_and_derivatives_backwards():
    forward, reverse = pictures.sweeps().values()
    assert labels(forward)["a = x²", "b = a + y"] == ["25"]
    assert boxes(forward)["c = sin b"][1] == ["0.2709"]
    assert labels(reverse)["b = a + y", "c = sin b"] == ["cos b = −0.9626"]
    assert labels(reverse)["x", "a = x²"] == ["2·x = 10"]
    assert boxes(reverse)["x"][1] == ["5", "dc/dx = −9.626"]
    assert not any(arrow.against for arrow in forward.scene.arrows)
    assert all(arrow.against for arrow in reverse.scene.arrows)


def test_both_paths_of_a_fork():
    at_half_pi, at_1 = pictures.forks().values()
    assert labels(at_half_pi)["a", "b = a²"] == ["2·a = 3.142", "path 1: 1 · 3.142 = 3.142"]
    assert labels(at_1)["a", "c = sin a"] == ["cos a = 0.5403", "path 2: 1 · 0.5403 = 0.5403"]
    assert boxes(at_1)["a"][1] == ["1", "dd/da = 2 + 0.5403 = 2.54"]


def test_frames_say_what_the_explanation_says():
    a, b = pictures.leaves(a=3.0, b=2.0)
    with nt.Tape() as tape:
        e = (a + b) * (b + 1)
    drawing = tape.draw(e)
    assert len(drawing.frames) == len(drawing.steps) == 7
    assert drawing.steps[-1].startswith("de/db = ") and "= 8" in drawing.steps[-1]
    explained = str(tape.explain(e, digits=4))
    for step in drawing.steps[1:]:
        assert step.splitlines()[0] in explained
    assert len({(f.layout.width, f.layout.height) for f in drawing.frames}) == 1


def test_frames_reveal_one_thing_after_another():
    shown = pictures.frames()
    adjoints = [
        sum(" = " in line.text for box in frame.scene.boxes for line in box.lines
            if line.style == "adjoint")
        for name, frame in shown.items() if "reverse" in name
    ]  # fmt: skip
    assert adjoints[0] == 1 and adjoints[-1] == 5 and adjoints == sorted(adjoints)
    first = boxes(shown["p4_forward_1"])
    assert first["c = a + b"][1] == ["5"] and first["e = c·d"][1] == []


def test_operations_on_the_edges():
    drawing = pictures.conventions()["p6_edges_forward"]
    shown = boxes(drawing)
    assert shown["d"][0] == "variable" and shown["+"][0] == shown["×"][0] == "junction"
    joined = set(labels(drawing))
    assert {("a", "+"), ("b", "+"), ("+", "d"), ("d", "×"), ("c", "×"), ("×", "f")} == joined


def test_a_quiz_hides_the_numbers():
    question, solution = pictures.quiz().values()
    written = " ".join(ET.fromstring(str(question)).itertext())
    assert not re.search("28|25|0.96|0.27|9.6", written)
    assert boxes(question)["b = a + y"][1] == ["= ________", "dc/db = ______"]
    assert question.layout is solution.layout
    page = question.html()
    assert page.index("______") < page.index("<details>") < page.index("−9.626")


def test_shapes_of_the_network():
    drawing = pictures.relu_net()["p5_relu_net"]
    assert labels(drawing)["W1", "a = W1·x"] == ["I ⊗ xᵀ", "(4, 3)"]
    assert "[−0.413, 2.24]" in boxes(drawing)["y = c + b3"][1]
    assert boxes(drawing)["W3"][1][0] == "(2, 4)"


def test_three_steps_share_their_weights():
    drawing = pictures.unrolled()["p5_rnn"]
    for name in ("Wi", "Wh", "Wo"):
        (box,) = [box for box in drawing.scene.boxes if box.lines[0].text == name]
        leaving = [arrow for arrow in drawing.scene.arrows if arrow.tail == box.key]
        assert [arrow.lines[-1].text for arrow in leaving] == ["path 1", "path 2", "path 3"]


def test_several_results_have_no_adjoints():
    xs = pictures.leaves(x1=1.0, x2=2.0)
    with nt.Tape() as tape:
        nt.exp(xs[0]), xs[0] * xs[1]
    drawing = tape.draw()
    assert not [
        line for box in drawing.scene.boxes for line in box.lines if line.style == "adjoint"
    ]
    assert drawing.frames == ()


# --- long tapes -----------------------------------------------------------------------------------


def test_folded_pictures(drawings):
    shown = next(iter(drawings.values()))
    lines = boxes(shown["fold_lines"])
    assert lines["total = total + y"][1][1:] == [
        "25 000 add", "values 200.0 kB, ↻ 24 999 results used again inside",
        "|value| ≤ 7.265e+08", "|adjoint| ≤ 1",
    ]  # fmt: skip
    runs = boxes(shown["fold_runs"])
    assert runs["(add, sin, multiply, add) × 5 000"][0] == "group"
    scan = [lines for look, lines in boxes(shown["fold_scan"]).values() if look == "loop"]
    assert scan[0][0] == "100 steps"


def test_an_irregular_program_is_cut_into_blocks():
    x = nt.var(1.0, name="x")
    made = [nt.sin, nt.cos, nt.tanh, lambda y: y + x, lambda y: y * 2.0, lambda y: y - x]
    with nt.Tape() as tape:
        y = x
        for k in np.random.RandomState(0).randint(0, 6, 2000):
            y = made[k](y)
    drawing = tape.draw(y)
    assert 8 <= len(drawing.scene.boxes) <= 26
    members = [int(n.replace(" ", "")) for box in drawing.scene.boxes if box.look == "group"
               for n in re.findall(r"([\d ]+) (?:\w+)(?:,|$)", box.lines[-4].text)]  # fmt: skip
    assert sum(members) == 2000
    check_geometry(drawing)


def test_only_what_the_value_depends_on():
    x = nt.var(1.0, name="x")
    with nt.Tape() as tape:
        y = nt.sin(x)
        z = x
        for _ in range(500):
            z = nt.cos(z)
    assert len(tape.draw(y).scene.boxes) == 2
    assert len(tape.draw(z).scene.boxes) == 2  # one of them a run of 500


def test_lines_too_many_are_folded_by_function():
    names = [f"y{i}" for i in range(80)]
    code = "def f(x):\n" + "".join(
        f"    {b} = nt.sin({a})\n" for a, b in zip(["x", *names], names, strict=False)
    )
    scope = {"nt": nt}
    exec(compile(code + "    return y79\n", "generated.py", "exec"), scope)
    with nt.Tape(lines=True) as tape:
        y = scope["f"](nt.var(1.0, name="x"))
    shown = boxes(tape.draw(y))
    assert shown["f"][1][:2] == ["generated.py", "80 sin"]


# --- what users write -----------------------------------------------------------------------------

HOSTILE = [
    '<script>alert("1")</script>',
    "a&b\"'>",
    "\x00\x07\ufffe]]>",
    "𝜃̂ 漢字 👩‍🔬 עברית",
    "x" * 5000,
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_escaped_and_fit(name):
    x = nt.var(1.0, name=name)
    drawing = nt.draw(nt.sin(x) * x)
    root = ET.fromstring(str(drawing))
    assert not list(root.iter(f"{SVG}script"))
    assert drawing.layout.width < 900
    if name.isascii():
        check_geometry(drawing)
    ET.fromstring(re.search("<svg.*</svg>", drawing.html(), re.S)[0])


def test_texts_are_no_wider_than_the_table_says():
    for text in (
        "dloss/dW1 = −9.626e−05",
        "path 1: 0.3 · −2 = 1",
        "∂f(x²·y) ÷ √2 → ŷ",
        "WWWW",
        "θσπ",
    ):
        assert measured(text, 12) <= metrics.width(text, 12) <= 1.4 * measured(text, 12)


def test_numbers_that_are_none():
    x = nt.var(math.inf, name="x")
    drawing = nt.draw(nt.log(x - x) * 1e300)
    assert "nan" in texts(drawing)
    states = {box.lines[0].text: box.state for box in drawing.scene.boxes}
    assert [name for name, state in states.items() if state != "bad"] == ["1e+300"]  # not red
    check_geometry(drawing)
    with nt.Tape() as tape:
        y = nt.log(x - x)
        for _ in range(100):
            y = nt.sin(y)
    folded = tape.draw(y)
    assert "|value| ≤ nan" in texts(folded) and folded.scene.boxes[-1].state == "bad"


# --- files and mistakes ---------------------------------------------------------------------------


def test_saving(tmp_path):
    drawing = pictures.frames()["p4_reverse_7"]
    assert drawing.save(tmp_path / "a.svg").read_text(encoding="utf-8") == str(drawing)
    assert drawing._repr_svg_() in drawing._repr_html_()
    a, b = pictures.leaves(a=3.0, b=2.0)
    whole = nt.draw((a + b) * (b + 1))
    whole.save(tmp_path / "walk.html", frames=True)
    page = (tmp_path / "walk.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 7 == page.count('type="radio"')
    whole.save(str(tmp_path / "walk.svg"), frames=True)
    assert len(list(tmp_path.glob("walk-*.svg"))) == 7
    pytest.importorskip("cairosvg")
    assert whole.save(tmp_path / "walk.png").read_bytes()[:4] == b"\x89PNG"


def test_mistakes_are_told(tmp_path):
    x = nt.var(1.0, name="x")
    y = nt.sin(x)
    with pytest.raises(nt.ArgumentError, match=r"saved as \.svg, \.html, \.png, not as '\.gif'"):
        nt.draw(y).save(tmp_path / "a.gif")
    for wrong in ({"sweep": "back"}, {"operations": "boxes"}, {"engine": "neato"},
                  {"direction": "up"}):  # fmt: skip
        with pytest.raises(nt.ArgumentError, match="not '"):
            nt.draw(y, **wrong)
    with pytest.raises(nt.ArgumentError, match="takes a recording value, not float"):
        nt.draw(1.0)
    with nt.Tape() as tape:
        nt.sin(x)
    for wrong in (1.0, -1, 7, [y]):
        with pytest.raises(nt.ArgumentError, match="a value of this tape, its name or its slot"):
            tape.draw(wrong)
    with pytest.raises(nt.ArgumentError, match="no operation made this value"):
        nt.draw(x)
    with pytest.raises(nt.ArgumentError, match="no operation was recorded"):
        nt.Tape().draw()
    with nt.Tape() as tape:
        z = nt.sin(x) * 1.0
        for _ in range(100):
            z = nt.sin(z)
    with pytest.raises(nt.ArgumentError, match="uses its slots several times"):
        nt.optimize(tape).draw()
    with nt.Tape() as other:
        nt.cos(x)
    with pytest.raises(nt.ArgumentError, match="another tape"):
        other.draw(y)


def test_without_a_layout_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(layout, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "ndtape\[draw\]"'):
        nt.draw(nt.sin(nt.var(1.0)))
    monkeypatch.undo()
    monkeypatch.setattr(layout.shutil, "which", lambda name: None)
    assert layout.available() == ("grandalf",)


def test_the_same_picture_in_another_process():
    """grandalf's layout depends on no hash."""
    code = (
        "import ndtape as nt\nx, y = nt.var(5.0, name='x'), nt.var(3.0, name='y')\n"
        "with nt.Tape() as tape:\n    z = nt.sin(x * x + y) * nt.exp(y) + x * y\n"
        "drawing = tape.draw(z, engine='grandalf')\n"
    )
    here = {}
    exec(code, here)
    there = subprocess.run([sys.executable, "-c", code + "print(drawing, end='')"],
                           capture_output=True, encoding="utf-8", check=True)  # fmt: skip
    assert there.stdout == str(here["drawing"])


def test_a_long_tape_is_drawn_quickly(drawings):
    """10⁵ instructions as a summary; 5 s are promised, and a busy machine is forgiven."""
    x, w = pictures.leaves(x=1.0, w=0.5)
    with nt.Tape(lines=True) as tape:
        y = x
        for _ in range(33_333):
            y = nt.sin(y) * w + y
    start = time.process_time()
    str(tape.draw(y))
    assert time.process_time() - start < 5.0


def test_the_folder_holds_nothing_else():
    assert {p.suffix for p in Path(pictures.FOLDER).iterdir()} == {".svg", ".html"}
