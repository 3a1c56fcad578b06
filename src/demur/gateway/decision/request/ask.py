"""What the person asked, separated from all that a client puts around it. Pure functions on one request.

A request's last text of the user may be a tool's result, a summary, a template with documents in it. The tables below
are of text protocols and templates, not of clients; what they do not know, `boilerplate` learns from repetition.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence

from demur.gateway.decision.request.messages import Message
from demur.gateway.http.request_record import request_record

# Elements that hold the person's own words in a template.
PERSONS_WORDS = frozenset(
    {"task", "user_query", "user_request", "user_message", "user_question", "question", "query", "feedback"}
)
# Elements of plain names that hold other things; so does any whose name HTML cannot have, with a dash or a low line.
OTHER = frozenset(
    {"context", "contexts", "document", "documents", "doc", "docs", "file", "files", "source", "sources"}
    | {"instructions", "rules", "memory", "output", "returncode", "warning", "summary", "example", "examples"}
    | {"attachment", "attachments", "diagnostics"}
)
# A field's name on a line of its own, and a closing paragraph that names the fields to answer with: DSPy's.
_field = re.compile(r"^\[\[ ## (\w+) ## \]\][ \t]*$", re.M)
_answer_fields = re.compile(r"\n[ \t]*\n[^\n]*`\[\[ ## ")
_tag = re.compile(r"<(/?)([a-zA-Z][\w-]*)(?:\s[^<>]*)?>")
_path = re.compile(r"[^\s`<>|]*[./][^\s`<>|]+[ \t]*:?[ \t]*")
_fence = re.compile(r"(`{3,}|~{3,})")
# A label before the person's words, after which nothing else stands.
_label = re.compile(r"^[ \t#*]*(?:user )?(?:question|query|request|input|instruction)[ \t*]*:[ \t*]*", re.I | re.M)
_answer = re.compile(r"^[ \t#*]*(?:(?:helpful |final |your )?answer|response|assistant)[ \t*]*:[ \t*]*\Z", re.I | re.M)
# How texts begin that programs send in the user's name: results of tools, and summaries of the conversation.
_RESULT = r"observation\b|tool (?:result|output|response|call)|(?:results?|output) (?:of|from|for)\b"
_RESULT += r"|execution (?:result|log|output)|(?:command|terminal|console) output|stdout\b|stderr\b|exit code"
_RESULT += r"|traceback \(|\[tool|\[\w+(?: for [^\]]*)?\] result"
_result = re.compile(rf"\s*[\[(*#]*\s*(?:{_RESULT})", re.I)
_SUMMARY = (
    r"this session is being continued|another language model started|(?:here is )?a?\s?summary of (?:the|our|all|this)"
)
_summary = re.compile(rf"\s*[\[(*#]*\s*(?:{_SUMMARY}|conversation summary|previous conversation summary)", re.I)
# A text agent's call, after which the next text of the user is its result; and its end.
_call = re.compile(r"^[ \t*]*action(?: input)?[ \t*]*:", re.I | re.M)
_end = re.compile(r"^[ \t*]*final answer[ \t*]*:", re.I | re.M)
_taken_note = re.compile(r"\s*(?:ok(?:ay)?|understood|got it|noted|i see|thank you|thanks|sure)\b", re.I)
LONGEST_NOTE = 80  # characters of an answer that only takes note of what it was given
LONGEST = 100_000  # characters of a text that are looked at: its beginning and its end


@request_record(frozen=True, slots=True)
class Ask:
    """What the person said last."""

    place: int  # of its message
    text: str


def last_ask(messages: Sequence[Message]) -> Ask | None:
    """The person's last words; None where no message holds any."""
    for place in reversed(range(len(messages))):
        text = asked_at(messages, place)
        if text:
            return Ask(place, text)
    return None


def asked_at(messages: Sequence[Message], place: int) -> str:
    """What the person says in a message; empty in one that a program has written."""
    one = messages[place]
    return "" if one.speaker != "user" or is_program(messages, place) else asked_in(one.text)


