"""Recognises answers that refuse or say that they do not know; all of them count as one meaning, which is never right.

Decided by how a short English answer begins: a text that goes on to answer is not a refusal. Precision before recall: a
missed refusal is an answer like any other, an answer taken for a refusal ("I Can't Explain" is a song) would be lost.
"""

from __future__ import annotations

import re

from demur.meaning.normalise import is_empty

MOST_WORDS = 60  # of a refusal with its reasons
_APOLOGY = r"(?:(?:i['’]?m|i am|we['’]?re|we are)? ?(?:really |very |so |terribly )?sorry|i apologi[sz]e|unfortunately)"
_AS_A = r"as an? (?:ai|artificial intelligence|large language model|language model|virtual assistant)\b[^,.]*"
_BEFORE = rf"(?:(?:{_APOLOGY}|{_AS_A})[,.:;!]? ?(?:but |that )?)*"
_DONE = (
    r"(?:help|assist|answer|provide|comply|do (?:that|this|so)|fulfil+|access|browse|give|share|respond|discuss|engage"
    r"|tell you|determine|verify|predict|continue with|support|create|generate|write|offer|make (?:that|this)|say)\b"
)
_END = r"\s*(?:[.!?]|\Z)"
_CANNOT = (
    r"(?:i|we) (?:can['’]?t|cannot|can not|won['’]?t|will not|am unable to|are unable to|(?:am|are) not able to)"
    rf" {_DONE}"
    rf"|i['’]m (?:unable to|not able to) {_DONE}"
    rf"|(?:i|we) (?:must|have to) (?:decline|refuse)\b"
    rf"|i (?:cannot|can['’]?t|won['’]?t){_END}"
)
_UNKNOWN = (
    rf"(?:i|we) (?:do not|don['’]?t) (?:know(?: the answer| that| this)?{_END}"
    rf"|have (?:access|enough|any|the|that|this|real-time|up-to-date|specific|information)\b)"
    rf"|(?:i am|i['’]m) not sure{_END}|i have no idea{_END}"
)
_DECLINED = re.compile(rf"\s*{_BEFORE}(?:{_CANNOT}|{_UNKNOWN})", re.IGNORECASE)
_GOES_ON = re.compile(r"\b(?:but|however|though|although|instead|that said)\b|\bthe answer is\b", re.IGNORECASE)


def declines(answer: str) -> bool:
    """True for "I'm sorry, but I can't help with that" and "I don't know."; False for "I don't know, perhaps Paris"."""
    if answer.count(" ") > MOST_WORDS:
        return False
    found = _DECLINED.match(answer)
    return found is not None and _GOES_ON.search(answer, found.end()) is None


def says_nothing(answer: str) -> bool:
    """True for an empty answer and for a refusal: neither can be right, however often it is given."""
    return is_empty(answer) or declines(answer)
