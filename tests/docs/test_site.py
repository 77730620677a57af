"""The documentation as a site: every page is in its menu, and no link or anchor leads nowhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import FENCE

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
LINK = re.compile(r"\]\(([^)#\s]*)#([^)\s]+)\)")


def listed() -> list[str]:
    """Return the pages in the menu; read without YAML, which only mkdocs needs."""
    nav = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")[2]
    return re.findall(r"(\S+\.md)$", nav, re.MULTILINE)


def test_every_page_is_in_the_menu_once():
    pages = [path.relative_to(DOCS).as_posix() for path in PAGES]
    assert sorted(listed()) == sorted(["index.md", *pages])


def anchors(path: Path) -> set[str]:
    """Return what headings can be called by, spelled as GitHub and mkdocs spell it."""
    text = FENCE.sub("", path.read_text("utf-8"))
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", re.sub(r"\]\([^)]*\)", "", one)) for one in heads)
    return {re.sub(r"\s", "-", one.strip().lower()) for one in plain}


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda path: path.name)
def test_anchors_are_there(page):
    for link, anchor in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
        if "://" not in link:
            target = page.parent / link if link else page
            assert anchor in anchors(target.resolve()), f"{page.name} links to {link}#{anchor}"


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("mkdocs", reason="an extra: pip install -e '.[docs]'")
    pytest.importorskip("material", reason="an extra: pip install -e '.[docs]'")
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder / "site")],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def copy(folder: Path, *, and_then: str = "") -> None:
    """Put down what the site is made of, with something more on one page."""
    for path in (ROOT / "README.md", ROOT / "mkdocs.yml", *DOCS.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            target = folder / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    page = folder / "docs" / "how-to" / "ci.md"
    page.write_text(page.read_text("utf-8") + and_then, "utf-8")


@pytest.mark.slow
def test_the_site_is_built_and_begins_with_the_readme(tmp_path):
    copy(tmp_path)
    done = build(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    first = (tmp_path / "site" / "index.html").read_text("utf-8")
    assert 'href="how-to/kafka/"' in first
    assert 'src="images/report.png"' in first
    assert "/blob/main/ARCHITECTURE.md" in first
    assert "https://fonts" not in first


@pytest.mark.slow
@pytest.mark.parametrize("link", ["[x](nowhere.md)", "[x](budgets.md#nowhere)"])
def test_a_dead_link_ends_the_build(link, tmp_path):
    copy(tmp_path, and_then=f"\n{link}\n")
    done = build(tmp_path)
    assert done.returncode != 0
    assert "nowhere" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "broker", ["dynamodb", "eventbridge", "kafka", "nats", "rabbitmq", "redis-streams", "sqs"]
)
def test_the_page_of_a_broker_says_what_it_is_trusted_for(broker):
    """What is modelled and what is not, by which rules, how that is known, what is overlooked."""
    text = (DOCS / "how-to" / f"{broker}.md").read_text("utf-8")
    heads = re.findall(r"^## (.+)$", FENCE.sub("", text), re.MULTILINE)
    wanted = (
        "underestimated",
        "How to choose a profile",
        "What may strike where",
        "Rules, and where they",
        "How it is",
        "What is not modelled",
    )
    assert [one for one in wanted if not any(one in head for head in heads)] == []
