"""The schema of a store, given as SQL or as SQLAlchemy's tables.

Source:
    SQLAlchemy 2.1, FAQ, "How can I get the CREATE TABLE/ DROP TABLE output as a string?"
    (faq/metadata_schema.html): `create_mock_engine` and `MetaData.create_all`.
"""

from __future__ import annotations

import sys
from typing import Any

from chaosharness.errors import InvalidDefinition
from chaosharness.kernel.places import asked_at


def sql_of(schema: Any, dialect: str, product: str) -> str:
    """Return a schema as SQL: of text, a `MetaData`, or the class of mapped tables.

    Args:
        schema: It.
        dialect: As in a URL of SQLAlchemy: `sqlite`, `postgresql`.
        product: What the store is called where a schema is refused.

    Raises:
        InvalidDefinition: It is none of these, or has a type that the dialect does not know.
    """
    if isinstance(schema, str):
        return schema
    tables = getattr(schema, "metadata", schema)
    library = sys.modules.get("sqlalchemy")  # whoever has its tables has it
    if library is None or not isinstance(tables, library.MetaData):
        raise InvalidDefinition(
            f"the schema of a {product} store is SQL text, or SQLAlchemy's tables "
            f"(`Base.metadata`), not {schema!r}{asked_at()}"
        )
    if not tables.tables:
        raise InvalidDefinition(
            f"the schema of a {product} store has no table{asked_at()}: import the modules that "
            "define them first"
        )
    try:
        return _statements(library, tables, dialect)
    except library.exc.SQLAlchemyError as error:
        raise InvalidDefinition(
            f"SQLAlchemy's tables cannot be made in a {product} store{asked_at()}: {error}"
        ) from None


def _statements(library: Any, tables: Any, dialect: str) -> str:
    """Return what `create_all` would say, indexes last: they lie in sets, in any order."""
    said: list[str] = []

    def hear(statement: Any, *_: Any, **__: Any) -> None:
        said.append(str(statement.compile(dialect=engine.dialect)).strip())

    engine = library.create_mock_engine(f"{dialect}://", hear)
    tables.create_all(engine, checkfirst=False)
    indexes = sorted(one for one in said if one.startswith(("CREATE INDEX", "CREATE UNIQUE")))
    return ";\n".join([one for one in said if one not in indexes] + indexes) + ";\n"