def is_program(messages: Sequence[Message], place: int) -> bool:
    """Whether a program has written a message in the user's name: a result, or a summary of the conversation."""
    return is_result(messages, place) or bool(_summary.match(messages[place].text))


def is_result(messages: Sequence[Message], place: int) -> bool:
    """Whether a message in the user's name is the result of a call that the model has made in its text."""
    before = next((one for one in reversed(messages[:place]) if one.speaker == "assistant" and one.text), None)
    if before is None:
        return False
    calls = _call.search(before.text) and not _end.search(before.text)
    return bool(calls) or bool(_result.match(messages[place].text))


def is_given(messages: Sequence[Message], place: int) -> bool:
    """Whether a message of the user only gives something to read: the model was made to take note of it."""
    after = messages[place + 1] if place + 1 < len(messages) else None
    if after is None or after.speaker != "assistant":
        return False
    return len(after.text) <= LONGEST_NOTE and bool(_taken_note.match(after.text))


def asked_in(text: str) -> str:
    """The person's words in a text of the user's: in an element or a field, or after a label of their own, else all
    that is left without reminders, documents and files."""
    text = text.strip()
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]}\n{text[-LONGEST // 2 :]}"
    spans = list(_elements(text))
    own = [_inner(text[start:end]) for name, start, end in spans if name in PERSONS_WORDS] or _fields(text)
    if own:
        return own[-1]
    left = _without_files(_cut(text, [(start, end) for name, start, end in spans if _is_other(name)])).strip()
    labels = list(_label.finditer(left))
    if labels and left[: labels[-1].start()].strip():
        left = left[labels[-1].end() :]
    return _answer.sub("", left).strip()


def _fields(text: str) -> list[str]:
    """What stands in the fields that hold the person's own words."""
    parts = _field.split(text)  # before the first field, then the name and the content of each
    own = [inner for name, inner in zip(parts[1::2], parts[2::2], strict=True) if name.lower() in PERSONS_WORDS]
    return [_answer_fields.split(inner)[0].strip() for inner in own]


def _is_other(name: str) -> bool:
    return name in OTHER or "_" in name or "-" in name


def _elements(text: str) -> Iterator[tuple[str, int, int]]:
    """(name in lower case, start, end) of the outermost elements; a tag without its other end is text.

    One pass, since a text may consist of open tags alone.
    """
    tags = [(found[2].lower(), bool(found[1]), found.start(), found.end()) for found in _tag.finditer(text)]
    ends: dict[str, deque[int]] = {}
    for name, closes, _, end in tags:
        if closes:
            ends.setdefault(name, deque()).append(end)
    at = 0
    for name, closes, start, begun in tags:
        if closes or start < at or not (name in PERSONS_WORDS or _is_other(name)):
            continue
        later = ends.get(name, deque())
        while later and later[0] < begun:
            later.popleft()
        if later:
            at = later[0]
            yield name, start, at


def _inner(element: str) -> str:
    return element[element.index(">") + 1 : element.rindex("<")].strip()


def _cut(text: str, spans: Sequence[tuple[int, int]]) -> str:
    pieces, at = [], 0
    for start, end in spans:
        pieces.append(text[at:start])
        at = end
    return "".join([*pieces, text[at:]])


def _without_files(text: str) -> str:
    """Without files: a path on a line of its own, then the fenced content."""
    lines, kept, place = text.split("\n"), [], 0
    unclosed: set[str] = set()
    while place < len(lines):
        fence = _fence.match(lines[place + 1]) if place + 1 < len(lines) and _path.fullmatch(lines[place]) else None
        if fence and fence[1] not in unclosed:
            end = next((i for i in range(place + 2, len(lines)) if lines[i].startswith(fence[1])), None)
            if end is not None:
                place = end + 1
                continue
            unclosed.add(fence[1])
        kept.append(lines[place])
        place += 1
    return "\n".join(kept)
