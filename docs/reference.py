"""Write docs/reference/ from the docstrings of the public names.

python docs/reference.py
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import chaosharness

HERE = Path(__file__).parent / "reference"
PAGES = {
    "systems": ("Systems and runs", ("system", "calls", "kernel.world", "kernel.history")),
    "brokers": ("Brokers", ("brokers",)),
    "third-parties": ("Third parties", ("externals.external", "externals.gateway")),
    "http": (
        "HTTP and other addresses",
        (
            "adapters.http.web",
            "adapters.http.webhooks",
            "adapters.http.message",
            "adapters.network.host",
            "adapters.network.wire",
        ),
    ),
    "clients": (
        "Clients of brokers",
        ("adapters.amqp.amqp", "adapters.aws.aws", "adapters.kafka.servers"),
    ),
    "orchestrators": (
        "Orchestrators",
        (
            "orchestrators.saga",
            "orchestrators.airflow",
            "orchestrators.conductor",
            "orchestrators.durablefunctions",
            "orchestrators.stepfunctions",
            "orchestrators.temporal",
        ),
    ),
    "stores": (
        "Stores",
        (
            *("stores.sqlite", "stores.postgresql", "stores.redis", "stores.dynamodb"),
            "stores.keyvalue",
        ),
    ),
    "faults": ("Faults, sites and schedules", ("faults", "kernel.site", "schedule")),
    "properties": ("Properties", ("checkers", "checkers.flow", "system.wiring")),
    "schemas": ("Schemas of events", ("schemas",)),
    "traces": ("Traces", ("traces",)),
    "search": (
        "Search and replay",
        ("search.doors", "search.explore", "search.replay", "campaign", "counterexample", "traces"),
    ),
    "pytest": (
        "pytest and Hypothesis",
        (
            "search.decorator",
            "search.hypothesis_adapter",
            "search.live",
            "strategies.schedules",
            "strategies.workloads",
            "strategies.personas",
        ),
    ),
}
INTRO = "Written by `python docs/reference.py` from the docstrings. Do not edit.\n"


def pages() -> dict[str, str]:
    """Return the text of each page, by file name."""
    rest = set(chaosharness.__all__)
    found = {}
    index = ["# Reference\n", INTRO]
    for page, (title, rooms) in PAGES.items():
        names = [name for room in rooms for name in chaosharness._HOME[room]]
        rest -= set(names)
        found[f"{page}.md"] = "\n".join([f"# {title}\n", INTRO, *map(entry, names)])
        links = ", ".join(f"[{name}]({page}.md#{name.lower()})" for name in names)
        index.append(f"**[{title}]({page}.md)**: {links}\n")
    assert not rest, f"no page has {sorted(rest)}: add their room to PAGES"
    return {"README.md": "\n".join(index), **found}


def entry(name: str) -> str:
    """Return what the reference says about one public name."""
    value = getattr(chaosharness, name)
    if not callable(value):
        kinds = ", ".join(f"`{getattr(one, '__name__', one)}`" for one in value)
        return f"## {name}\n\nA tuple: {kinds}.\n"
    lines = [f"## {name}\n"]
    if not (inspect.isclass(value) and issubclass(value, BaseException)):
        lines.append(f"```python\n{signature(name, value)}\n```\n")
    lines.append(prose(inspect.getdoc(value) or ""))
    if inspect.isclass(value):
        for method, function in sorted(vars(value).items()):
            function = getattr(function, "__func__", function)
            if method.startswith("_") or not inspect.isfunction(function):
                continue
            if doc := inspect.getdoc(function):
                title = f"### {name}.{method}\n"
                code = f"```python\n{signature(method, function)}\n```\n"
                lines += [title, code, prose(doc)]
    return "\n".join(lines)


def signature(name: str, value: Any) -> str:
    """Return a signature, one parameter a line where it is long."""
    try:
        found = inspect.signature(value)
    except ValueError:
        return name
    parameters = [
        one.replace(annotation=one.empty) for one in found.parameters.values() if one.name != "self"
    ]
    shown = [re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", str(one)) for one in parameters]
    shown = [
        f"{one.partition('=')[0]}=..." if "<" in one or len(one) > 80 else one for one in shown
    ]
    kinds = [one.kind for one in parameters]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        shown.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    line = f"{name}({', '.join(shown)})"
    if len(line) <= 90:
        return line
    return f"{name}(\n" + "".join(f"    {one},\n" for one in shown) + ")"


def prose(doc: str) -> str:
    """Return a docstring as Markdown: sections as bold words, their entries as they stand."""
    lines = []
    fenced = False
    for line in doc.splitlines():
        code = line.startswith((">>> ", "... ")) or (fenced and bool(line.strip()))
        if code != fenced:
            lines.append("```" if fenced else "```pycon")
            fenced = code
        heading = re.fullmatch(r"([A-Z][\w ]+):", line)
        if heading and not fenced:
            lines += [f"**{heading[1]}**", ""]
        elif fenced or not line.startswith("    "):
            lines.append(line)
        else:  # an entry of a section, or more of one
            depth = len(line) - len(line.lstrip())
            text = line.strip()
            item = re.match(r"(`?[\w*]+`?): ", text)
            lines.append(
                f"- `{item[1]}`: {text[item.end() :]}"
                if item and depth == 4
                else f"  {text}"
                if depth > 4
                else text
            )
    if fenced:
        lines.append("```")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the pages, and remove what is there besides."""
    HERE.mkdir(exist_ok=True)
    wanted = pages()
    for old in HERE.glob("*.md"):
        if old.name not in wanted:
            old.unlink()
    for name, text in wanted.items():
        HERE.joinpath(name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
