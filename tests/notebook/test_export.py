"""From a timed cell to a pytest file: the path, the limits, and whether what is written runs as it is."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_latency.core.budget import parse_key
from llm_latency.core.environment import Environment
from llm_latency.core.measurement import Measurement
from llm_latency.core.trace import Annotation, Request, Trace
from llm_latency.errors import UsageError
from llm_latency.notebook.export import limits_of, write_test

MS = 1_000_000


def call(first_ms: int, *, gap_ms: int = 20, tokens: int = 3, kind: str = "generate") -> Trace:
    """A call of one request; without tokens it takes `first_ms`."""
    emissions = tuple(((first_ms + index * gap_ms) * MS, 1) for index in range(tokens))
    stop_ns = emissions[-1][0] if emissions else first_ms * MS
    request = Request(
        kind=kind, start_ns=0, stop_ns=stop_ns, emissions=emissions, row_tokens=(tokens,) if tokens else None
    )
    return Trace(start_ns=0, stop_ns=stop_ns, requests=(request,))


def measured(*traces: Trace, name: str = "In [5]", **fields: Any) -> Measurement:
    """A measurement of these calls, by default six of a cell without a model, of five seconds each."""
    return Measurement(
        name=name,
        workload={},
        environment=Environment(device="cpu", cores=2, torch="2.13.0"),
        traces=traces or tuple(call(5000, tokens=0, kind="call") for _ in range(6)),
        stopped_because="6 calls, as asked",
        recorded_at="2025-11-25T03:00:00+00:00",
        **fields,
    )


def executed(*cells: str) -> dict[str, Any]:
    """The namespace after these cells, as IPython runs them; a cell that fails is a cell that fails."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells:
        try:
            flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            code = compile(cell, "cell", "exec", flags=flags, dont_inherit=True)
            if code.co_flags & inspect.CO_COROUTINE:
                asyncio.run(eval(code, namespace))
            else:
                exec(code, namespace)
        except Exception as error:
            namespace["failed"] = error
    return namespace


