"""What mkdocs is told: README.md is the first page, and links out of docs/ leave the site.

Hooks of mkdocs, named in mkdocs.yml. The pages are written for a checkout, where every link is a
path; the test of the documentation sees to those.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"^```.*?^```$|(?<=\]\()(?!\w+:|#)([^)\s#]+)((?:#[^)\s]*)?)(?=\))", re.M | re.S)
"""The path and the anchor of a link in Markdown that is no address; a block of code has neither."""


def on_files(files: Any, config: Any) -> Any:
    """Put README.md in as the first page."""
    text = (ROOT / "README.md").read_text("utf-8")
    files.append(File.generated(config, "index.md", content=_linked(text, "", config["repo_url"])))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Have links that lead out of docs/ lead to the repository."""
    if page.file.src_uri == "index.md":
        return markdown
    return _linked(markdown, f"docs/{page.file.src_uri}", config["repo_url"])


def _linked(text: str, page: str, repository: str) -> str:
    """Return a page with each link as the site has it; `page` is its path in the repository."""

    def link(found: re.Match[str]) -> str:
        path, anchor = found.groups()
        if path is None:
            return found[0]
        target = _plain(PurePosixPath(page).parent / path)
        if target.parts[0] != "docs":
            return f"{repository}/blob/main/{target}{anchor}"
        return found[0] if page else f"{target.relative_to('docs')}{anchor}"

    return LINK.sub(link, text)


def _plain(path: PurePosixPath) -> PurePosixPath:
    parts: list[str] = []
    for one in path.parts:
        if one == "..":
            parts.pop()
        else:
            parts.append(one)
    return PurePosixPath(*parts)
