"""Every error this package raises on purpose; not the messages, which are written where the facts are.

LLMLatencyError
├── UsageError (ValueError)         an argument, unit, name or count that cannot be used as given
├── TargetError (ValueError)        a model, shape or file that cannot be loaded as asked
├── TooFewCallsError (ValueError)   a statistic that the sample cannot hold (p95 of fewer than 20 values)
├── MeasurementFileError (ValueError)   a measurement file that is broken, or newer than this version reads
├── ObservationError (RuntimeError) calls that cannot be told apart, or that did not run inside the watch
├── ClockError (RuntimeError)       a clock that stood still or stepped back while a call ran
└── DeviceError (RuntimeError)      a device that is not there, or whose waiting we do not know
"""

from __future__ import annotations


class LLMLatencyError(Exception):
    """Root of every error that this package raises on purpose."""


class UsageError(LLMLatencyError, ValueError):
    """An argument, unit, name or count cannot be used as given."""


class TargetError(LLMLatencyError, ValueError):
    """A model, shape or file cannot be loaded as asked."""


class TooFewCallsError(LLMLatencyError, ValueError):
    """A statistic was asked of a sample that cannot hold it."""


class MeasurementFileError(LLMLatencyError, ValueError):
    """A measurement file is broken, or newer than this version reads."""


class ObservationError(LLMLatencyError, RuntimeError):
    """Calls cannot be told apart, or did not run inside the watch."""


class ClockError(LLMLatencyError, RuntimeError):
    """The clock stood still or stepped back while a call ran."""


class DeviceError(LLMLatencyError, RuntimeError):
    """A device is not there, or we do not know how to wait for it."""
