"""The language that a text asks for answers in: "Answer in German.", "always reply in Japanese".

Of English phrasings alone; a request in another language is recognised by its own (`demur.meaning.rules.languages`).
What is conditional ("if the user writes in French, reply in French") or negated asks for nothing. Pure functions.
"""

from __future__ import annotations

import re
from functools import lru_cache

LONGEST = 20_000  # characters that are looked at: half of them from either end
KEPT = 256  # texts whose language is remembered

# English names -> codes, as the detector of languages has them.
LANGUAGES = {
    **{"afrikaans": "af", "albanian": "sq", "amharic": "am", "arabic": "ar", "armenian": "hy", "azerbaijani": "az"},
    **{"basque": "eu", "belarusian": "be", "bengali": "bn", "bosnian": "bs", "bulgarian": "bg", "burmese": "my"},
    **{"cantonese": "zh", "castilian": "es", "catalan": "ca", "chinese": "zh", "croatian": "hr", "czech": "cs"},
    **{"danish": "da", "dutch": "nl", "english": "en", "esperanto": "eo", "estonian": "et", "farsi": "fa"},
    **{"filipino": "tl", "finnish": "fi", "flemish": "nl", "french": "fr", "galician": "gl", "georgian": "ka"},
    **{"german": "de", "greek": "el", "gujarati": "gu", "hebrew": "he", "hindi": "hi", "hungarian": "hu"},
    **{"icelandic": "is", "indonesian": "id", "irish": "ga", "italian": "it", "japanese": "ja", "kannada": "kn"},
    **{"kazakh": "kk", "khmer": "km", "korean": "ko", "kurdish": "ku", "lao": "lo", "latin": "la", "latvian": "lv"},
    **{"lithuanian": "lt", "macedonian": "mk", "malay": "ms", "malayalam": "ml", "maltese": "mt", "mandarin": "zh"},
    **{"marathi": "mr", "mongolian": "mn", "nepali": "ne", "norwegian": "no", "pashto": "ps", "persian": "fa"},
    **{"polish": "pl", "portuguese": "pt", "punjabi": "pa", "romanian": "ro", "russian": "ru", "serbian": "sr"},
    **{"sinhala": "si", "slovak": "sk", "slovene": "sl", "slovenian": "sl", "somali": "so", "spanish": "es"},
    **{"swahili": "sw", "swedish": "sv", "tagalog": "tl", "tamil": "ta", "telugu": "te", "thai": "th"},
    **{"turkish": "tr", "ukrainian": "uk", "urdu": "ur", "uzbek": "uz", "vietnamese": "vi", "welsh": "cy"},
}
_WORD = re.compile("[A-Za-z]+")
_BEFORE = 200  # characters before a name in which its sentence may begin
_SENTENCE = re.compile(r"[.!?;:\n]")
_CONDITION = re.compile(
    r"\b(?:if|when|whenever|unless|where|wherever|whether|not|never|don['’]t|e\.g|for example)\b", re.I
)
_GAP = r"(?:[ \t]+[\w'’,-]+){0,8}?[ \t]+"  # "the question", "to the user"
_VERB = r"(?:answer|reply|respond|write|speak|talk|communicate|converse)"
_NOUN = r"(?:answers?|repl(?:y|ies)|responses?|output|text|messages?)"
_OF_NAMES = (  # words before a name
    r"(?:(?:the|plain|simple|formal|fluent|correct|mandarin|brazilian|european|latin|american|british|swiss|modern"
    r"|classical|simplified|traditional|standard)[ \t]+)*$"
)
# Where a verb is an order: at the beginning of a sentence or a line, or after one of these words.
_ORDER_WORDS = (
    r"please|kindly|always|only|must|should|shall|will|and|(?:sure|remember|have|need|required|asked|instructed"
    r"|expected|want you|like you) to"
)
_BEGINS = r"(?:^|[,(–—•*-])[ \t]*(?:then |and |but |so )?"
_ORDER = rf"(?:{_BEGINS}|\b(?:{_ORDER_WORDS}|you)[ \t]+(?:always |only |please )*)"
_PLAIN_ORDER = rf"(?:{_BEGINS}|\b(?:{_ORDER_WORDS})[ \t]+)"  # not "do you speak"
_ASKS = re.compile(
    rf"{_ORDER}{_VERB}{_GAP}in[ \t]+{_OF_NAMES}"
    rf"|{_PLAIN_ORDER}(?:speak|use|write)[ \t]+(?:only[ \t]+)?{_OF_NAMES}"
    rf"|{_ORDER}(?:give|provide|return|state|formulate|phrase|produce){_GAP}{_NOUN}{_GAP}in[ \t]+{_OF_NAMES}"
    rf"|\b{_NOUN}[ \t]+(?:must|should|shall|has to|have to|needs? to|is to|are to){_GAP}in[ \t]+{_OF_NAMES}",
    re.I,
)
# Another noun after a name makes it an adjective, as in "in German cities".
_END = re.compile(
    r"(?:[ \t]+(?:language|chinese))?(?:[ \t]*(?:$|[^\w \t'’-])"
    r"|[ \t]+(?:only|please|unless|regardless|no|whatever|even|and|or|with|using|when|at|always|throughout)\b)",
    re.I,
)


@lru_cache(KEPT)
def asked_language(text: str) -> str:
    """The code of the language, such as "de", that a text asks for last; "" where it asks for none."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]}\n{text[-LONGEST // 2 :]}"
    found = ""
    for word in _WORD.finditer(text):
        code = LANGUAGES.get(word.group().lower())
        if code and _END.match(text, word.end()):
            before = _SENTENCE.split(text[max(0, word.start() - _BEFORE) : word.start()])[-1]
            if _ASKS.search(before) and not _CONDITION.search(before):
                found = code
    return found
