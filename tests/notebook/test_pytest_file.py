"""A cell as a function, and a pytest file as text."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from llm_latency.errors import UsageError
from llm_latency.notebook.provenance import trace
from llm_latency.notebook.pytest_file import Heading, make_file, read_cell


def written(source: str, *cells: str, namespace: dict[str, Any] | None = None, **heading: Any) -> str:
    """The file of a cell, below its docstring and `import pytest`."""
    about: dict[str, Any] = {"paragraphs": ("About.", "More."), "cell": "In [5]", "limits": {"total_p50": "1 s"}}
    cell = read_cell(source)
    found = trace(
        cell.reads,
        perhaps=cell.rebound,
        bound=cell.bound,
        stars=cell.stars,
        earlier=cells,
        namespace=namespace or {},
    )
    text = make_file(cell, found, heading=Heading(**about | heading), namespace=namespace or {})
    ast.parse(text)
    return text


def below(text: str) -> str:
    """What stands behind the imports."""
    head, middle, rest = text.partition("import pytest\n")
    assert head.startswith('"""')
    assert middle
    return rest.strip("\n") + "\n"


TEST = '''@pytest.mark.latency_budget(total_p50="1 s")
def test_cell_5(llmtime{parameters}):
    """Keep the limits of the cell In [5], timed in a notebook."""

    {asynchronous}def cell({defaults}):
        {body}

    llmtime(cell)
'''


def the_test(body: str, *, parameters: str = "", defaults: str = "", asynchronous: str = "") -> str:
    """The test as it is expected."""
    return TEST.format(body=body, parameters=parameters, defaults=defaults, asynchronous=asynchronous)


@pytest.mark.parametrize(
    ("source", "body"),
    [
        ("1", "return 1"),
        ("1;", "return 1"),
        ("1;  # one", "return 1  # one"),
        ("x = 1; y = 2 ;\ny", "x = 1\n        y = 2\n        return y"),
        ("x = 1; \\\ny = 2", "x = 1\n        y = 2"),
        ("(\n 1\n)", "return (\n         1\n        )"),
        ("*[1], 2", "return *[1], 2"),
        ("(y := 4)", "return (y := 4)"),
        ("# a\n\n\n\nx = 1\n# b", "# a\n\n        x = 1\n        # b"),
        ("u'%%llmtime -r 2'\n\nx = 1\nx", "x = 1\n        return x"),
        ("for i in []:\n  i", "for i in []:\n          i"),
        ('"""\n"""', 'return """\n"""'),
        ("global g\ng = 1", "g = 1"),
        ("x = 1\r\nx", "x = 1\n        return x"),
    ],
)
def test_a_cell_is_a_function_that_gives_its_last_value(source: str, body: str) -> None:
    """As written, comments too; a statement a line."""
    assert the_test(body) == below(written(source))


def test_a_cell_that_awaits_is_a_coroutine_function() -> None:
    """The fixture runs it."""
    body = "x = [i async for i in f()]\n        return await g(x)"
    expected = the_test(body, parameters=", f, g", asynchronous="async ")
    text = below(written("x = [i async for i in f()]\nawait g(x)", namespace={"f": 1, "g": 2}))
    assert text.endswith(expected)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", "there is no code in the cell"),
        ("# only a comment", "there is no code in the cell"),
        ("from __future__ import annotations", "there is no code in the cell"),
        ("x = (", "the cell is no Python code: "),
        ("a\0b", "the cell is no Python code: "),
        ("return 1", "the cell is no Python code: 'return' outside function"),
        (
            "x = 1\nif x:\n    get_ipython().system('ls')",
            "line 3 of the cell is a command of IPython, which a test does not have: get_ipython().system('ls')",
        ),
        ("x = get_ipython().run_line_magic('time', 'f()')", "line 1 of the cell is a command of IPython"),
    ],
)
def test_a_cell_that_cannot_stand_in_a_test_is_refused(source: str, words: str) -> None:
    """With the line, where it is one."""
    with pytest.raises(UsageError) as error:
        read_cell(source)
    assert words in str(error.value)


def test_a_name_that_is_read_and_bound_is_a_default() -> None:
    """So that each call begins with what the notebook had; one that is bound first is the cell's own."""
    text = written("h = h + [x]\nx = 2\nt = 3\nt", "h = []\nx = 1\nt = 0")
    body = "h = h + [x]\n        x = 2\n        t = 3\n        return t"
    assert f"h = []\nx = 1\n\n\n{the_test(body, defaults='h=h, x=x')}" == below(text)


def test_a_fixture_has_another_name_where_pytest_has_that_one() -> None:
    """And is handed on by its own."""
    text = below(written("request, use", "request = open('x')", "use = [request]"))
    assert (
        '@pytest.fixture(scope="module")\ndef notebook_request():\n    return open("x")'.replace('"x"', "'x'") in text
    )
    assert (
        '@pytest.fixture(scope="module")\ndef use(notebook_request):\n    request = notebook_request\n'
        "    use = [request]\n    return use\n"
    ) in text
    assert text.endswith(
        the_test("return request, use", parameters=", notebook_request, use", defaults="request=notebook_request")
    )


