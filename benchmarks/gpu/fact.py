"""Fact: what was claimed about a device, whether it held, and the figures that say so; not how it is looked at."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

Figure = float | int | str | None


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """The device to look at; on a CPU it is a rehearsal, in which nothing about a GPU is judged."""

    device: str

    @property
    def is_rehearsal(self) -> bool:
        """Whether the figures are no GPU's."""
        return self.device == "cpu"


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """One fact. `claims` are sentences with whether each held, None where it could not be judged here.

    `outcome` is ok, failed, skipped, or not judged where no claim could be; `words` say why it failed or was skipped.
    """

    name: str
    outcome: str
    words: str = ""
    claims: dict[str, bool | None] = {}
    figures: dict[str, Figure] = {}


def judged(
    name: str,
    setting: Setting,
    claims: Mapping[str, bool],
    figures: Mapping[str, Figure],
    *,
    anywhere: Mapping[str, bool] | None = None,
) -> Fact:
    """Ok when every claim held; in a rehearsal those about a GPU stay open, and those that hold `anywhere` do not."""
    told: dict[str, bool | None] = {**(anywhere or {}), **(dict.fromkeys(claims) if setting.is_rehearsal else claims)}
    failed = [claim for claim, holds in told.items() if holds is False]
    return Fact(
        name=name,
        outcome="failed" if failed else "ok" if any(told.values()) else "not judged",
        words=f"not so: {'; '.join(failed)}" if failed else "",
        claims=told,
        figures=dict(figures),
    )


def skipped(name: str, why: str) -> Fact:
    """Not looked at, with the reason."""
    return Fact(name=name, outcome="skipped", words=why)
