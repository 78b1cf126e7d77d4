"""A failing budget prints a cell to paste: what was timed, as a notebook runs it."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest

from llm_latency.notebook.options import parse_options
from pytest_llm_latency import paste

if TYPE_CHECKING:
    from conftest import Seen, Suite

pytest_plugins = ["pytester"]

TITLE = f" {paste.TITLE} "


def pasted(seen: Seen) -> list[list[str]]:
    """The cells that a run has shown, each as its lines."""
    cells: list[list[str]] = []
    is_inside = False
    for line in seen.lines:
        if TITLE in line and line.startswith("-"):
            cells.append([])
            is_inside = True
        elif re.match(r"[-=_]{5,}", line):
            is_inside = False
        elif is_inside:
            cells[-1].append(line)
    return cells


def code_of(seen: Seen) -> str:
    """The code of the one cell, without its two first lines; it is one that a notebook can run."""
    ((line, about, *code),) = pasted(seen)
    assert line.startswith("%%llmtime -r ")
    assert about.startswith("# test_it in test_it.py")
    text = "\n".join(code)
    compile(text, "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    return text


DEF = '''
K = 3

def work(n=2, *, m=K):
    """Says what it does."""
    # what comes first

    text = """a
  b
        c"""
    if n:
        time.sleep(0)  # why

    return (
        text, n
    )

@limits(ttft="1 ns", total_p50="1 ns", e2e="1 h", output_throughput="1e9 tok/s")
def test_it(llmtime):
    llmtime(work, repeat=7)
'''


def test_the_cell_of_a_function(any_suite: Suite) -> None:
    """Its body at the left margin, strings as they were, defaults as variables, and the budgets of the test."""
    seen = any_suite.run(DEF)
    ((line, about, *code),) = pasted(seen)
    assert (
        '%%llmtime -r 7 --budget "ttft p50 < 1 ns" --budget "total p50 < 1 ns" --budget "e2e p50 < 3600 s"'
        ' --budget "output_throughput p50 > 1000000000 tok/s"'
    ) == line
    assert "# test_it in test_it.py; K, time of the file" == about
    assert [
        "n = 2",
        "m = K",
        "# what comes first",
        "",
        'text = """a',
        "  b",
        '        c"""',
        "if n:",
        "    time.sleep(0)  # why",
        "",
        "(",
        "    text, n",
        ")",
    ] == code
    options = parse_options(line.removeprefix("%%llmtime"))
    assert (7, "") == (options.plan.repeat, options.code)
    assert ["ttft", "total", "e2e", "output_throughput"] == [budget.metric for budget in options.plan.budgets]


