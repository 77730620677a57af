"""A registry of schemas: which versions an event has had, and which new one it may have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.kernel.allowed import is_whole
from chaosharness.kernel.places import asked_at
from chaosharness.kernel.world import World
from chaosharness.schemas.at_work import OpenRegistry
from chaosharness.schemas.modes import DEFAULT, Mode, mode_of
from chaosharness.schemas.schema import IncompatibleSchema, Schema, schema_of


@attrs.frozen
class Version:
    """One version of a subject.

    Attributes:
        subject: Whose.
        number: From 1.
        id: Its number in the whole registry, from 1: what stands in front of each payload.
        schema: What it says.
    """

    subject: str
    number: int
    id: int
    schema: Schema = attrs.field(repr=False)


class Registry:
    """A schema registry: a part of a system, whose publishers and consumers take it.

    `env.publisher(bus, schemas=registry)` writes the events of each topic that is a subject with
    its latest version, and `env.consume(bus, topic, handler, schemas=registry)` reads them with
    it; with `registry.at(orders=1)` in its place, with version 1: a service that is not
    upgraded yet. A value that is an instance of a version's class is written as that version,
    and a handler whose annotation is such a class reads with it.

    Versions are checked as they are registered, by one of `MODES`: an incompatible one is refused.
    Where an event has two versions, a search also tries what an upgrade in between means: an
    `OldEvent` (its producer is not upgraded yet) where consumers may be upgraded first, and a
    `NewEvent` where producers may.

    Args:
        name: What reports call it.
        subjects: The versions of each event by the name of its topic (routing key, queue), the
            oldest first: attrs classes, dataclasses, msgspec Structs, pydantic models,
            Protobuf message classes, `Avro(...)`, `JsonSchema(...)`.
        compatibility: What a new version must be: `BACKWARD`, `FORWARD`, `FULL`, each also with
            `_TRANSITIVE` (Confluent) or `_ALL` (Glue: the same), `NONE`, `DISABLED` (Glue: no
            further version); or a mode for each subject, by name.

    Raises:
        IncompatibleSchema: A version cannot follow those before it.
        InvalidDefinition: An argument is none of these, or a library is missing.

    >>> schemas = shop.add(Registry("schemas", {"orders": [OrderV1, OrderV2]}))

    *Source*: Confluent Platform 8.4, Schema Evolution and Compatibility; Wire format (a zero
    byte, the schema's id in four bytes, for Protobuf the index of its message, the payload);
    subjects are named after topics. AWS Glue Developer Guide, Schema registry.

    *Not modelled*: a registry that is down; schemas of keys; other strategies of naming
    subjects; references between schemas; Glue's own framing (18 bytes) and its checkpoint, which
    stands at the latest version; ids in headers.
    """

    def __init__(
        self,
        name: str,
        subjects: Mapping[str, Iterable[Any]] | None = None,
        *,
        compatibility: str | Mapping[str, str] = DEFAULT,
    ) -> None:
        if not isinstance(name, str) or not name:
            raise InvalidDefinition(f"a registry needs a name, not {name!r}{asked_at()}")
        self.name = name
        modes = compatibility if isinstance(compatibility, Mapping) else {}
        self._mode = mode_of(DEFAULT if modes else compatibility)
        self._modes = {subject: mode_of(mode) for subject, mode in modes.items()}
        self.subjects: dict[str, tuple[Version, ...]] = {}
        self.by_id: list[Version] = []
        if not isinstance(subjects, Mapping | None):
            raise InvalidDefinition(
                f"the subjects of a registry are versions by topic, such as "
                f'{{"orders": [OrderV1, OrderV2]}}, not {subjects!r}{asked_at()}'
            )
        for subject, definitions in (subjects or {}).items():
            if isinstance(definitions, str | bytes | Mapping) or not isinstance(
                definitions, Iterable
            ):
                raise InvalidDefinition(
                    f"the versions of {subject!r} must be a list, the oldest first{asked_at()}"
                )
            for one in definitions:
                self.register(subject, one)
        for subject in self._modes:
            if subjects is not None and subject not in subjects:
                raise InvalidDefinition(f"there is no subject {subject!r}{asked_at()}")

    def __repr__(self) -> str:
        return f"Registry({self.name!r})"

    def mode(self, subject: str) -> Mode:
        """Return what a new version of a subject must be."""
        return self._modes.get(subject, self._mode)

    def register(self, subject: str, definition: Any) -> int:
        """Add a version of a subject; return its number, from 1.

        A version that is there already is not added again.

        Raises:
            IncompatibleSchema: It cannot follow those before it.
            InvalidDefinition: It is no schema, or of another format.
        """
        schema = schema_of(definition)
        versions = self.subjects.get(subject, ())
        for one in versions:
            if one.schema == schema:
                return one.number
        mode = self.mode(subject)
        problems = [*_refusals(subject, schema, versions, mode)]
        if problems:
            first, *more = problems
            also = f"; and {len(more)} more" if more else ""
            raise IncompatibleSchema(
                f"version {len(versions) + 1} of {subject!r} is not {mode.name}: {first}{also}"
                f"{asked_at()}",
                subject=subject,
                problems=tuple(problems),
            )
        version = Version(subject, len(versions) + 1, len(self.by_id) + 1, schema)
        self.by_id.append(version)
        self.subjects[subject] = (*versions, version)
        return version.number

    def at(self, pins: Mapping[str, int] | None = None, **named: int) -> Pinned:
        """Return this registry as a service sees it that has other than the latest versions.

        >>> env.consume(bus, "orders", on_order, schemas=schemas.at(orders=1))

        Raises:
            InvalidDefinition: There is no such subject or version.
        """
        found = {**(pins or {}), **named}
        for subject, number in found.items():
            there = len(self.subjects.get(subject, ()))
            if not is_whole(number, 1) or number > there:
                raise InvalidDefinition(
                    f"registry {self.name!r} has no version {number!r} of {subject!r}: it has "
                    f"{there}{asked_at()}"
                )
        return Pinned(self, tuple(sorted(found.items())))

    def open(self, world: World) -> OpenRegistry:
        """Return it for one run."""
        return OpenRegistry(self, world)


@attrs.frozen
class Pinned:
    """A registry, with the versions that one service has of some subjects."""

    registry: Registry
    pins: tuple[tuple[str, int], ...]


def _refusals(
    subject: str, schema: Schema, versions: tuple[Version, ...], mode: Mode
) -> Iterator[str]:
    if not versions:
        return
    first = versions[0].schema
    if first.format != schema.format:
        raise InvalidDefinition(
            f"the versions of {subject!r} are of two formats, {first.format} and {schema.format}"
            f"{asked_at()}"
        )
    if mode.closed:
        yield "there may be no further version"
    for one in versions if mode.all_versions else versions[-1:]:
        if mode.new_reads_old:
            for problem in schema.problems(one.schema):
                yield f"as a reader of version {one.number}: {problem}"
        if mode.old_reads_new:
            for problem in one.schema.problems(schema):
                yield f"read by version {one.number}: {problem}"
