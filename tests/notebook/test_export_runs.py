"""What is exported from odd notebooks runs as it is, and sees what the notebook saw."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from llm_latency.notebook.export import write_test
from tests.notebook.exports import call, executed, measured, run_pytest, unused_imports

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
