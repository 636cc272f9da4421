"""Folding of integer constants: what changes, what must not, and that line numbers stay."""

import ast
import re
from types import ModuleType

import pytest

from lapel_build.fold import fold, pack_table
from lapel_device import man_down
from lapel_protocol import alarm, custody, recording
from lapel_protocol.errors import BadTransition
from lapel_protocol.machine import Machine
from lapel_sim.build import board_sources


def folded(**files: str) -> dict[str, str]:
    """Fold modules of a package `p`, given by name."""
    sources = {"p/__init__.py": ""} | {f"p/{name}.py": text for name, text in files.items()}
    return {path.removeprefix("p/").removesuffix(".py"): text for path, text in fold(sources).items()}


def run(files: dict[str, str], module: str) -> dict[str, object]:
    """Names that a folded module without imports has after it ran."""
    names: dict[str, object] = {}
    exec(compile(files[module], module, "exec"), names)
    return names


def test_a_constant_is_put_where_it_is_used_in_other_modules_too() -> None:
    made = folded(
        limits="SIZE = 4\nTOTAL = SIZE * 3 + 1\nNONE = -1\n",
        user="from .limits import NONE, SIZE, TOTAL\n\ndef f(n):\n    return n * TOTAL - NONE + SIZE\n",
    )
    assert "import" not in made["user"]
    assert "SIZE" not in made["limits"] + made["user"]
    function = run(made, "user")["f"]
    assert callable(function)
    assert function(2) == 2 * 13 + 1 + 4


def test_a_constant_reached_through_its_module_is_folded_and_the_import_dropped_with_its_last_use() -> None:
    made = folded(
        limits="SIZE = 4\ndef g():\n    return SIZE\n",
        one="from . import limits\nx = limits.SIZE\n",
        two="from . import limits as l\nx = l.SIZE + l.g()\n",
    )
    assert made["one"] == "pass\nx = 4\n"
    assert made["two"] == "from . import limits as l\nx = 4 + l.g()\n"


def test_names_that_are_bound_twice_or_in_another_scope_are_left_alone() -> None:
    text = "A = 1\nA = 2\nB = 3\n\ndef f(B):\n    return A + B\n"
    assert folded(m=text)["m"] == text


def test_what_is_not_an_integer_is_left_alone() -> None:
    text = 'NAME = "x"\nFLAG = True\nTABLE = (1, 2)\nHALF = 1 / 2\n'
    assert folded(m=text)["m"] == text


def test_a_string_that_looks_like_a_constant_is_left_alone() -> None:
    made = folded(m='SIZE = 4\nx = "SIZE"  # SIZE\n')
    assert made["m"] == 'pass\nx = "SIZE"  # SIZE\n'


def test_type_checking_blocks_vanish_and_lines_keep_their_numbers() -> None:
    made = folded(
        m=(
            "TYPE_CHECKING = False\n"
            "if TYPE_CHECKING:\n"
            "    from typing import Any\n"
            "\n"
            "from .n import (\n"
            "    A,\n"
            "    b,\n"
            ")\n"
            "raise_here = b[A]\n"
        ),
        n="A = 1\nb = [1, 2]\n",
    )
    lines = made["m"].split("\n")
    assert "typing" not in made["m"]
    assert lines[4] == "from .n import b"
    assert lines[8] == "raise_here = b[1]"


def test_what_only_a_gateway_calls_vanishes_with_its_mark_and_lines_keep_their_numbers() -> None:
    made = folded(
        layout="def gateway_only(f):\n    return f\n\ndef fields():\n    return 1\n",
        m=(
            "from .layout import fields, gateway_only\n"
            "class A:\n"
            "    @gateway_only\n"
            "    def encode(self):\n"
            "        return fields()\n"
            "    def kept(self):\n"
            "        return 2\n"
            "@gateway_only\n"
            "def gone():\n"
            "    return 3\n"
            "last = A\n"
        ),
    )
    assert made["layout"] == "pass\n\n\ndef fields():\n    return 1\n"
    lines = made["m"].split("\n")
    assert lines[0] == "from .layout import fields"
    assert lines[2:5] == ["    pass", "", ""]
    assert lines[5] == "    def kept(self):"
    assert lines[7:11] == ["pass", "", "", "last = A"]