def test_what_is_made_together_is_shared() -> None:
    """The statement runs once, and a fixture a name picks."""
    text = below(written("a, b", "a, b = load(1)", namespace={"load": 1}))
    assert (
        '@pytest.fixture(scope="module")\ndef a_and_b(load):\n    a, b = load(1)\n    return a, b\n\n\n'
        '@pytest.fixture(scope="module")\ndef a(a_and_b):\n    return a_and_b[0]\n\n\n'
        '@pytest.fixture(scope="module")\ndef b(a_and_b):\n    return a_and_b[1]\n'
    ) in text


def test_a_fixture_that_awaits_has_a_loop_of_its_own() -> None:
    """A fixture of pytest's is a plain function."""
    text = written("x", "x = await f(\n  '''a\n  b''')", namespace={"f": 1})
    assert (
        "def x(f):\n    async def make():\n        return await f(\n          '''a\n  b''')\n\n"
        "    return asyncio.run(make())\n"
    ) in text
    assert "import asyncio\n\nimport pytest\n" in text


def test_globals_of_functions() -> None:
    """Of the cell they become the test's, of a fixture they stay the file's."""
    text = below(written("def f():\n    global n, k\n    n = k = 1\nf()\nn", "n = len('')"))
    assert "        def f():\n            global k; nonlocal n\n            n = k = 1\n" in text
    assert "    def cell(n=n):\n" in text
    text = below(written("m", "def load():\n    global m\n    m = len('')\nload()\n1"))
    assert (
        "def m():\n    global m\n\n    def load():\n        global m\n        m = len('')\n\n    load()\n    return m\n"
        in text
    )


def test_functions_within_stand_before_the_code() -> None:
    """They see what it binds."""
    text = below(written("m = 1\nf()", "def f():\n    return m"))
    assert the_test("def f():\n            return m\n\n        m = 1\n        return f()") == text


def test_imports_are_in_isorts_order() -> None:
    """Standard library first, modules before names, and what comes from one module on one line."""
    cell = "z.A, b, a.c, os, js, K, Bcd, efg, OD"
    cells = (
        "import z, os\nimport a.c\nimport json as js\nfrom z import K, efg, Bcd\nimport b\nfrom collections import OD"
    )
    head = written(cell, cells).partition("\n\n\n")[0].partition('"""\n\n')[2]
    assert (
        "import json as js\nimport os\nfrom collections import OD\n\n"
        "import a.c\nimport b\nimport pytest\nimport z\nfrom z import K, Bcd, efg"
    ) == head


def test_long_lines_are_broken_as_ruff_breaks_them() -> None:
    """Arguments on a line of their own, or a line each."""
    names = [f"a_name_of_some_length_{index}" for index in range(5)]
    text = written(", ".join(names[:3]), namespace=dict.fromkeys(names))
    assert f"def test_cell_5(\n    llmtime, {', '.join(names[:3])}\n):\n" in text
    text = written(", ".join(names), namespace=dict.fromkeys(names))
    listed = "\n".join(f"    {name}," for name in ["llmtime", *names])
    assert f"def test_cell_5(\n{listed}\n):\n" in text


@pytest.mark.parametrize(
    ("name", "test"),
    [
        ("In [5]", "test_cell_5"),
        ("chat turn", "test_chat_turn"),
        ("Chat-Turn №2!", "test_chat_turn_2"),
        ("test_chat", "test_chat"),
        ("class", "test_class"),
        ("", "test_cell"),
        ("🚀", "test_cell"),
        ("größe", "test_größe"),
        ("x²", "test_x"),
        ("a" * 99, f"test_{'a' * 60}"),
        ('"""\\', "test_cell"),
    ],
)
def test_the_test_is_called_after_the_cell(name: str, test: str) -> None:
    """By an identifier, whatever the cell is called."""
    assert f"def {test}(llmtime):" in written("1", cell=name)


def test_hostile_words_stay_words() -> None:
    """In docstrings they neither end them nor escape, and nothing unseen is written."""
    nasty = 'a """ + "b" \\N{x} \\ \x1b[31m \u202e"'
    tree = ast.parse(written("1", cell=nasty, paragraphs=(f'"{nasty}', nasty)))
    shown = 'a """ + "b" \\N{x} \\ \\x1b[31m \\u202e"'
    assert f'"{shown}\n\n{shown}\n' == ast.get_docstring(tree, clean=False)
    assert f"Keep the limits of the cell {shown}, timed in a notebook." == ast.get_docstring(tree.body[-1])  # type: ignore[arg-type]  # a function


def test_a_name_of_the_users_is_nobody_elses() -> None:
    """Neither the inner function, nor the test, nor a shared fixture takes it."""
    text = written(
        "cell, test_cell_5, a_and_b, a, b", "cell = len('')\na_and_b = test_cell_5 = len('x')\na, b = cell, 2"
    )
    assert "    def cell_2(test_cell_5=notebook_test_cell_5):\n" in text
    assert "def test_cell_5_2(" in text
    assert "def a_and_b_2(cell):\n" in text


def test_settings_come_first() -> None:
    """Whatever the test uses."""
    import random

    text = written("1", "import random\nrandom.seed(3)", namespace={"random": random})
    assert '@pytest.fixture(scope="module", autouse=True)\ndef notebook_settings():\n    random.seed(3)\n' in text


def test_a_fixture_that_must_be_written_says_what_it_was() -> None:
    """Its type, or that it is gone."""
    text = written("x, y", namespace={"x": {}})
    assert '    pytest.fail("say here how `x` is made: it was a dict in the notebook")\n' in text
    assert "say here how `y` is made: it was not there any more in the notebook" in text