# (what stands above the test, its body, the code that is shown)
CALLABLES: list[tuple[str, str, str]] = [
    ("", "llmtime(lambda: time.sleep(0))", "time.sleep(0)"),
    ("", "x = 2\n    llmtime(lambda n=x, x=x: [n,\n            x])", "n = x\n[n,\n        x]"),
    ("", "a, b = (lambda: plain()), (lambda: chat)\n    llmtime(b)", "chat"),
    ("K = 1", "llmtime(lambda: None or K)", "None or K"),
    ("", "f = lambda: (lambda: plain())\n    llmtime(f())", "plain()"),
    ("", "llmtime((lambda: 1\n        + 2))", "(1\n    + 2)"),
    ("", 'llmtime(lambda: """a\n  b""")', '"""a\n  b"""'),
    ("", "assert llmtime(lambda: time.sleep(0), repeat=7).total.p50", "time.sleep(0)"),
    ("def f(): return plain()  # in one line", "llmtime(f)", "plain()  # in one line"),
    ("def f(x=1):\n    if x: return\n    plain()", "llmtime(f)", "def f(x=1):\n    if x: return\n    plain()\n\nf()"),
    ("def f():\n    plain()\n    return", "llmtime(f)", "plain()"),
    ("def f():\n    def g():\n        return 1\n    return g()", "llmtime(f)", "def g():\n    return 1\ng()"),
    ("def f(*a):\n    return a", "llmtime(f)", "def f(*a):\n    return a\n\nf()"),
    ("", "llmtime(chat)", "await asyncio.sleep(0.001)"),
    ("async def f():\n    return await asyncio.sleep(0, 3)", "llmtime(f)", "await asyncio.sleep(0, 3)"),
    (
        "async def f(n=0):\n    if n: return\n    return await chat()",
        "llmtime(f)",
        "async def f(n=0):\n    if n: return\n    return await chat()\n\nawait f()",
    ),
    (
        "def f():\n    plain()\n    yield 1",
        "llmtime(f)",
        "def f():\n    plain()\n    yield 1\n\nimport llm_latency\nfor _ in llm_latency.stream(f()):\n    pass",
    ),
    (
        "async def f():\n    yield 1",
        "llmtime(f)",
        "async def f():\n    yield 1\n\nimport llm_latency\nasync for _ in llm_latency.stream_async(f()):\n    pass",
    ),
    (
        "import functools\ndef wrap(f):\n    return functools.wraps(f)(lambda: f())",
        "@wrap\n    def f():\n        return 1\n    llmtime(f)",
        "f()",
    ),
    (
        "",
        "n = 0\n    def f():\n        nonlocal n\n        n += 1\n        return n\n    llmtime(f)",
        "global n\nn += 1\nn",
    ),
    ("", "llmtime(time.time)", "time.time()"),
    ("import functools", 'llmtime(functools.partial(max, 1, *[2], key="""a\n b""".find and abs))',
     'max(1, *[2], key="""a\n b""".find and abs)'),
    ("import functools", "llmtime(functools.partial(chat))", "await chat()"),
    ("class C:\n    def __call__(self): plain()", "llmtime(C())", "C()()"),
    ("class C:\n    def go(self): plain()", "c = C()\n    llmtime(c.go)", "c.go()"),
    ("fs = [time.time]", "llmtime(fs[0])", "fs[0]()"),
    ("", "for f in (time.time,):\n        llmtime(f)", "f()"),
]  # fmt: skip


@pytest.mark.parametrize(("above", "body", "expected"), CALLABLES)
def test_the_code_of_every_kind_of_callable(suite: Suite, above: str, body: str, expected: str) -> None:
    """A body where that means the same, else the function and a call, else a call as the test spells it."""
    seen = suite.run(f'{above}\n\n@limits(total="1 ns")\ndef test_it(llmtime):\n    {body}\n')
    assert expected == code_of(seen)


def test_fixtures_variables_and_parameters_are_named(suite: Suite) -> None:
    """What a notebook does not have is told, and a parameter's value is there."""
    seen = suite.run("""
@pytest.fixture
def model():
    return lambda **_: time.sleep(0)

@pytest.fixture
def tokenizer():
    return lambda text: {"ids": text}

SIZE = 1

@limits(total="1 ns")
@pytest.mark.parametrize("text", ["hi"])
def test_it(llmtime, model, tokenizer, text):
    inputs = tokenizer(text)
    llmtime(lambda: model(size=SIZE, text=text, **inputs))
""")
    ((_, about, *code),) = pasted(seen)
    assert (
        "# test_it[hi] in test_it.py; it used the fixtures model, tokenizer; inputs of the test; SIZE of the file"
        == about
    )
    assert ["text = 'hi'", "model(size=SIZE, text=text, **inputs)"] == code


def test_a_fixture_that_was_timed_itself_is_called_by_its_name(suite: Suite) -> None:
    """Also where it goes by another one in a helper, and a method of one."""
    seen = suite.run(
        """
class Client:
    def go(self): plain()

@pytest.fixture
def client():
    return Client()

def timing(llmtime, function):
    return llmtime(function)

@slow2
class TestIt:
    def test_it(self, llmtime, client):
        timing(llmtime, client.go)
""".replace("slow2", 'limits(total="1 ns")')
    )
    ((_, about, *code),) = pasted(seen)
    assert "# TestIt::test_it in test_it.py; it used the fixture client" == about
    assert ["client.go()"] == code


