"""Traces: histories as spans that tracing tools show, and production traces read back."""

from chaosharness.traces.reading import TraceReading as TraceReading
from chaosharness.traces.reading import read_trace as read_trace
from chaosharness.traces.writing import to_trace as to_trace
