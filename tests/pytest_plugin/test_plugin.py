"""The plugin among others: its start, its switch, its names, and a real model."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Suite

    from pytest_llm_latency.llmtime import LlmTime

pytest_plugins = ["pytester"]


def test_marker_and_fixture_are_listed(suite: Suite) -> None:
    """`--markers`, `--fixtures` and `--help` explain them; strict markers accept ours."""
    assert suite.run("", "--markers").having("@pytest.mark.latency_budget(ttft_p95=")
    assert suite.run("def test_it(): pass\n", "--fixtures").having("llmtime -- ")
    assert suite.run("", "--help").having("--latency-undecided=pass|fail")
    seen = suite.run("@fast\ndef test_timed(llmtime):\n    llmtime(tokens)\n", "--strict-markers", "--strict-config")
    assert {"passed": 1} == seen.counts


def test_the_off_switch(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-p no:llm_latency` turns off what is installed."""
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", raising=False)
    pytester.makepyfile("def test_timed(llmtime):\n    pass\n")
    on = pytester.runpytest_subprocess("--fixtures", "test_the_off_switch.py")
    off = pytester.runpytest_subprocess("-p", "no:llm_latency")
    on.stdout.fnmatch_lines(["llmtime -- *"])
    off.stdout.fnmatch_lines(["*fixture 'llmtime' not found*"])
    off.assert_outcomes(errors=1)


PROBE = """
import sys
import pytest

OURS = ("llm_latency", "msgspec", "numpy", "rich", "torch")

def loaded():
    return sorted(m for m in sys.modules if m.partition(".")[0] in OURS and m != "llm_latency")

@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session):
    print("COLLECTED", *loaded())

@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    started = [event for event in EVENTS if event in ("subprocess.Popen", "os.fork", "os.posix_spawn", "os.exec")]
    print("FINISHED", *loaded(), *started)

EVENTS = []
sys.addaudithook(lambda event, arguments: EVENTS.append(event))
"""


def test_a_run_that_times_nothing_loads_nothing_and_starts_nothing(fresh_suite: Suite) -> None:
    """Not the core either, failing assertions and the end of the run included."""
    fresh_suite.pytester.makeconftest(PROBE)
    seen = fresh_suite.run("def test_passes():\n    pass\n\ndef test_fails():\n    assert 1 == 2\n", "-s")
    assert {"passed": 1, "failed": 1} == seen.counts
    told = [line.strip() for line in seen.lines if line.startswith("COLLECTED")]
    told += [line.partition("F")[2].strip() for line in seen.lines if "FINISHED" in line]
    assert ["COLLECTED", "FINISHED"] == told


STARTED = """
import sys, pytest
pytest.main(["-q", "-p", "no:llm_latency"])
before = set(sys.modules)
import pytest_llm_latency.plugin
print("LOADED", *sorted(set(sys.modules) - before))
"""


def test_the_start_loads_nothing_but_the_plugins_own_few_modules(pytester: pytest.Pytester) -> None:
    """Beyond what pytest has loaded for itself: each millisecond is one of every run."""
    pytester.makepyfile(test_it="def test_passes():\n    pass\n")
    result = pytester.run(sys.executable, pytester.makepyfile(started=STARTED))
    own = ("keeper", "plugin", "settings", "stash")
    expected = " ".join(["LOADED", "pytest_llm_latency", *(f"pytest_llm_latency.{name}" for name in own)])
    assert expected == result.outlines[-1]


FROZEN = """
freezegun = pytest.importorskip("freezegun")
time_machine = pytest.importorskip("time_machine")

def call():
    time.sleep(0.02)

@limits(total="1 ms")
@freezegun.freeze_time("2030-01-01")
def test_freezegun(llmtime):
    assert llmtime(call).total.p50 > "19 ms"

@limits(total="1 ms")
def test_freezegun_inside(llmtime):
    with freezegun.freeze_time("2030-01-01", auto_tick_seconds=5):
        llmtime(call)

@limits(total="1 ms")
@time_machine.travel("2030-01-01", tick=False)
def test_time_machine(llmtime):
    assert llmtime(call).total.p50 > "19 ms"

@limits(total="1 ms")
def test_time_machine_fixture(llmtime, time_machine):
    time_machine.move_to("2030-01-01", tick=False)
    llmtime(call)
"""