def run_pytest(*paths: Path) -> str:
    """What pytest says about these files in a process of its own."""
    command = [sys.executable, "-Im", "pytest", "-q", "-p", "no:cacheprovider", "--latency-time-budget=5 s"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [*command, *map(str, paths)],
        cwd=paths[0].parent,
        env=environment | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return f"{done.stdout}\n{done.stderr}"


def unused_imports(path: Path) -> set[str]:
    """Names that a file imports at its top and does not use."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    lines = [node for node in imports if getattr(node, "module", "") != "__future__"]
    bound = {alias.asname or alias.name.partition(".")[0] for node in lines for alias in node.names}
    return bound - {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


# --- the path ---


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("chat.py", "not 'chat.py'; write --export {}/test_chat.py"),
        ("test_chat", "not 'test_chat'; write --export {}/test_chat.py"),
        ("test_chat.ipynb", "write --export {}/test_chat.py"),
        ("chat turn.py", "write --export {}/test_chat_turn.py"),
        ("test_a.b.py", "for its dots; write --export {}/test_a_b.py"),
        ("nowhere/test_chat.py", "there is no folder '{}/nowhere'"),
        (".", "{} is a folder; name the file, such as --export {}/test_cell.py"),
    ],
)
def test_a_path_that_pytest_would_not_run_is_refused_with_one_that_does(tmp_path: Path, name: str, words: str) -> None:
    """Nothing is written, and the message has what to write instead."""
    with pytest.raises(UsageError) as error:
        write_test(tmp_path / name, source="1", earlier=[], namespace={}, measurement=measured())
    assert words.replace("{}", str(tmp_path)) in str(error.value)
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["test_x.py", "x_test.py", "test_é-x.py"])
def test_both_of_pytests_names_do(tmp_path: Path, name: str) -> None:
    """As its default for `python_files` has it."""
    write_test(tmp_path / name, source="1", earlier=[], namespace={}, measurement=measured())
    assert [tmp_path / name] == list(tmp_path.iterdir())


def test_a_file_is_kept_unless_forced(tmp_path: Path) -> None:
    """Byte for byte; a dangling link is something too."""
    path, link = tmp_path / "test_x.py", tmp_path / "test_y.py"
    path.write_bytes(b"mine\r\n")
    link.symlink_to(tmp_path / "nowhere.py")
    for target in (path, link):
        with pytest.raises(UsageError, match="exists and is not overwritten; choose another name, or add --force"):
            write_test(target, source="1", earlier=[], namespace={}, measurement=measured())
    assert b"mine\r\n" == path.read_bytes()
    assert not (tmp_path / "nowhere.py").exists()
    write_test(path, source="1", earlier=[], namespace={}, measurement=measured(), force=True)
    assert path.read_text(encoding="utf-8").startswith('"""Made by')


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's reason, as a usage error."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("llm_latency.notebook.export.write_atomically", refuse)
    with pytest.raises(UsageError, match=r"test_x\.py cannot be written: Permission denied"):
        write_test(tmp_path / "test_x.py", source="1", earlier=[], namespace={}, measurement=measured())


# --- the limits ---


@pytest.mark.parametrize(
    ("measurement", "expected"),
    [
        # Six order statistics: the median lies between the extremes, the upper one 260 ms; * 1.5 = 390 ms.
        (measured(*(call(210 + 10 * i) for i in range(6))), {"ttft_p50": "390 ms", "tpot_p50": "30 ms"}),
        # 261 ms * 1.5 = 391.5 ms, rounded up to two digits.
        (measured(*(call(211 + 10 * i) for i in range(6))), {"ttft_p50": "400 ms", "tpot_p50": "30 ms"}),
        # One call: twice the head-room, 200 ms * 2.
        (measured(call(200)), {"ttft_p50": "400 ms", "tpot_p50": "40 ms"}),
        # Some calls: the largest of them, 220 ms * 2.
        (measured(call(200), call(220), call(210)), {"ttft_p50": "440 ms", "tpot_p50": "40 ms"}),
        (measured(call(200, tokens=1)), {"ttft_p50": "400 ms"}),
        (measured(call(200, tokens=0, kind="forward")), {"e2e_p50": "400 ms"}),
        (measured(call(200, tokens=0, kind="call")), {"total_p50": "400 ms"}),
        (measured(Trace(start_ns=0, stop_ns=3_600_000 * MS)), {"total_p50": "7200 s"}),
        (measured(Trace(start_ns=0, stop_ns=0)), {"total_p50": "1 µs"}),
    ],
)
def test_limits_are_what_was_measured_and_head_room(measurement: Measurement, expected: dict[str, str]) -> None:
    """The upper end of the median's interval, rounded up; each is read back by the marker as more than that."""
    limits = limits_of(measurement, headroom=0.5)
    assert expected == {f"{limit.budget.metric}_p50": limit.text for limit in limits}
    for limit in limits:
        assert limit.budget == parse_key(f"{limit.budget.metric}_p50", limit.text)
        assert limit.budget.limit >= measurement.reading(limit.budget.metric).p50.__float__()


@pytest.mark.parametrize(("headroom", "expected"), [(0, "260 ms"), (0.02, "270 ms"), (3.0, "1.1 s")])
def test_head_room_is_a_share(headroom: float, expected: str) -> None:
    """260 ms and nothing, 265.2 and 1040 rounded up."""
    limits = limits_of(measured(*(call(210 + 10 * i) for i in range(6))), headroom=headroom)
    assert expected == limits[0].text


def lazy() -> Measurement:
    """A measurement of a cell that gave a promise."""
    trace = call(5, tokens=0, kind="call")
    note = Annotation(kind="lazy", at_ns=5, detail="the value is a coroutine, which has run nothing yet")
    return measured(msgspec.structs.replace(trace, annotations=(note,)))


@pytest.mark.parametrize(
    ("measurement", "headroom", "words"),
    [
        (msgspec.structs.replace(measured(), traces=()), 0.5, "In [5] has no call that ended"),
        (measured(call(9), complete=False), 0.5, "In [5] has no call that ended"),
        (lazy(), 0.5, "which has run nothing yet"),
        (measured(), -0.1, "headroom=-0.1; expected a share"),
        (measured(), float("nan"), "headroom=nan; expected a share"),
        (measured(), float("inf"), "headroom=inf; expected a share"),
    ],
)
def test_no_limit_is_set_by_what_says_nothing(measurement: Measurement, headroom: float, words: str) -> None:
    """No call, a call that broke off, a promise; and no head-room that is none."""
    with pytest.raises(UsageError) as error:
        limits_of(measurement, headroom=headroom)
    assert words in str(error.value)


def test_calls_before_an_interrupt_count(tmp_path: Path) -> None:
    """Whoever stopped a hundred repetitions after seven has seven."""
    stopped = measured(*(call(210 + 10 * i) for i in range(7)), complete=False)
    exported = write_test(tmp_path / "test_x.py", source="1", earlier=[], namespace={}, measurement=stopped)
    assert ("ttft p50 < 410 ms", "tpot p50 < 30 ms") == exported.budgets


# --- the file ---

EARLIER = '''import numpy as np, json
from collections import OrderedDict as Ordered
STYLE = "plain"
def shout(text):
    """Make it loud."""
    return text.upper() + STYLE
class Model:
    def generate(self, text):
        return shout(text)
model = Model()
model.is_ready = True
prompt = "say " + STYLE
'''
CELL = '''
# the question
text = f"""
  {prompt}
"""
answer = model.generate(text); np.zeros(1)
history = history + [answer]  # kept
Ordered(a=answer);
'''
EXPECTED = '''"""Made by `%llmtime --export` from the cell 'chat turn' on 2025-11-25.

Measured there: total 5.00 s (95 % interval 5.00 s – 5.00 s, 6 calls).
Measured on: 2 cores, torch 2.13.0.
Limits: the upper end of the interval and 50 % more, rounded up.
"""

from collections import OrderedDict as Ordered

import numpy as np
import pytest

STYLE = "plain"


def shout(text):
    """Make it loud."""
    return text.upper() + STYLE


class Model:
    def generate(self, text):
        return shout(text)


history = []


@pytest.fixture(scope="module")
def model():
    model = Model()
    model.is_ready = True
    return model


@pytest.fixture(scope="module")
def prompt():
    return "say " + STYLE


@pytest.mark.latency_budget(total_p50="7.5 s")
def test_chat_turn(llmtime, model, prompt):
    """Keep the limits of the cell chat turn, timed in a notebook."""

    def cell(history=history):
        # the question
        text = f"""
  {prompt}
"""
        answer = model.generate(text)
        np.zeros(1)
        history = history + [answer]  # kept
        return Ordered(a=answer)

    llmtime(cell)
'''


def test_the_whole_file(tmp_path: Path) -> None:
    """Imports, constants, functions, fixtures with later changes, and the cell; and nothing that it does not need."""
    path = tmp_path / "test_x.py"
    earlier = [EARLIER, "u'%%llmtime -r 3'\nhistory = []"]
    exported = write_test(
        path,
        source=CELL,
        earlier=earlier,
        namespace=executed(*earlier, CELL),
        measurement=measured(name="chat turn"),
    )
    assert EXPECTED == path.read_text(encoding="utf-8")
    assert ("model", "prompt") == exported.fixtures
    assert () == exported.unresolved
    assert f"wrote {path}: total p50 < 7.5 s; fixtures model, prompt; run it with pytest {path}" == str(exported)


def test_what_no_statement_explains_is_told_in_the_file_and_in_words(tmp_path: Path) -> None:
    """A name from `input()` or a magic is a fixture that says what it was."""
    path = tmp_path / "test_x.py"
    earlier = ["text = input()", "files = get_ipython().getoutput('ls')"]
    exported = write_test(
        path,
        source="text, files",
        earlier=earlier,
        namespace={"text": "x", "files": ["a"]},
        measurement=measured(call(200)),
    )
    written = path.read_text(encoding="utf-8")
    assert 'def text():\n    pytest.fail("say here how `text` is made: it was a str in the notebook")\n' in written
    assert 'def files():\n    pytest.fail("say here how `files` is made: it was a list in the notebook")\n' in written
    assert "Limits: without an interval, what was measured and 100 % more (twice the usual 50 %)" in written
    assert "Measured there: ttft 200 ms (1 call, no interval)" in written
    assert ("files", "text") == exported.unresolved
    assert str(exported).endswith(
        f"; fixtures files, text; say in it how files, text is made; run it with pytest {path}"
    )
    assert "2 errors" not in run_pytest(path)


def test_nothing_is_written_that_python_would_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should the writing be wrong, the user's folder stays as it was."""
    monkeypatch.setattr("llm_latency.notebook.export.make_file", lambda *_, **__: "def (")
    with pytest.raises(UsageError, match="the cell cannot be written as a function"):
        write_test(tmp_path / "test_x.py", source="1", earlier=[], namespace={}, measurement=measured())
    assert [] == list(tmp_path.iterdir())


# --- it runs as it is ---

# (what it is about, the cells before, the timed cell, which asserts that it sees what it saw in the notebook)
NOTEBOOKS: list[tuple[str, list[str], str]] = [
    ("nothing", [], "1"),
    (
        "versions",
        ['p = ["a"]\ninputs = "".join(p)\np.append("b")\nx = "hi"\ny = x * 2\nx = "bye"'],
        'out = (p, inputs, x, y)\nassert out == (["a", "b"], "a", "bye", "hihi"), out',
    ),
    ("circle", ["class M: n = 1\nm = M()\nids = [m.n]\nm.cfg = ids"], "assert m.cfg == ids == [1]"),
    ("alias", ["class C: x = 1\nclass M: c = C()\nm = M()\ncfg = m.c\ncfg.x = 2"], "assert m.c.x == 2 == cfg.x"),
    (
        "globals",
        ["n = 0\ndef bump():\n    global n\n    n += 1\nbump()\nbump()"],
        "assert n >= 2\nbump()",
    ),
    ("made by global", ["class M: x = 1\ndef load():\n    global m\n    m = M()\nload()"], "m.x"),
    ("global in the cell", ['n = len("abc")'], "def f():\n    global n\n    n += 1\n    return n\nassert f() == 4"),
    (
        "functions that read the cell",
        ["SYS = 1\ndef outer(): return chat()\ndef chat(): return messages + [SYS]"],
        "messages = [0]\nassert outer() == [0, 1]",
    ),
    (
        "pytest's names",
        ['request = object()\ncache = {}\ncache["a"] = 1\ndef test_data(): return cache\nclass Testing: x = 1'],
        "assert test_data()['a'] == Testing().x == 1\nrequest",
    ),
    ("hidden builtins", ['input = "a" + str(1)\nid = 3\nmax = "x".upper()'], 'assert input + max + str(id) == "a1X3"'),
    (
        "compound statements",
        [
            "class T: pad = None\ntok = T()\nif tok.pad is None:\n    tok.pad = 1\nitems = []\nfor i in range(3):\n"
            "    items.append(i)\ntry:\n    import nowhere_at_all; ok = 1\nexcept ImportError:\n    ok = 2\n"
            "with open(__import__('os').devnull) as file:\n    text = file.read()\nk = 1\nwhile k < 9: k *= 2"
        ],
        'assert (tok.pad, items, ok, text, k) == (1, [0, 1, 2], 2, "", 16)',
    ),
    (
        "await",
        [
            "import asyncio\nclass Client:\n    async def get(self):\n        await asyncio.sleep(0)\n        return 3",
            "client = Client()\ndata = await client.get()",
        ],
        "assert await client.get() == data\n[x async for x in agen()]",
    ),
    (
        "asynchronous with and for",
        [
            "import contextlib\n@contextlib.asynccontextmanager\nasync def ctx():\n    yield 1\nasync def agen():\n"
            "    yield 2\nasync with ctx() as v:\n    pass"
        ],
        "async with ctx() as c:\n    r = c + v\nasync for z in agen():\n    r += z\nassert r == 4",
    ),
    ("a generator", ["def tokens():\n    yield 1"], "tokens()"),
    ("a loop that carries", ["words = 'a b'.split()"], "for i, w in enumerate(words):\n    if i: prev\n    prev = w"),
    (
        "a module at hand",
        ["try:\n    import numpy as np\nexcept ImportError:\n    np = None\nimport json as j\nimport os.path, xml.dom"],
        "np.zeros(1), j.dumps(1), os.path.sep, xml.dom",
    ),
    ("star", ["from math import *"], "assert sqrt(4) + pi > 5"),
    ("star in the cell", [], "from math import *\nassert sqrt(4) + pi > 5"),
    (
        "classes",
        [
            "import enum\nfrom dataclasses import dataclass\nclass Base: pass\nsize = len('abc')\n@dataclass\n"
            "class P:\n    x: int = 1\nclass Sub(Base):\n    n = size\n    def get(self): return self.n + size\n"
            "class Col(enum.Enum):\n    RED = 1\np = P()"
        ],
        "assert Sub().get() == 6\nCol.RED, p.x",
    ),
    ("mutual recursion", ["s = [len('x')]\ndef f(n): return n and g(n - 1)\ndef g(n): return s and f(n)"], "f(3), s"),
    ("late binding", ["def f(): return n\nn = 4\ncall = lambda: f()\nn = len('12345')"], "assert call() == 5"),
    ("future", ["from __future__ import annotations", "def g(x: Missing) -> Nope: return x"], "g(1)"),
    ("future in the cell", [], "from __future__ import annotations\ndef g(x: Missing): return x\ng(1)"),
    (
        "strings",
        ['sys_prompt = """You are\n    helpful"""'],
        's = f"""{sys_prompt}\n  x{1 +\n1}"""  # c\nt = \'a\\\nb\'\nassert s + t == "You are\\n    helpful\\n  x2ab"',
    ),
    ("hostile", ['""" \\""" """'], '"""doc \\""" x"""\nr"\\d"'),
    ("unicode", ['größe = len("ä"); ünï = lambda x: x  # ä'], "assert größe + ünï(1) == 2; größe"),
    ("tabs and crlf", ["q = 1\r\n"], 'if True:\n\tx = q\n\tif x:\n\t\ty = """a\r\nb"""\r\nassert y == "a\\nb"\r\ny'),
    ("match", ["cmd = {'a': len('x'), 'b': 2}"], "match cmd:\n    case {'a': a, **rest}:\n        r = a, rest\nr"),
    ("deleted", ["tmp = len('a')"], "del tmp\ntmp = 3\nif (n := tmp) > 2: n"),
    ("cell", ["cell = object()"], "test_cell = cell\ntest_cell"),
    ("underscore", ["_x = len('a')", "_ = len('b')"], "_x, _"),
    ("mistyped", ["class M: x = 0\nm = M()", "m.evall()", "m = M(); m.x = 2", "m.x += 5"], "assert m.x == 7"),
    ("marked", ["u'%%llmtime -r 2'\nx = [1]\nx.append(2)", "%%broken ("], "assert x == [1, 2]"),
    ("a shuffle", ["import random\nrandom.seed(3)\nxs = [1, 2, 3, 4]\nrandom.shuffle(xs)"], "import random\nxs"),
    (
        "prepared by a function",
        ["cfg = {'x': 1}\ndef prepare(c):\n    c['x'] = 2\nprepare(cfg)\n1"],
        "assert cfg['x'] == 2",
    ),
]


@pytest.mark.slow
def test_odd_notebooks_run_as_they_are(tmp_path: Path) -> None:
    """Each is exported and all are run by a pytest of their own; no fixture has to be written by hand."""
    paths = []
    for index, (name, earlier, source) in enumerate(NOTEBOOKS):
        path = tmp_path / f"test_{index}.py"
        cells = [*earlier, "async def agen():\n    yield 1"] if name == "await" else earlier
        exported = write_test(
            path,
            source=source,
            earlier=cells,
            namespace=executed(*cells, source),
            measurement=measured(name=name),
        )
        assert () == exported.unresolved, name
        assert set() == unused_imports(path), name
        paths.append(path)
    said = run_pytest(*paths)
    assert f"{len(NOTEBOOKS)} passed" in said, said


def test_what_magics_ran_is_found(tmp_path: Path) -> None:
    """`%%time`, `%%capture` and `%time` run code as it is, and IPython keeps it as text."""
    earlier = [
        "get_ipython().run_cell_magic('time', '', 'x = len(\"abc\")\\nx += 1\\n')",
        "get_ipython().run_line_magic('time', 'y = [x]')",
        "get_ipython().run_line_magic('matplotlib', 'inline')",
    ]
    namespace = {"x": 4, "y": [4]}
    path = tmp_path / "test_x.py"
    write_test(path, source="y", earlier=earlier, namespace=namespace, measurement=measured())
    assert '    x = len("abc")\n    x += 1\n    return x\n' in path.read_text(encoding="utf-8")
    assert "    return [x]\n" in path.read_text(encoding="utf-8")


def test_a_module_beside_the_notebook_is_found_from_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session's folder is on its path and not on pytest's."""
    (tmp_path / "nb").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "nb" / "beside_the_notebook.py").write_text("def go():\n    return 5\n")
    monkeypatch.syspath_prepend(str(tmp_path / "nb"))
    earlier = ["from beside_the_notebook import go"]
    path = tmp_path / "tests" / "test_x.py"
    write_test(path, source="go()", earlier=earlier, namespace=executed(*earlier), measurement=measured())
    monkeypatch.delitem(sys.modules, "beside_the_notebook")
    expected = 'sys.path.append(str(Path(__file__).parent.joinpath("../nb").resolve()))\n'
    assert expected in path.read_text(encoding="utf-8")
    assert "1 passed" in run_pytest(path)


MODEL = """
import torch, transformers
torch.manual_seed(0)
config = transformers.GPT2Config(
    n_layer=2, n_embd=32, n_head=2, n_positions=128, vocab_size=120, bos_token_id=1, eos_token_id=None
)
model = transformers.GPT2LMHeadModel(config).eval()
kept = dict(max_new_tokens=4, min_new_tokens=4, do_sample=False)
"""
TOKENIZER = """
class Tokenizer:
    pad_token_id = None
    def __call__(self, text):
        return {"input_ids": torch.tensor([[2 + ord(letter) % 100 for letter in text]])}
tokenizer = Tokenizer()
if tokenizer.pad_token_id is None:
    tokenizer.pad_token_id = 0
model.generation_config.pad_token_id = tokenizer.pad_token_id
torch.set_num_threads(1)
def ask(text):
    return model.generate(**tokenizer(text), **kept)
"""


@pytest.mark.slow
def test_a_notebook_with_a_model_runs_as_it_is(tmp_path: Path) -> None:
    """A real GPT-2, a function over it, one call in the notebook: exported, collected, sampled, within its limits."""
    earlier: Sequence[str] = [MODEL, TOKENIZER, "u'%%llmtime'\nids = ask('warm')", "model.generate(ids)"]
    source = 'ids = ask("what is fast?")\nids.shape'
    paths = [tmp_path / "test_sync.py", tmp_path / "test_await.py"]
    awaiting = 'import asyncio\nids = await asyncio.to_thread(ask, "what is fast?")\nids.shape'
    traces = [call(5000, gap_ms=5000, tokens=4) for _ in range(6)]
    for path, code in zip(paths, (source, awaiting), strict=True):
        exported = write_test(
            path,
            source=code,
            earlier=earlier,
            namespace=executed(*earlier[:2], code),
            measurement=measured(*traces, name="chat turn"),
        )
        assert ("ttft p50 < 7.5 s", "tpot p50 < 7.5 s") == exported.budgets
        assert () == exported.unresolved
    said = run_pytest(*paths)
    assert "2 passed" in said, said
    assert "UNDECIDED" not in said
    written = paths[0].read_text(encoding="utf-8")
    assert "    torch.manual_seed(0)\n    model = transformers.GPT2LMHeadModel(config).eval()\n" in written
    assert "autouse=True)\ndef notebook_settings():\n    torch.set_num_threads(1)\n" in written
