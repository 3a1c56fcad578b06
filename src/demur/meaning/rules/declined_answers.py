"""Recognises answers that refuse or say that they do not know; all of them count as one meaning, which is never right.

Decided by how a short answer begins, in English and, with an apology, in fourteen other languages: a text that goes on
to answer is not a refusal. Precision before recall: a missed refusal is an answer like any other, an answer taken for a
refusal ("I Can't Explain" is a song) would be lost.
"""

from __future__ import annotations

import re
from functools import lru_cache

from demur.meaning.rules.normalise import MOST_KEPT, is_empty

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


# Per language: the apology, and what cannot be done or is not known, in the same sentence or the next one.
_ELSEWHERE = (
    (
        r"(?:(?:es )?tut mir (?:sehr )?leid|leider|entschuldigung)",
        r"(?:ich\b[^.!?]{0,70}|(?:kann|darf|werde) ich\b[^.!?]{0,70})\bnicht\b[^.!?]{0,20}"
        r"(?:helfen|antworten|geben|tun|erfüllen|nennen|sagen)"
        r"|ich weiß (?:es|das)? ?nicht",
    ),
    (
        r"(?:(?:je suis )?désolée?|malheureusement|je regrette)",
        r"je ne (?:peux|puis) (?:malheureusement )?pas (?:vous |te |y )?(?:aider|répondre|fournir|faire|donner)"
        r"|je ne sais pas",
    ),
    (
        r"(?:lo siento|lo lamento|lamentablemente|disculp\w+)",
        r"no puedo (?:ayudar|responder|proporcionar|hacer|dar|cumplir|contestar)|no (?:lo )?sé\b",
    ),
    (
        r"(?:mi dispiace|purtroppo|sono spiacente)",
        r"non (?:posso|sono in grado di) (?:aiutar|rispondere|fornir|far|dar)|non lo so\b",
    ),
    (
        r"(?:(?:me )?desculp\w+|sinto muito|lamento|infelizmente)",
        r"não (?:posso|consigo) (?:ajudar|responder|fornecer|fazer|dar|atender)|não sei\b",
    ),
    (
        r"(?:(?:het )?spijt me|sorry|helaas)",
        r"ik (?:kan|mag)\b[^.!?]{0,50}\bniet\b[^.!?]{0,20}(?:helpen|beantwoorden|geven|doen)"
        r"|kan ik\b[^.!?]{0,50}\bniet\b[^.!?]{0,20}(?:helpen|beantwoorden|geven|doen)|ik weet het niet",
    ),
    (
        r"(?:(?:jag är )?ledsen|tyvärr|förlåt)",
        r"(?:jag )?kan (?:jag )?(?:tyvärr )?inte (?:hjälpa|svara|ge|göra)|vet inte",
    ),
    (
        r"(?:przykro mi|przepraszam|niestety)",
        r"nie mogę (?:\w+ ){0,2}(?:pomóc|odpowiedzieć|podać|udzielić|tego)|nie wiem",
    ),
    (
        r"(?:извините|простите|к сожалению|мне жаль)",
        r"не могу (?:\w+ ){0,2}(?:помочь|ответить|предоставить|выполнить|дать|сделать)|не знаю",
    ),
    (
        r"(?:üzgünüm|maalesef|özür dilerim)",
        r"yardımcı ol(?:amam|amıyorum)|(?:cevap|bilgi) ver(?:emem|emiyorum)|bilmiyorum",
    ),
    (
        r"(?:大変)?(?:申し訳(?:ありません|ございません)|すみません|ごめんなさい|残念ながら)",
        r"(?:お答え|お手伝い|対応|回答|提供|お役に立つこと)[^。]{0,8}(?:できません|出来ません|できかねます|ない)|(?:わかり|分かり)ません",
    ),
    (
        r"(?:很|非常)?(?:抱歉|对不起|對不起|遗憾)",
        r"我?(?:无法|不能|無法)(?:\w{0,6})(?:回答|提供|帮|协助|满足|完成|处理)|我?不知道",
    ),
    (
        r"(?:죄송하지만|죄송합니다|미안하지만|미안합니다|유감이지만)",
        r"(?:도와|도움|답변|답|제공|알려)[^.]{0,14}수 없|모르겠",
    ),
    (
        r"(?:عذر[اً]+|آسف\w*|أنا آسف|للأسف|أعتذر)",
        r"لا (?:أستطيع|يمكنني) (?:\w+ ){0,2}(?:مساعد|الإجاب|تقديم|القيام|توفير)|لا أ(?:عرف|علم)",
    ),
    (
        r"(?:क्षमा करें|माफ़? ?की?जिए|माफ करें|मुझे खेद है)",
        r"(?:मदद|सहायता|उत्तर|जवाब|जानकारी)[^।]{0,20}(?:नहीं|असमर्थ)|नहीं (?:पता|जानता)",
    ),
)
_ONLY_UNKNOWN = (
    r"ich weiß (?:es|das)? ?nicht|je ne sais pas|no (?:lo )?sé|non lo so|não sei|ik weet het niet|nie wiem"
    r"|(?:я )?не знаю|bilmiyorum|(?:わかり|分かり)ません|我?不知道|(?:잘 )?모르겠습니다|لا أ(?:عرف|علم)|मुझे नहीं पता"
)
_DECLINED_ELSEWHERE = re.compile(
    r"\s*(?:"
    + "|".join(rf"{sorry}[^.!?。]{{0,40}}[.!?。,，、]?\s*[^.!?。]{{0,60}}?(?:{unable})" for sorry, unable in _ELSEWHERE)
    + rf"|(?:{_ONLY_UNKNOWN})\s*[.!。।]?\s*\Z)",
    re.IGNORECASE,
)
_GOES_ON_ELSEWHERE = re.compile(
    r"\b(?:aber|jedoch|mais|cependant|pero|però|ma|mas|porém|maar|men|ale|но|однако|ama|ancak|lakin)\b"
    r"|しかし|ただし|ですが、|但|不过|하지만|لكن|लेकिन",
    re.IGNORECASE,
)


@lru_cache(MOST_KEPT)
def declines(answer: str) -> bool:
    """True for "I'm sorry, but I can't help with that" and "I don't know."; False for "I don't know, perhaps Paris"."""
    if answer.count(" ") > MOST_WORDS:
        return False
    for declined, goes_on in ((_DECLINED, _GOES_ON), (_DECLINED_ELSEWHERE, _GOES_ON_ELSEWHERE)):
        if found := declined.match(answer):
            return goes_on.search(answer, found.end()) is None
    return False


def says_nothing(answer: str) -> bool:
    """True for an empty answer and for a refusal: neither can be right, however often it is given."""
    return is_empty(answer) or declines(answer)
