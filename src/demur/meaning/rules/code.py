"""Answers that are code: recognised by their form and compared by their tokens or syntax tree, not by a language model.

``git reset --soft`` and ``git reset --hard`` look alike to a language model but differ in meaning. Two answers of code
mean the same where their canonical forms are equal: for Python the syntax tree with its own names numbered, for
everything else the tokens without comments, layout and the choice of quotes. Equivalent code of another form is not
recognised. Pure functions.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator

from demur.meaning.rules.values.programs import parse_python
from demur.prompts.tool_calls import canonical_value

_FENCE = re.compile(r"^[ \t]*```([\w+#-]*)[ \t]*\n(.*?)^[ \t]*```", re.DOTALL | re.M)
_SPAN = re.compile(r"`([^`\n]+)`")
_SAID_BESIDE_SPAN = 4  # words around a single `span`, as in "Run `ls`.": more is an explanation
_COMMANDS = (  # lower-case words that are not English
    *("apt", "apt-get", "awk", "chmod", "chown", "conda", "crontab", "curl", "docker", "gcc", "git", "grep", "gzip"),
    *("jq", "kubectl", "ls", "mkdir", "npm", "npx", "pip", "pip3", "psql", "python3", "rsync", "scp", "sed", "ssh"),
    *("sudo", "systemctl", "tar", "uv", "wget", "xargs", "yarn"),
)
_WORDS_AND_COMMANDS = (  # commands only with an option, a path or a pipe after them
    *("aws", "bash", "brew", "cargo", "cat", "cd", "cp", "diff", "dig", "du", "echo", "export", "find", "go", "head"),
    *("helm", "java", "kill", "less", "ln", "make", "mv", "node", "ping", "ps", "python", "rm", "sort", "tail"),
    *("terraform", "top", "touch", "wc", "zip"),
)
_SHELL = re.compile(rf"\A(?:[$>] )?(?:{'|'.join(map(re.escape, _COMMANDS))})(?: |\Z)")
_SHELL_TOO = re.compile(
    rf"\A(?:[$>] )?(?:{'|'.join(_WORDS_AND_COMMANDS)}) (?:.*(?:(?<=\s)--?\w|[|&~/*$=_>]|\w\.\w)|\w+ \w+\Z)", re.DOTALL
)
_SQL = re.compile(
    r"\A\s*(?:select\b.+\bfrom|insert\s+into|update\b.+\bset|delete\s+from|"
    r"(?:create|drop|alter)\s+(?:table|index|view|database))\b",
    re.I | re.DOTALL,
)
_LINKS = re.compile(r"!?\[[^\[\]]*\]\([^()\s]*\)|\bhttps?://\S+")
_MARKS = (  # marks of programs that sentences do not have
    re.compile(r"[a-z_]\w*\([^()]*\)\s*[;{:.\[]|\b[a-z_]\w*\.[a-z_]\w*\(|\A\s*[a-z_][\w.]*\(.*\)\s*;?\s*\Z", re.DOTALL),
    re.compile(r"[)}\]]\s*;?\s*\n|\{\s*\n|\A\s*[{\[].*[\"':].*[}\]]\s*\Z", re.DOTALL),
    re.compile(
        r"===|!==|\w\s*(?:==|!=|<=|>=|=>)\s*[\w\"'(\[{-]|(?<!-)->|\w::\w|\b[a-z_]\w*(?:\+\+|--)(?=[;)\s]|\Z)|&&"
    ),
    re.compile(r"^\s*(?:def|class|for|while|if|elif|else|try|fn|func|function|const|let|var)\b.*[:{;(=]", re.M),
    re.compile(r"^\s*(?:import [\w.]+|from [\w.]+ import .+|return .+;?)\s*$", re.M),
    re.compile(r"<([a-z][\w-]*)[^<>]*>.*</\1>", re.DOTALL),
    re.compile(r"\b[a-z_]\w*\[[^\[\]]*\]|\A\[.+ for .+ in .+\]\Z"),
    re.compile(r"\A\s*[a-z]+(?:-[a-z]+)+\s*:\s*[\w#%. -]+;?\s*\Z|\A\s*[a-z]+\s*:\s*[\w#%. -]+;\s*\Z"),  # CSS
    re.compile(r"\\[dDwWsSbB](?![a-z])|\[\^?\w-\w"),  # a pattern
    re.compile(r"\A\s*[a-z_][\w.]*\s*=\s*\S|\A\s*[\w.]+\s*[<>]\s*[\w.]+\s*\Z"),
)
_WORDS = re.compile(r"(?<![\w.`<>/-])[a-zA-Z]{2,}(?![\w(\[=`:<>/;]|[.-]\w)")
LONGEST = 2_000  # characters up to which a text without fences may be code: patterns must not grow with a novel
_PROSE = frozenset(  # words that are not keywords
    ("the", "a", "an", "are", "was", "were", "to", "of", "it", "this", "that", "you", "your", "can", "will", "so", "by")
)
_MOST_WORDS = 0.6  # of what stands between spaces: programs have fewer plain words
_COMMENT = re.compile(r"(?:(?<=\s)|\A)(?:#(?!!)|//|-- )[^\n]*|/\*.*?\*/|<!--.*?-->", re.DOTALL)
_TOKEN = re.compile(
    r"\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|`[^`]*`|\w+(?:\.\d+)?|--?\w[\w-]*|===|!==|==|!=|<=|>=|=>|->|::|\+\+|--|"
    r"&&|\|\||<<|>>|[-+*/%&|^]=|\S"
)
_STATEMENTS = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom),
    *(ast.For, ast.While, ast.If, ast.With, ast.Assign),
)
_ARROW = re.compile(r"\(?\b([a-zA-Z_]\w*)\)?\s*=>")


def code_of(answer: str) -> str | None:
    """The code that an answer consists of: fenced blocks, JSON with objects, a lone span, or the whole text; None for
    other answers.
    """
    blocks = [body for _, body in _FENCE.findall(answer)] if "```" in answer else []
    if blocks:
        return "\n".join(blocks)
    text = answer.strip()
    if text[:1] in ("{", "[") and "{" in text and _json(text) is not None:
        return text
    if len(text) > LONGEST:
        return None
    spans = _SPAN.findall(text)
    if len(spans) == 1 and len(_SPAN.sub(" ", text).split()) <= _SAID_BESIDE_SPAN:
        return spans[0] if _looks_like_code(spans[0]) else None
    return text if _looks_like_code(text) else None


def canonical_code(code: str) -> str:
    """Equal for two pieces of code that differ by layout, comments, quotes, (in Python) by their own names or (in JSON)
    by the order of keys and the spelling of numbers alone.
    """
    if (value := _json(code)) is not None:
        return value
    text = _COMMENT.sub(" ", re.sub(r"(?m)^[$>] ", "", code.strip())).strip()
    tree = _python(code) or _python(text)
    if tree is not None:
        return tree
    for name in dict.fromkeys(_ARROW.findall(text)):
        text = re.sub(rf"\b{name}\b", "_1", re.sub(rf"\({name}\)(?=\s*=>)", name, text))
    folds = _SQL.match(text) is not None
    return " ".join(_canonical_token(token, folds) for token in _TOKEN.findall(text)).rstrip(" ;")


def _canonical_token(token: str, folds: bool) -> str:
    if len(token) > 1 and token[0] in "\"'" and token[-1] == token[0]:
        return f'"{token[1:-1]}"'
    return token.casefold() if folds else token


def _looks_like_code(text: str) -> bool:
    if _SQL.match(text) or _is_python(text):
        return True
    text = _COMMENT.sub(" ", _LINKS.sub(" ", text))
    words, parts = _WORDS.findall(text), len(text.split())
    prose = sum(word.casefold() in _PROSE for word in words)
    if _SHELL.match(text) or _SHELL_TOO.match(text):
        return prose * 3 <= parts
    marked = any(mark.search(text) for mark in _MARKS)
    return marked and prose * 4 <= parts and len(words) <= _MOST_WORDS * parts


def _is_python(text: str) -> bool:
    """Statements of Python that no sentence is: definitions, imports, loops, conditions, assignments."""
    tree = parse_python(text)
    return any(isinstance(statement, _STATEMENTS) for statement in (tree.body if tree else ()))


def _json(code: str) -> str | None:
    """A JSON object or array in its canonical form; None if it is neither."""
    try:
        value = json.loads(code) if code.lstrip()[:1] in ("{", "[") else None
        return None if value is None else "json " + json.dumps(canonical_value(value), sort_keys=True)
    except (ValueError, RecursionError):
        return None


def _python(code: str) -> str | None:
    """The dump of Python's syntax tree, without docstrings, its own names numbered; None if it is not Python."""
    tree = parse_python(code.strip())
    if tree is None:
        return None
    own = {name: f"_{place}" for place, name in enumerate(dict.fromkeys(_set_names(tree)))}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = own.get(node.id, node.id)
        elif isinstance(node, ast.arg):
            node.arg = own.get(node.arg, node.arg)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return "python " + ast.dump(tree)


def _set_names(tree: ast.AST) -> Iterator[str]:
    """Names that the code sets itself: parameters, targets of loops and comprehensions; not what it is asked for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.comprehension | ast.For | ast.AsyncFor):
            yield from (name.id for name in ast.walk(node.target) if isinstance(name, ast.Name))
