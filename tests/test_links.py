"""Links of README and docs: those to a heading lead to one, and those to other hosts can be followed.

No host is asked. The pages made from the code are checked by `mkdocs build`, which is strict (`make site`).
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")), *(ROOT / "docs").glob("*.md")]
LINK = re.compile(r"\]\(([^)\s]+)\)")
ADDRESS = re.compile(r"""https?://[^\s)>"'`|\\]+""")
LINKED = {"semver.org", "github.com"}  # hosts that a reader is sent to
SHOWN = {"api.openai.com", "gpu", "app.example", "RESOURCE.openai.azure.com"}  # in commands and settings


def headings(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub and mkdocs make them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    plain = [re.sub(r"[`*]|\]\([^)]*\)|\[", "", line) for line in re.findall(r"^#+ +(.+)$", text, re.MULTILINE)]
    return {re.sub(r"[^\w\- ]", "", line.lower()).strip().replace(" ", "-") for line in plain}


def broken(page: Path) -> list[str]:
    """Links of a page to files or headings that are not there."""
    links = [one for one in LINK.findall(page.read_text(encoding="utf-8")) if not one.startswith("http")]
    found = []
    for link in links:
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        made = target.parent.name == "reference" and not target.exists()  # made from the code when the site is built
        if not made and (not target.exists() or (anchor and anchor not in headings(target))):
            found.append(link)
    return found


def unfollowable(text: str) -> list[str]:
    """Addresses of a text that are malformed, or of a host that neither a reader is sent to nor an example uses."""
    found = []
    for address in ADDRESS.findall(text):
        parts = urlsplit(address.rstrip(".,;:"))
        try:
            local = ipaddress.ip_address(parts.hostname or "").is_loopback
        except ValueError:
            local = False
        host = parts.netloc.rpartition("@")[2].partition(":")[0]
        if not (local or host in SHOWN or (host in LINKED and parts.scheme == "https")):
            found.append(address)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    assert broken(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_addresses_are_whole_and_of_hosts_that_are_meant(page: Path) -> None:
    assert unfollowable(page.read_text(encoding="utf-8")) == []


def test_what_is_broken_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Two words, `code`\n[a](#two-words-code) [b](#three) [c](gone.md) [d](page.md#two-words-code)\n")
    assert broken(page) == ["#three", "gone.md"]
    said = (
        "https://semver.org http://semver.org https://semver.orgs http://127.0.0.1:8111/v1, http:///x http://10.0.0.1/"
    )
    assert unfollowable(said) == ["http://semver.org", "https://semver.orgs", "http:///x", "http://10.0.0.1/"]
