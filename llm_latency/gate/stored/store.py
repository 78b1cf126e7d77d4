"""Store: the folder of baselines, a file for each test module and machine; not what stands in a file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from llm_latency.core.measurement import write_atomically
from llm_latency.errors import MeasurementFileError, UsageError
from llm_latency.gate.stored.baseline import Baseline, from_json, to_json
from llm_latency.gate.stored.fingerprint import Machine, machine_differences
from llm_latency.gate.stored.promotion import Promotion
from llm_latency.gate.stored.runs import turn_to_write

FOLDER = "latency_baselines"
# git's own driver: of lines that both branches have added it keeps both (gitattributes(5)).
_ATTRIBUTES = "*.json merge=union\n"


class Nearest(msgspec.Struct, frozen=True, kw_only=True):
    """The file of another machine that has most in common with this one, and in what they differ."""

    fingerprint: str
    differences: tuple[str, ...]


class Store:
    """The baselines of a project, in a folder that is committed."""

    def __init__(self, root: Path) -> None:
        """`root` is the project's; nothing is read or made yet."""
        self.root = root
        self.folder = root / FOLDER

    def path(self, module: str, machine: Machine) -> Path:
        """Where the baseline of a module, such as `tests/test_chat.py`, lies for a machine."""
        return self._folder_of(module) / f"{machine.fingerprint}.json"

    def read(self, module: str, machine: Machine) -> Baseline | None:
        """The baseline, or None where there is none. Raises MeasurementFileError where it cannot be read."""
        path = self.path(module, machine)
        source = str(path.relative_to(self.root))
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise MeasurementFileError(f"{source} cannot be read: {error.strerror or error}") from error
        baseline = from_json(text, source=source)
        if baseline.module != module:
            raise MeasurementFileError(
                f"{source}, $.module is {baseline.module!r}; expected {module!r}. A file belongs to one module: record"
                " this one's with --latency-baseline=create instead of copying"
            )
        if baseline.machine != machine:
            differences = ", ".join(machine_differences(baseline.machine, machine))
            raise MeasurementFileError(
                f"{source}, $.machine is not the machine of its name ({differences}); it was edited or renamed: restore"
                " it (git checkout)"
            )
        return baseline

    def nearest(self, module: str, machine: Machine) -> Nearest | None:
        """Of the module's files for other machines the one with the fewest differences; None without one.

        A file that cannot be read is passed over: it is not this machine's.
        """
        found = []
        for path in sorted(self._folder_of(module).glob("*.json")):
            try:
                other = from_json(path.read_bytes(), source=path.name).machine
            except (OSError, MeasurementFileError):
                continue
            if other != machine:
                found.append(Nearest(fingerprint=path.stem, differences=machine_differences(other, machine)))
        return min(found, key=lambda one: len(one.differences), default=None)

    def write(self, promotions: Sequence[Promotion]) -> tuple[Path, ...]:
        """Add rows to their files, as they then are on disk: what another run has written meanwhile stays.

        Each file is written whole or not at all. Returns the files. Raises UsageError where one cannot be written and
        MeasurementFileError where it cannot be read; files before it are written then.
        """
        if not promotions:
            return ()
        by_file: dict[Path, list[Promotion]] = {}
        for promotion in promotions:
            by_file.setdefault(self.path(promotion.module, promotion.machine), []).append(promotion)
        path = self.folder
        try:
            with turn_to_write(self.root):
                for path, own in by_file.items():
                    self._write(path, own)
        except OSError as error:
            raise UsageError(
                f"{path} cannot be written ({error.strerror or error}): what was measured for it is not stored. Make"
                " room or the folder writable, and run again"
            ) from error
        return tuple(by_file)

    def _write(self, path: Path, promotions: Sequence[Promotion]) -> None:
        module, machine = promotions[0].module, promotions[0].machine
        baseline = self.read(module, machine) or Baseline(module=module, machine=machine)
        for promotion in promotions:
            baseline = promotion.applied_to(baseline)
        path.parent.mkdir(parents=True, exist_ok=True)
        attributes = self.folder / ".gitattributes"
        if not attributes.exists():
            write_atomically(attributes, _ATTRIBUTES.encode())
        write_atomically(path, to_json(baseline))

    def _folder_of(self, module: str) -> Path:
        name = module.removesuffix(".py").replace("/", "__").replace("..", "up")
        return self.folder / re.sub(r"[^\w.-]", "_", name)


def promotions_from(texts: Iterable[str]) -> dict[str, list[Promotion]]:
    """Promotions that went through JSON, by their modules."""
    found: dict[str, list[Promotion]] = {}
    for text in texts:
        promotion = msgspec.json.decode(text, type=Promotion)
        found.setdefault(promotion.module, []).append(promotion)
    return found