def test_no_board_source_calls_what_is_left_out_of_it() -> None:
    made = fold({name: path.read_text() for name, path in board_sources()})
    text = "\n".join(text for name, text in made.items() if name != "lapel_protocol/commanding.py")
    assert "gateway_only" not in text
    for name in ("parse_topic", "lane_filter", "segment_body", "chain_start"):
        assert name not in text
    orders = ast.parse(made["lapel_protocol/orders.py"])
    written = [
        node.name
        for node in orders.body
        if isinstance(node, ast.ClassDef)
        and any(isinstance(part, ast.FunctionDef) and part.name == "encode" for part in node.body)
    ]
    assert written == ["SettingsChange"]


def test_several_uses_on_one_line_with_wide_characters_come_out_right() -> None:
    made = folded(m='AB = 7\nx = ("é‖", AB, "é", AB)\n')
    assert made["m"] == 'pass\nx = ("é‖", 7, "é", 7)\n'


def test_a_source_that_is_not_python_is_refused() -> None:
    with pytest.raises(SyntaxError):
        folded(m="def (:\n")


def test_every_board_source_is_still_python_with_the_same_number_of_lines() -> None:
    sources = {name: path.read_text() for name, path in board_sources()}
    made = fold(sources)
    assert made.keys() == sources.keys()
    for name, text in made.items():
        ast.parse(text)
        assert text.count("\n") == sources[name].count("\n")
    before = sum(len(ast.parse(text).body) for text in sources.values())
    assert sum(not isinstance(node, ast.Pass) for text in made.values() for node in ast.parse(text).body) < before - 300


@pytest.mark.parametrize("module", [alarm, recording, custody, man_down])
def test_a_table_of_transitions_becomes_bytes_that_give_the_same_machine(module: ModuleType) -> None:
    made = fold({name: path.read_text() for name, path in board_sources()})
    line = re.search(r"^TRANSITIONS = (b.*)$", made[f"{module.__name__.replace('.', '/')}.py"], re.MULTILINE)
    assert line is not None
    packed = ast.literal_eval(line[1])
    assert packed == pack_table(module.TRANSITIONS)
    for state in range(12):
        for event in range(16):
            plain, small = Machine(module.TRANSITIONS, state), Machine(packed, state)
            allowed = (state, event) in module.TRANSITIONS
            assert small.allows(event) == plain.allows(event) == allowed
            if allowed:
                assert tuple(small.handle(event)) == tuple(plain.handle(event))
                assert small.state == plain.state
            else:
                with pytest.raises(BadTransition):
                    small.handle(event)
                assert small.state == state


def test_a_dictionary_that_is_no_table_of_transitions_stays() -> None:
    text = "A = {}\nB = {(1, 2): 3}\nC = {(1, 2): (3, 4)}\nD = {(1, 2): (3, (f,))}\nE = {1: (3, ())}\n"
    assert folded(one=text)["one"] == text


def test_a_class_that_only_gateways_raise_is_left_out_and_its_base_stays() -> None:
    made = fold({name: path.read_text() for name, path in board_sources()})
    text = made["lapel_protocol/errors.py"]
    assert "class Unopenable" not in text
    assert "class EpochTooFar" not in text
    assert "class Malformed(ProtocolError)" in text


def test_the_words_of_a_protocols_error_vanish_and_those_of_others_stay() -> None:
    sources = {
        "lapel_protocol/__init__.py": "",
        "lapel_protocol/errors.py": "class Base(Exception):\n    pass\nclass Malformed(Base):\n    pass\n",
        "lapel_protocol/m.py": (
            "from .errors import Malformed as Bad\nLIMIT = 5\n\n"
            "def f(n):\n    if n > LIMIT:\n        raise Bad(\n            'more than %d'\n            % LIMIT)\n"
            "    if n < 0:\n        raise ValueError('less than 0')\n    raise Bad('no reason')\n"
        ),
        "p/__init__.py": "",
        "p/m.py": "class Malformed(Exception):\n    pass\n\ndef f():\n    raise Malformed('mine')\n",
    }
    made = fold(sources)
    text = made["lapel_protocol/m.py"]
    assert "raise Bad\n" in text
    assert "more than" not in text
    assert "no reason" not in text
    assert "raise ValueError('less than 0')" in text
    assert text.count("\n") == sources["lapel_protocol/m.py"].count("\n")
    assert made["p/m.py"] == sources["p/m.py"]
