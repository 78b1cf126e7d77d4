"""Options: what stands behind `%%llmtime` and `%llmtime`, read into frozen settings; not what they make happen."""

from __future__ import annotations

import difflib
import keyword
import re

import msgspec

from llm_latency.core.units import parse
from llm_latency.errors import UsageError
from llm_latency.notebook.live import MODES, checked_mode
from llm_latency.record.sampling import Plan, make_plan

_FLAGS = ("-q", "-o", "--strict", "--force", "--explain")
# What a line without code asks for, instead of timing something.
_ACTIONS = {"--last": "", "--history": "", "--compare": "[A B]", "--export": "tests/test_x.py"}
_VALUED = {
    "-r": "R",
    "-w": "W",
    "-v": "NAME",
    "--budget": '"ttft p95 < 250 ms"',
    "--name": "NAME",
    "--time-budget": "SECONDS",
    "--live": "|".join(MODES),
    "--baseline": "NAME",
}
KNOWN = ", ".join([*(f"{option} {value}".strip() for option, value in (_VALUED | _ACTIONS).items()), *_FLAGS])

_SHORT = re.compile(r"\s*-([A-Za-z]\S*)")
_LONG = re.compile(r"\s*(--[A-Za-z][\w-]*)=?")
_END = re.compile(r"\s*--(?=\s|$)")
_VALUE = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s"']\S*)""")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for. `code` is what stands behind the options; without `-r`, `-w` and `--time-budget` the plan is
    one call and no warm-up. `action` is what a line asks for instead of timing, and `operands` what it is about.
    """

    plan: Plan
    quiet: bool
    output: bool
    strict: bool
    force: bool
    explain: bool
    live: str
    baseline: str | None
    action: str | None
    operands: tuple[str, ...]
    variable: str | None
    name: str | None
    code: str


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """What holds where the options say nothing; a cell's own budgets come in place of these."""

    live: str = "auto"
    repeat: int | None = None
    warmup: int | None = None
    time_budget: float | None = None
    budgets: tuple[str, ...] = ()
    strict: bool = False


def parse_options(line: str, defaults: Defaults = Defaults()) -> Options:  # noqa: B008 - it is frozen
    """Read the rest of a magic's line; options come first, as in `%timeit`, and `--` ends them.

    Raises UsageError for an unknown option, with the known ones, and for a value that does not fit.
    """
    flags: set[str] = set()
    values: dict[str, list[str]] = {}
    rest = _scan(line, flags, values)
    last = {option: given[-1] for option, given in values.items()}
    variable = last.get("-v")
    if variable is not None and (not variable.isidentifier() or keyword.iskeyword(variable)):
        raise UsageError(f"-v {variable!r}; expected the name of a variable, such as -v m")
    actions = [action for action in _ACTIONS if action in flags or action in values]
    asked = [*actions, *(["--baseline"] if actions and "--baseline" in values else [])]
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)} are different things to do; write a line for each")
    action, code = next(iter(actions), None), rest.strip()
    # A semicolon silences a line, as everywhere in IPython; that of code stays with it.
    code = code if action is None else code.removesuffix(";").rstrip()
    return Options(
        plan=_plan(last, values.get("--budget", list(defaults.budgets)), defaults),
        quiet="-q" in flags,
        output="-o" in flags,
        strict="--strict" in flags or defaults.strict,
        force="--force" in flags,
        explain="--explain" in flags,
        live=checked_mode(last.get("--live", defaults.live)),
        baseline=last.get("--baseline"),
        action=action,
        operands=_operands(action, last, code),
        variable=variable,
        name=last.get("--name"),
        code="" if action is not None else code,
    )


def _operands(action: str | None, last: dict[str, str], code: str) -> tuple[str, ...]:
    """What an action is about; raises UsageError for what it has no use for."""
    if action == "--export":
        given = [last["--export"], *([code] if code else [])]
    else:
        given = [_unquoted(word) for word in _VALUE.findall(code)]
    most = {"--compare": 2, "--export": 1}.get(action or "", 0)
    if action is not None and len(given) > most:
        wanted = f"{action} {_ACTIONS[action]}".strip()
        raise UsageError(f"{' '.join(given[most:])!r} was not expected; write %llmtime {wanted}")
    return tuple(given) if action is not None else ()


def _plan(last: dict[str, str], budgets: list[str], defaults: Defaults) -> Plan:
    repeat, warmup, seconds = _count("-r", last, least=1), _count("-w", last, least=0), _seconds(last)
    repeat = defaults.repeat if repeat is None and seconds is None else repeat
    seconds = defaults.time_budget if seconds is None else seconds
    if repeat is None and seconds is None:
        # A cell that was not asked to repeat runs once: it may append to a chat's history.
        repeat, warmup = 1, warmup or 0
    elif warmup is None:
        warmup = defaults.warmup
    return make_plan(repeat=repeat, warmup=warmup, budget=budgets, time_budget=seconds)


def _count(option: str, last: dict[str, str], *, least: int) -> int | None:
    text = last.get(option)
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or int(text) < least:
        raise UsageError(f"{option} {text}; expected a whole number of calls, at least {least}")
    return int(text)


def _seconds(last: dict[str, str]) -> float | None:
    text = last.get("--time-budget")
    if text is None:
        return None
    return parse(f"{text} s" if re.fullmatch(r"[\d.]+", text, re.ASCII) else text, unit="s")


def _scan(line: str, flags: set[str], values: dict[str, list[str]]) -> str:
    """Take options off the front of a line into `flags` and `values`; return what is left."""
    rest = line
    while True:
        if match := _END.match(rest):
            return rest[match.end() :]
        if match := _LONG.match(rest):
            option, rest = match[1], rest[match.end() :]
        elif match := _SHORT.match(rest):
            # As getopt does: -qo is -q -o, and -r5 is -r 5.
            option, attached = f"-{match[1][0]}", match[1][1:]
            dash = "-" if option in _FLAGS and attached not in ("", ";") else ""
            rest = dash + attached + rest[match.end() :]
        else:
            return rest
        if option in _FLAGS or (option in _ACTIONS and option != "--export"):
            flags.add(option)
        elif option in _VALUED or option == "--export":
            value = _VALUE.match(rest)
            if value is None:
                wanted = (_VALUED | _ACTIONS)[option]
                raise UsageError(f"{option} needs a value: {option} {wanted}, its quotes closed")
            values.setdefault(option, []).append(_unquoted(value[1]))
            rest = rest[value.end() :]
        else:
            close = difflib.get_close_matches(option, [*_FLAGS, *_VALUED, *_ACTIONS], n=1)
            hint = f"did you mean {close[0]}? Known" if close and option.startswith("--") else "known"
            raise UsageError(
                f"%llmtime has no option {option}; {hint}: {KNOWN}. Code that begins with a dash goes behind --"
            )


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text[0] in "\"'" else text
