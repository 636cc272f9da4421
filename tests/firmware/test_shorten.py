"""Short private names: what is renamed, what must not be, and that the real board's code keeps its shape."""

import ast
import re

from lapel_build.fold import fold
from lapel_build.shorten import shorten
from lapel_sim.build import board_sources

CLASS = """\
class {name}:
    def __init__(self):
        self._{held}, self.seen = 1, 2

    def look(self):
        return self._{held} + self.seen
"""


def made(**files: str) -> dict[str, str]:
    """Shorten modules of a package `p`, given by name."""
    short = shorten({f"p/{name}.py": text for name, text in files.items()})
    return {path.removeprefix("p/").removesuffix(".py"): text for path, text in short.items()}


def test_private_names_of_different_modules_become_the_same_short_ones() -> None:
    short = made(one=CLASS.format(name="A", held="first"), two=CLASS.format(name="B", held="second"))
    assert short == {"one": CLASS.format(name="A", held="0"), "two": CLASS.format(name="B", held="0")}


def test_what_was_renamed_still_runs() -> None:
    names: dict[str, object] = {}
    text = "_LIST = [1]\n\ndef _add(more):\n    _LIST.append(more)\n    return _LIST\n\nout = _add(2)\n"
    exec(made(m=text)["m"], names)
    assert names["out"] == [1, 2]
    assert not {"_LIST", "_add"} & set(names)


def test_a_name_that_a_second_module_uses_is_left_alone() -> None:
    text = CLASS.format(name="A", held="shared")
    assert made(one=text, two="def f(a):\n    return a._shared\n")["one"] == text
    helper = "def _helper():\n    return 1\n"
    assert made(one=helper, two="from .one import _helper\n")["one"] == helper


def test_names_that_somebody_else_gave_are_left_alone() -> None:
    for text in (
        "import sys\nx = sys.implementation._mpy\n",
        "def f(_given):\n    _given = 1\n    return _given\n",
        "class A:\n    def __init__(self):\n        self._x = 1\n\n\ndef f(a):\n    return getattr(a, '_x')\n",
        "class A:\n    __slots__ = ()\n",
    ):
        assert made(m=text)["m"] == text


def test_modules_whose_classes_inherit_from_each_other_are_left_alone() -> None:
    one = CLASS.format(name="A", held="first")
    two = "from .one import A\n\n\nclass B(A):\n    def more(self):\n        self._second = 1\n"
    assert made(one=one, two=two) == {"one": one, "two": two}


def test_a_short_name_that_is_there_already_is_not_given_to_another() -> None:
    text = "class A:\n    def __init__(self):\n        self._0, self._long = 1, 2\n"
    names = re.findall(r"self\.(\w+)", made(m=text)["m"])
    assert len(set(names)) == 2


def test_the_boards_code_keeps_its_lines_and_shape_and_loses_three_hundred_names() -> None:
    sources = fold({name: path.read_text() for name, path in board_sources()})
    short = shorten(sources)
    assert short.keys() == sources.keys()

    def shape(text: str) -> list[tuple[str, int]]:
        return [(type(node).__name__, getattr(node, "lineno", 0)) for node in ast.walk(ast.parse(text))]

    def words(texts: dict[str, str]) -> set[str]:
        return {word for text in texts.values() for word in re.findall(r"\b_[a-z0-9]\w*", text)}

    assert all(shape(short[name]) == shape(text) for name, text in sources.items())
    assert len(words(sources)) - len(words(short)) > 200
