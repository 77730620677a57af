"""A registry in a run: how events are written and read, and in which version."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from chaosharness.brokers.message import Framed
from chaosharness.faults import Fault, NewEvent, OldEvent
from chaosharness.handlers.port import Surface, current_scope, strikes, surface
from chaosharness.kernel.history import plain
from chaosharness.kernel.scope import SCOPE, Scope
from chaosharness.kernel.world import World
from chaosharness.schemas.modes import Mode
from chaosharness.schemas.schema import Schema, UnreadableEvent
from chaosharness.schemas.shape import leaves, lost

MAGIC: Final = b"\x00"
_FIRST_MESSAGE: Final = b"\x00"
"""The index of a Protobuf message in its file, where it is the first."""


class Numbered(Protocol):
    """A version, as a registry keeps it."""

    @property
    def subject(self) -> str:
        """Whose."""

    @property
    def number(self) -> int:
        """From 1."""

    @property
    def id(self) -> int:
        """Its number in the registry."""

    @property
    def schema(self) -> Schema:
        """What it says."""


class Definition(Protocol):
    """A registry as it is declared."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def subjects(self) -> Any:
        """The versions of each subject."""

    @property
    def by_id(self) -> Any:
        """All versions."""

    def mode(self, subject: str) -> Mode:
        """Return what a new version must be."""


Pins = dict[str, int]


class OpenRegistry:
    """A registry during one run."""

    def __init__(self, definition: Definition, world: World) -> None:
        self.definition = definition
        self.name = definition.name
        self.world = world
        self._surfaces: dict[tuple[str, int], Surface] = {}

    def close(self) -> None:
        """Let go of nothing: it holds nothing of the run."""

    # ---- writing

    def publisher(self, publish: Callable[..., Any], pins: Pins, *, text: bool) -> Writing:
        """Return a publisher that writes the events of subjects as their versions say."""
        return Writing(self, publish, pins, text)

    def written(self, topic: str, value: Any, pins: Pins) -> tuple[bytes, bytes] | None:
        """Return an event as bytes with its frame, and as JSON; None for what is no subject.

        Raises:
            ValueError: It does not fit its schema.
        """
        versions = self.definition.subjects.get(topic)
        if versions is None or value is None:
            return None
        version = _version_for(versions, type(value), pins)
        scope = current_scope("publish", self.world)
        body = version.schema.write(value)
        if isinstance(value, dict):
            self._note(scope, "written", version, version, value, _told(version, body, version))
        body, version = self._struck(scope, versions, version, body)
        frame = MAGIC + version.id.to_bytes(4, "big")
        if version.schema.format == "Protobuf":
            frame += _FIRST_MESSAGE
        return frame + body, msgspec.json.encode(plain(_told(version, body, version)))

    def _struck(
        self, scope: Scope, versions: tuple[Numbered, ...], version: Numbered, body: bytes
    ) -> tuple[bytes, Numbered]:
        """Return an event as the faults of its site have it written: by another version."""
        legal = self._surface(versions, version)
        if legal is None:
            return body, version
        world = self.world
        operation = f"{scope.place}/{self.name}.write {version.subject}"
        attempt = world.reach(operation, scope.entity, scope.message)
        if operation not in world.surfaces:
            world.meet(operation, legal)
        if operation not in world.armed:
            return body, version
        for fault in strikes(scope, operation, "before", attempt):
            other = versions[version.number - 2 if isinstance(fault, OldEvent) else version.number]
            before = _told(version, body, version)
            body = other.schema.recast(body, version.schema)
            self._note(scope, "written", version, other, before, _told(other, body, other))
            version = other
        return body, version

    def _surface(self, versions: tuple[Numbered, ...], version: Numbered) -> Surface | None:
        """Return which faults are legal where a version is written; None if there are none."""
        if len(versions) == 1:
            return None
        key = (version.subject, version.number)
        if key not in self._surfaces:
            first = self.definition.mode(version.subject).first
            kinds: list[type[Fault]] = []
            number = version.number
            if number > 1 and first != "producers" and _recasts(versions[number - 2], version):
                kinds.append(OldEvent)
            if number < len(versions) and first != "consumers":
                kinds += [NewEvent] if _recasts(versions[number], version) else []
            self._surfaces[key] = surface(before=tuple(kinds))
        found = self._surfaces[key]
        return found if found.before else None

    # ---- reading

    def decoder(self, pins: Pins, wanted: Any) -> Callable[[bytes | None], Any]:
        """Return what reads a payload, as the versions say that its reader has.

        Args:
            pins: Those of its versions that are not the latest.
            wanted: What its handler's annotation says, or None.
        """

        def read(body: bytes | None) -> Any:
            if body is None:
                return None
            writer, payload = self._unframed(bytes(body))
            reader = _version_for(self.definition.subjects[writer.subject], wanted, pins)
            scope = SCOPE.get()
            if reader is writer or scope is None or scope.world is not self.world:
                value = reader.schema.read(payload, writer.schema)
            else:
                value = self._resolved(scope, writer, reader, payload)
            return _as_wanted(value, wanted, reader.schema)

        return read

    def _resolved(self, scope: Scope, writer: Numbered, reader: Numbered, payload: bytes) -> Any:
        """Return what one version wrote as another one reads it, and record what became of it."""
        try:
            value = reader.schema.read(payload, writer.schema)
        except ValueError as error:
            data = {**self._words("read", writer, reader), "error": str(error)}
            operation = f"{scope.place}/{self.name}.read {writer.subject}"
            scope.record("resolve", operation, 1, data)
            raise
        before = _told(writer, payload, writer)
        self._note(scope, "read", writer, reader, before, reader.schema.plain(value))
        return value

    def _unframed(self, body: bytes) -> tuple[Numbered, bytes]:
        """Return which version a payload was written with, and what it says."""
        if body[:1] != MAGIC:
            try:
                body = base64.b64decode(body, validate=True)  # of a broker that takes texts only
            except binascii.Error:
                body = b""
        number = int.from_bytes(body[1:5], "big") if body[:1] == MAGIC and len(body) >= 5 else 0
        if not 0 < number <= len(self.definition.by_id):
            known = ", ".join(sorted(self.definition.subjects)) or "none"
            words = f"the payload was not written with a schema of {self.name}"
            raise UnreadableEvent(f"{words}, which has those of: {known}")
        version = self.definition.by_id[number - 1]
        start = 6 if version.schema.format == "Protobuf" else 5
        return version, body[start:]

    def _note(
        self,
        scope: Scope,
        what: str,
        writer: Numbered,
        reader: Numbered,
        before: Any,
        after: Any,
    ) -> None:
        """Record that an event was seen by another version than it was meant for."""
        before, after = plain(before), plain(after)
        dropped = lost(before, after)
        if writer is reader and not dropped:
            return
        known = dict(leaves(before))
        defaults = {path: value for path, value in leaves(after) if path not in known}
        data = {**self._words(what, writer, reader), "dropped": dropped, "filled": defaults}
        scope.record("resolve", f"{scope.place}/{self.name}.{what} {writer.subject}", 1, data)

    def _words(self, what: str, writer: Numbered, reader: Numbered) -> dict[str, Any]:
        numbers = {"from": writer.number, "as": reader.number}
        return {"registry": self.name, "subject": writer.subject, "what": what, **numbers}


