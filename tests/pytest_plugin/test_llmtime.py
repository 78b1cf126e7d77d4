"""The fixture as a test uses it: synchronous, asynchronous, streams, several times, and names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Suite

pytest_plugins = ["pytester"]

ASYNCIO = ("-p", "asyncio", "-o", "asyncio_default_fixture_loop_scope=function")


def test_every_kind_of_callable_works_in_a_synchronous_test(suite: Suite) -> None:
    """Functions, generators, coroutine functions, asynchronous streams, and lambdas around them."""
    seen = suite.run("""
import functools

class Client:
    async def __call__(self):
        await asyncio.sleep(0.001)

@pytest.mark.parametrize("target", [
    plain, tokens, chat, tokens_async, Client(), functools.partial(chat),
    lambda: plain(), lambda: tokens(), lambda: chat(), lambda: tokens_async(),
])
def test_kinds(llmtime, target):
    m = llmtime(target, repeat=2)
    assert 2 == m.total.n
    assert "1 ms" < m.total.p50
    assert m.ttft.n in (0, 2)
""")
    assert {"passed": 10} == seen.counts


ASYNC = """
@pytest.mark.asyncio
@fast
class TestKinds:
    @pytest.mark.parametrize("target", [tokens_async, lambda: tokens_async()])
    async def test_stream(self, llmtime, target):
        m = await llmtime(target, repeat=6)
        assert 6 == m.ttft.n
        assert "1 ms" < m.ttft.p50

    async def test_synchronous(self, llmtime):
        assert 6 == llmtime(tokens, repeat=6).ttft.n
        assert 6 == llmtime(lambda: tokens(), repeat=6).ttft.n

@pytest.mark.asyncio
@pytest.mark.parametrize("target", [chat, lambda: chat(), lambda: asyncio.ensure_future(chat())])
async def test_coroutine(llmtime, target):
    m = await llmtime(target, repeat=6)
    assert "1 ms" < m.total.p50
    assert 1 == len(asyncio.all_tasks())

@slow
@pytest.mark.asyncio
async def test_broken(llmtime):
    await llmtime(tokens_async)

@slow
@pytest.mark.asyncio
@pytest.mark.xfail(strict=True)
async def test_broken_as_expected(llmtime):
    await llmtime(tokens_async)

@unsure
@pytest.mark.asyncio
async def test_unsure(llmtime):
    await llmtime(tokens_async, repeat=1)

@fast
@pytest.mark.asyncio
async def test_several_at_once(llmtime):
    inside = []
    async def alone():
        inside.append(1)
        assert 1 == len(inside)
        await asyncio.sleep(0.001)
        inside.pop()
        yield "token"
    await asyncio.gather(*(llmtime(alone, repeat=6) for _ in range(3)))

@fast
@pytest.mark.asyncio
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
async def test_not_awaited(llmtime):
    llmtime(tokens_async)

@pytest.mark.asyncio
async def test_breaks(llmtime):
    async def call():
        raise ValueError("the server went away")
    await llmtime(call)
"""


def test_every_kind_of_callable_works_in_an_asynchronous_test(any_suite: Suite) -> None:
    """What is asynchronous is awaited on the test's own loop; budgets are judged as in any test."""
    seen = any_suite.run(ASYNC, *ASYNCIO)
    assert {"passed": 7, "failed": 3, "undecided": 1, "xfailed": 1} == seen.counts
    assert seen.having("TOO SLOW test_it.py::test_broken")
    assert seen.having("FAILED test_it.py::test_not_awaited", "or not awaited")
    assert seen.having("FAILED test_it.py::test_breaks - ValueError: the server went away")


def test_names_are_those_of_the_test_and_its_calls(suite: Suite) -> None:
    """The first is the test's own, the next are numbered, and a name that is given stays."""
    seen = suite.run("""
@pytest.mark.parametrize("size", ["small"])
def test_names(llmtime, size):
    given = [llmtime(plain, repeat=1), llmtime(plain, repeat=1), llmtime(plain, repeat=1, name="mine")]
    assert ["test_names[small]", "test_names[small] #2", "mine"] == [m.name for m in given]
""")
    assert {"passed": 1} == seen.counts
    own = "test_it.py::test_names[small]"
    assert [f"{own} mine", own, f"{own} #2"] == [line.partition("  ")[0] for line in seen.having(own)]


def test_arguments_are_those_of_measure(suite: Suite) -> None:
    """Counts are kept exactly; wrong arguments say what was expected and are the test's failure."""
    seen = suite.run("""
def test_counts(llmtime):
    calls = []
    m = llmtime(lambda: calls.append(1), repeat=3, warmup=2)
    assert (3, 2, 6) == (len(m.traces), len(m.warmup), len(calls))

def test_budgets_of_the_call(llmtime):
    m = llmtime(tokens, budget=["ttft < 1 h", "tpot p50 < 1 h"])
    assert ["pass", "pass"] == [v.outcome for v in m.verdicts]

@fast
def test_a_budget_of_the_call_replaces_the_same_of_the_marker(llmtime):
    m = llmtime(tokens, budget="ttft p50 < 2 h")
    assert ["ttft p50 < 7,200 s"] == [v.budget for v in m.verdicts]

def test_repeat(llmtime):
    llmtime(plain, repeat=0)

def test_text(llmtime):
    llmtime(plain, time_budget="30")

def test_not_callable(llmtime):
    llmtime(plain())
""")
    assert {"passed": 3, "failed": 3} == seen.counts
    assert seen.having("FAILED", "test_repeat", "repeat=0; expected a whole number of calls")
    assert seen.having("FAILED", "test_text", "'30' is not a number with a unit")
    assert seen.having("FAILED", "test_not_callable", "NoneType is not callable; measure takes a function")


def test_calls_of_other_fixtures_are_judged_and_those_after_the_test_refused(suite: Suite) -> None:
    """What is timed before the test counts for it; after it there is nobody left to fail."""
    seen = suite.run("""
@pytest.fixture
def before(llmtime):
    llmtime(tokens)

@slow
def test_before(before):
    pass

@pytest.fixture
def after(llmtime):
    yield
    llmtime(tokens)

def test_after(after):
    pass
""")
    assert {"failed": 1, "passed": 1, "errors": 1} == seen.counts
    assert seen.having("TOO SLOW test_it.py::test_before")
    assert seen.having("ERROR test_it.py::test_after", "after its test had ended")


def test_an_unequal_call_is_undecided_not_passed(suite: Suite) -> None:
    """A call that changes its own input is not repeated, and one call decides no percentile."""
    seen = suite.run("""
@fast
def test_unequal(llmtime):
    import llm_latency
    grown = []
    def call():
        grown.append(1)
        for _ in grown:
            for _ in llm_latency.stream(tokens()):
                pass
    llmtime(call)
""")
    assert {"undecided": 1} == seen.counts
    assert seen.having("test_unequal", "unequal work")