def test_where_nothing_names_the_callable_a_comment_says_so(suite: Suite) -> None:
    """Two kinds of them at once, from elsewhere."""
    seen = suite.run("""
def timing(llmtime, function):
    return llmtime(function)

@limits(total="1 ns")
def test_it(llmtime):
    timing(llmtime, time.time)
""")
    assert "# which of its callables was timed, a builtin_function_or_method, cannot be told: call it here" == code_of(
        seen
    )


def test_a_cell_for_each_measurement_that_failed(suite: Suite) -> None:
    """And none for one that was kept."""
    seen = suite.run("""
def test_it(llmtime):
    llmtime(lambda: plain(), budget="total < 1 h")
    llmtime(lambda: [plain()], budget="total < 1 ns")
    llmtime(lambda: {1: plain()}, budget="ttft < 1 s", repeat=1)
""")
    assert [["[plain()]"], ["{1: plain()}"]] == [cell[2:] for cell in pasted(seen)]


def test_an_asynchronous_test(suite: Suite) -> None:
    """`await llmtime(...)`, also of a lambda that gives something to await."""
    seen = suite.run(
        """
@limits(total="1 ns")
@pytest.mark.asyncio
async def test_it(llmtime):
    await llmtime(lambda: chat())
""",
        "-p",
        "asyncio",
        "-o",
        "asyncio_default_fixture_loop_scope=function",
    )
    assert "chat()" == code_of(seen)


@pytest.mark.parametrize(
    ("source", "arguments"),
    [
        ('@limits(total="1 h")\ndef test_it(llmtime):\n    llmtime(plain)', []),
        ("@unsure\ndef test_it(llmtime):\n    llmtime(tokens, repeat=1)", []),
        ("@slow\n@pytest.mark.xfail\ndef test_it(llmtime):\n    llmtime(tokens)", []),
        ("@slow\ndef test_it(llmtime):\n    pass", []),
        ("@slow\ndef test_it(llmtime):\n    llmtime(tokens)\n    assert 1 == 2", []),
    ],
)
def test_no_cell_where_no_budget_failed(suite: Suite, source: str, arguments: list[str]) -> None:
    """Kept, undecided, expected, nothing timed, or another failure."""
    assert [] == pasted(suite.run(f"\n{source}\n", *arguments))


def test_undecided_that_fails_has_a_cell(suite: Suite) -> None:
    """It is a failure then."""
    seen = suite.run("\n@unsure\ndef test_it(llmtime):\n    llmtime(plain, repeat=1)\n", "--latency-undecided=fail")
    assert '%%llmtime -r 1 --budget "ttft p95 < 3600 s"' == pasted(seen)[0][0]


def test_a_file_that_has_changed_costs_nothing_but_the_cell(suite: Suite) -> None:
    """The test fails as it would without it."""
    seen = suite.run("""
@limits(total="1 ns")
def test_it(llmtime):
    with open(__file__, "w") as file:
        file.write("def (")
    llmtime(plain)
""")
    assert {"failed": 1} == seen.counts
    assert [] == pasted(seen)
    assert "INTERNALERROR" not in seen.text
    assert seen.having("TOO SLOW test_it.py::test_it")


def test_whatever_goes_wrong_is_no_cell() -> None:
    """An item of another plugin may be anything."""
    assert [] == paste.cells([(None, None)], object())  # type: ignore[list-item]  # on purpose
    assert [] == paste.cells([], None)


def test_nothing_of_it_is_loaded_before_a_budget_fails(fresh_suite: Suite) -> None:
    """A green run does not pay for it."""
    fresh_suite.pytester.makeconftest(
        "import sys\ndef pytest_sessionfinish():\n    print('LOADED', 'pytest_llm_latency.paste' in sys.modules)\n"
    )
    kept = '\n@limits(total="1 h")\ndef test_it(llmtime):\n    llmtime(plain)\n'
    assert fresh_suite.run(kept, "-s").having("LOADED False")
    assert fresh_suite.run(kept.replace("1 h", "1 ns"), "-s").having("LOADED True")