class Writing:
    """A publisher whose events are written as their schemas say; all else it hands on."""

    def __init__(
        self, registry: OpenRegistry, publish: Callable[..., Any], pins: Pins, text: bool
    ) -> None:
        self._registry = registry
        self._publish = publish
        self._pins = pins
        self._text = text

    def __call__(self, topic: str, value: Any, *rest: Any, **options: Any) -> Any:
        return self._publish(topic, self._framed(topic, value), *rest, **options)

    def _framed(self, topic: str, value: Any) -> Any:
        found = self._registry.written(topic, value, self._pins)
        if found is None:
            return value
        body, told = found
        return Framed.made(base64.b64encode(body) if self._text else body, told)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._publish, name)


def _version_for(versions: tuple[Numbered, ...], kind: Any, pins: Pins) -> Numbered:
    """Return the version of a class, else the one that is pinned, else the latest."""
    for one in versions:
        if one.schema.kind is not None and one.schema.kind is kind:
            return one
    return versions[pins.get(versions[0].subject, len(versions)) - 1]


def _recasts(other: Numbered, version: Numbered) -> bool:
    """Say whether it is known what a producer with another version would have written."""
    return not other.schema.problems(version.schema)


def _told(reader: Numbered, body: bytes, writer: Numbered) -> Any:
    return reader.schema.plain(reader.schema.read(body, writer.schema))


def _as_wanted(value: Any, wanted: Any, schema: Schema) -> Any:
    """Return a value as a handler's annotation has it, where its schema has no class."""
    if wanted is dict and schema.kind is not None:
        return schema.plain(value)
    if schema.kind is not None or wanted is None or wanted is dict or not isinstance(wanted, type):
        return value
    validate = getattr(wanted, "model_validate", None)  # pydantic
    try:
        return msgspec.convert(value, wanted) if validate is None else validate(value)
    except (msgspec.ValidationError, ValueError) as error:
        raise UnreadableEvent(f"{wanted.__name__} cannot be read: {error}") from None