def test_a_frozen_clock_passes_no_budget(any_suite: Suite) -> None:
    """20 ms are 20 ms, or an error, under freezegun and time-machine; a limit of 1 ms is broken."""
    # pytester forgets modules after a run, and time-machine's patch of C functions does not survive that.
    seen = any_suite.afresh().run(FROZEN, "-p", "time_machine")
    assert {"failed": 4} == seen.counts
    assert 4 == len(seen.having("TOO SLOW test_it.py::"))
    for test in ("freezegun", "freezegun_inside", "time_machine", "time_machine_fixture"):
        assert 0.02 <= float(seen.properties(f"test_{test}")["latency.total.p50"])


@pytest.mark.parametrize("library", ["freezegun", "time_machine"])
def test_a_clock_that_was_frozen_before_we_were_imported_passes_no_budget(fresh_suite: Suite, library: str) -> None:
    """The first import of the core, in a fresh process, happens inside of the frozen time."""
    freeze = {"freezegun": "freezegun.freeze_time('2030-01-01')", "time_machine": "time_machine.travel(0, tick=False)"}
    pytest.importorskip(library)
    seen = fresh_suite.run(f"""
import sys
import {library}

@pytest.fixture(autouse=True)
def frozen():
    assert "llm_latency.record" not in sys.modules
    with {freeze[library]}:
        yield

@limits(total="1 ms")
def test_frozen(frozen, llmtime):
    llmtime(lambda: time.sleep(0.02))
""")
    assert {"failed": 1} == seen.counts
    assert seen.having("TOO SLOW test_it.py::test_frozen - total p50 < 1 ms: observed ")
    assert 0.02 <= float(seen.properties("test_frozen")["latency.total.p50"])


def test_a_stopped_clock_that_we_cannot_go_around_is_an_error(suite: Suite) -> None:
    """Whoever replaces the last real clock gets no times at all."""
    seen = suite.run("""
@limits(total="1 ms")
def test_stopped(llmtime, monkeypatch):
    monkeypatch.setattr(time, "perf_counter_ns", lambda: 5)
    monkeypatch.setattr(time, "clock_gettime_ns", lambda clock: 5)
    llmtime(lambda: time.sleep(0.02))
""")
    assert {"failed": 1} == seen.counts
    assert seen.having("FAILED test_it.py::test_stopped", "ClockError")


@pytest.mark.latency_budget(ttft_p95="1 h", tpot="1 h", decode_throughput="0.001 tok/s")
def test_a_real_model(llmtime: LlmTime) -> None:
    """transformers' generate, unchanged, in this very run: tokens are counted and every limit is decided."""
    torch = pytest.importorskip("torch", reason="a real model needs it: pip install -e '.[all,dev]'")
    transformers = pytest.importorskip("transformers", reason="a real model needs it: pip install -e '.[all,dev]'")
    config = transformers.GPT2Config(
        n_layer=2, n_head=2, n_embd=32, vocab_size=64, n_positions=64, bos_token_id=0, eos_token_id=0
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    ids = torch.arange(1, 9).reshape(1, 8)
    m = llmtime(
        lambda: model.generate(ids, max_new_tokens=6, min_new_tokens=6, do_sample=False, pad_token_id=0, use_cache=True)
    )
    assert {"generate"} == {request.kind for trace in m.traces for request in trace.requests}
    assert {(8, 6)} == {(trace.prompt_tokens, trace.new_tokens) for trace in m.traces}
    assert ["pass", "pass", "pass"] == [verdict.outcome for verdict in m.verdicts]
    assert "0 ms" < m.ttft.p50 < m.e2e.p50
    assert m.tpot.p50 < "1 h"
