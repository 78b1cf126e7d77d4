"""Repositories with a base and a head, gates on them in processes of their own, and what these leave; no tests."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

# A plugin there makes pairs quick: rounds of few calls, and one pair unless a test says otherwise.
SEATS = Path(__file__).parent / "seats"
MARK = "LLM_LATENCY_TEST_MARK"
PATIENCE_S = 120
PYTEST = (sys.executable, "-m", "pytest")
PLUGINS = ("-p", "llm_latency", "-p", "quick_gate")

# Whether a process is the fork server, or a worker that was forked off it; the outer pytest is neither.
FROM_SERVER = "any('llm_latency.gate.server' in text for text in sys.orig_argv)"
# A test that times its project and writes down whose code it has run.
TEST = """
import json, os
import pkg

def note(**facts):
    with open(os.environ["NOTES"], "a") as file:
        file.write(json.dumps({"who": pkg.WHO, "file": pkg.__file__, **facts}) + "\\n")

def test_it(llmtime):
    llmtime(pkg.work)
    note()
"""


def code(who: str) -> str:
    """A package that knows which side it belongs to."""
    return f"WHO = {who!r}\n\ndef work():\n    return sum(range(20_000))\n"


@dataclass(frozen=True)
class Seen:
    """What the user of a gate sees, and what the sides have written down."""

    code: int
    text: str
    notes: list[dict[str, Any]] = field(default_factory=list)

    @property
    def who(self) -> list[str]:
        """Whose code was run, in one pair by each side once."""
        return sorted(note["who"] for note in self.notes)

    def of(self, who: str) -> dict[str, Any]:
        """What one side has written down."""
        return next(note for note in self.notes if note["who"] == who)


class Project:
    """A user's repository in a temporary folder, whose first commit is the tag `base`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make an empty repository; gates have a folder for temporary files beside it."""
        self.folder, self.top, self.temporary = folder, folder / "project", folder / "tmp"
        self.top.mkdir(parents=True)
        self.temporary.mkdir()
        self.mark = uuid.uuid4().hex
        for name in [name for name in os.environ if name.startswith(("PYTEST", "GIT_", "LLM_LATENCY"))]:
            monkeypatch.delenv(name)
        # The user's own settings of git stay out, and so does a repository around the temporary folder.
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(folder))
        self.git("init", "-q", "-b", "main")
        (self.top / ".git" / "info" / "exclude").write_text("__pycache__/\n.pytest_cache/\n")
        self.before: dict[str, str] = {}

    def git(self, *arguments: str, cwd: Path | None = None) -> str:
        """git, as a user of no name."""
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"]
        command = ["git", *identity, *arguments]
        return subprocess.run(command, cwd=cwd or self.top, check=True, capture_output=True, text=True).stdout.strip()

    def write(self, files: Mapping[str, str | None]) -> None:
        """Write files, and remove those without a text."""
        for name, text in files.items():
            path = self.top / name
            if text is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            elif path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def commit(self, files: Mapping[str, str | None], tag: str | None = None) -> Project:
        """Commit files."""
        self.write(files)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "a change", "--allow-empty")
        if tag is not None:
            self.git("tag", tag)
        return self

    def environment(self, path: Sequence[Path | str] = (), **others: str) -> dict[str, str]:
        """What a gate runs in; `path` comes before its PYTHONPATH."""
        own = {
            "COLUMNS": "200",
            "NOTES": str(self.folder / "notes"),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": os.pathsep.join(map(str, (*path, SEATS))),
            "QUICK_PAIRS": "1",
            "TMPDIR": str(self.temporary),
            MARK: self.mark,
        }
        return {**os.environ, **own, **others}

    def start(
        self,
        *arguments: str,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        command: Sequence[str] = PYTEST,
        path: Sequence[Path | str] = (),
        base: str = "base",
    ) -> subprocess.Popen[str]:
        """Begin a gate."""
        self.before = self.state()
        return subprocess.Popen(
            [*command, *PLUGINS, f"--latency-base={base}", *arguments],
            # Whoever runs this suite under nohup ignores hang-ups, and what is started would inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # noqa: PLW1509  # no threads here
            cwd=cwd or self.top,
            env=self.environment(path, **(env or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def gate(self, *arguments: str, **how: Any) -> Seen:
        """Run a gate to its end; arguments as of `start`."""
        (self.folder / "notes").unlink(missing_ok=True)
        return self.seen(self.start(*arguments, **how))

    def seen(self, process: subprocess.Popen[str], *, notes: str = "notes") -> Seen:
        """Wait for a gate to end."""
        try:
            text, _ = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return Seen(process.returncode, text, self.notes(notes))

    def notes(self, name: str = "notes") -> list[dict[str, Any]]:
        """What the sides have written down."""
        file = self.folder / name
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def wait_for(self, name: str) -> str:
        """Wait for a file with something in it beside the repository, such as what a side writes down in a gate."""
        path, end = self.folder / name, time.monotonic() + PATIENCE_S
        while not path.exists() or not path.read_text():
            assert time.monotonic() < end, f"no {name} after {PATIENCE_S} s"
            time.sleep(0.01)
        return path.read_text()

    def state(self) -> dict[str, str]:
        """What of the repository no gate may change."""
        index = self.top / ".git" / "index"
        return {
            "index": hashlib.sha256(index.read_bytes()).hexdigest() if index.exists() else "",
            "branches": self.git("for-each-ref"),
            "head": (self.top / ".git" / "HEAD").read_text() if index.exists() else "",
            "files": self.git("--no-optional-locks", "status", "--porcelain"),
        }

    def left(self) -> list[str]:
        """What a gate has left: checkouts, temporary files, locks, processes, and changes of the repository."""
        checkouts = self.git("worktree", "list").splitlines()[1:]
        files = [path.name for path in self.temporary.iterdir() if path.suffix != ".lock"]
        locks = [f"locked: {path.name}" for path in self.temporary.glob("*.lock") if not is_free(path)]
        changed = [f"changed: {name}" for name, was in self.before.items() if was != self.state()[name]]
        return [*checkouts, *files, *locks, *changed, *self.processes()]

    def wait_ended(self) -> None:
        """Wait until no process of a gate runs any more; the system takes a moment to take down what was killed."""
        end = time.monotonic() + PATIENCE_S
        while (running := self.processes()) and time.monotonic() < end:
            time.sleep(0.05)
        assert [] == running

    def processes(self) -> list[str]:
        """What runs in the environment of this project's gates, by /proc; nothing where there is none."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (folder / "environ").read_bytes():
                    found.append(f"{folder.name}: {(folder / 'cmdline').read_text()}")
            except OSError:
                continue
        return found


def is_free(path: Path) -> bool:
    """Whether nobody holds a lock."""
    with path.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
