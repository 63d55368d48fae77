"""Random English sentences over a closed vocabulary of about 600 everyday and meeting words."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

NAMES = (
    "Alice Bob Carol David Emma Frank Grace Henry Julia Kevin Laura Martin Nina Oscar Peter "
    "Rachel Sam Tom"
).split()
PRONOUNS = "I we you they".split()
PEOPLE = (
    "the team|the client|the manager|the engineer|the designer|the customer|the doctor|"
    "the teacher|the driver|my colleague|our partner|my brother|my sister|the new director|"
    "the whole group|the support desk|everyone|the sales team|the finance team|the student|"
    "the lawyer|the nurse|the visitor|the speaker"
).split("|")
PAST = (
    "finished started reviewed checked opened closed moved changed tested shipped fixed found "
    "wrote read sent received approved rejected discussed explained planned cancelled delivered "
    "recorded measured updated deleted signed bought sold missed needed wanted liked remembered "
    "forgot carried built painted cleaned counted"
).split()
VERBS = (
    "finish start review check open close move change test ship fix find write read send receive "
    "approve reject discuss explain plan cancel deliver record measure update delete sign buy sell "
    "miss need want like remember forget carry build paint clean count"
).split()
NOUNS = (
    "report budget schedule contract invoice server database network keyboard window door table "
    "meeting message letter picture story question answer problem result number account order "
    "package ticket train station airport hotel kitchen garden river mountain bridge street school "
    "hospital library office company market product project design model system program camera "
    "microphone recording transcript speaker channel release version backup password document "
    "summary agenda deadline proposal interview lesson coffee breakfast dinner water bottle box "
    "paper book phone computer screen battery engine car bus bicycle boat plane"
).split()
ADJECTIVES = (
    "new old big small long short early late red blue green white black quick slow strong weak "
    "simple difficult important final first second third last next open public private quiet loud "
    "warm cold clean heavy light cheap expensive broken correct wrong empty full ready perfect"
).split()
TIMES = (
    "today|tomorrow|yesterday|this morning|this afternoon|tonight|last week|next week|on Monday|"
    "on Tuesday|on Wednesday|on Thursday|on Friday|on Saturday|on Sunday|in January|in March|"
    "in April|in June|in July|in August|in October|in December|before lunch|after lunch|at noon|"
    "every day|two days ago|an hour ago|as soon as possible"
).split("|")
PLACES = (
    "in the office|at the station|near the river|at home|in the kitchen|on the table|"
    "behind the door|under the bridge|in the garden|at the hotel|in the meeting room|"
    "on the second floor|next to the window|across the street|in London|in Paris|in Berlin|"
    "in New York|in Tokyo|at school"
).split("|")
ADVERBS = (
    "quickly slowly carefully quietly finally usually never always often sometimes probably "
    "really almost already"
).split()
PHRASES = (
    "good morning everyone|good afternoon|hello again|thank you very much|thanks for joining|"
    "let us begin|that is a good point|I agree with you|I do not think so|yes of course|no not yet|"
    "sounds good to me|please go ahead|sorry I missed that|could you repeat that|"
    "what do you think|how are you today|see you later|that is all for today|one moment please|"
    "all right then|exactly|great work|well done|maybe later"
).split("|")
MODALS = "will|can|should|must|could|would|did not|might".split("|")
ASKING = "can could will did should would".split()
QUESTIONS = "where is|what is|who has|when is|why is|how is".split("|")
AMOUNTS = "we need|it took|there are|I counted|they want|it costs|we have|add".split("|")
REQUESTS = "please|let us|try to|remember to|do not".split("|")
DETERMINERS = "the a this that my our your their".split()
LINKS = "is|was|looks|seems|will be".split("|")
DEGREES = ["very ", "too ", "not ", "", ""]
ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
SCALES = "hundred thousand million".split()
UNITS = (
    "percent dollars euros minutes hours days weeks months years people pages files kilometers "
    "points items"
).split()
LOOSE_WORDS = [
    *PRONOUNS, *PAST, *VERBS, *NOUNS, *ADJECTIVES, *ADVERBS, *NAMES, *ONES, *TENS,
]  # fmt: skip


def sentence(chance: Random) -> str:
    """Return a random sentence, with a capital and a full stop or question mark."""
    (make, end), = chance.choices(_KINDS, _WEIGHTS)  # fmt: skip
    text = make(chance)
    return text[0].upper() + text[1:] + end


def _number(chance: Random) -> str:
    kind = chance.random()
    if kind < 0.4:
        return chance.choice(ONES[1:])
    if kind < 0.7:
        return chance.choice(TENS)
    if kind < 0.9:
        return f"{chance.choice(TENS)} {chance.choice(ONES[1:10])}"
    return f"{chance.choice(ONES[1:10])} {chance.choice(SCALES)}"


def _thing(chance: Random) -> str:
    determiner = chance.choice(DETERMINERS)
    words = [chance.choice(ADJECTIVES)] if chance.random() < 0.45 else []
    words.append(chance.choice(NOUNS))
    if determiner == "a" and words[0][0] in "aeiou":
        determiner = "an"
    return " ".join([determiner, *words])


def _subject(chance: Random) -> str:
    kind = chance.randrange(4)
    return _thing(chance) if kind == 3 else chance.choice((PRONOUNS, PEOPLE, NAMES)[kind])


def _where_and_when(chance: Random) -> str:
    place = f" {chance.choice(PLACES)}" if chance.random() < 0.35 else ""
    return place + (f" {chance.choice(TIMES)}" if chance.random() < 0.45 else "")


def _report(chance: Random) -> str:
    adverb = f"{chance.choice(ADVERBS)} " if chance.random() < 0.2 else ""
    verb = adverb + chance.choice(PAST)
    return f"{_subject(chance)} {verb} {_thing(chance)}{_where_and_when(chance)}"


def _intention(chance: Random) -> str:
    verb = f"{chance.choice(MODALS)} {chance.choice(VERBS)}"
    return f"{_subject(chance)} {verb} {_thing(chance)}{_where_and_when(chance)}"


def _asked(chance: Random) -> str:
    start = f"{chance.choice(ASKING)} {chance.choice(PRONOUNS + NAMES)} {chance.choice(VERBS)}"
    return f"{start} {_thing(chance)}{_where_and_when(chance)}"


def _description(chance: Random) -> str:
    quality = chance.choice(DEGREES) + chance.choice(ADJECTIVES)
    return f"{_thing(chance)} {chance.choice(LINKS)} {quality}{_where_and_when(chance)}"


def _amount(chance: Random) -> str:
    counted = f"{_number(chance)} {chance.choice(UNITS)}"
    return f"{chance.choice(AMOUNTS)} {counted}{_where_and_when(chance)}"


def _request(chance: Random) -> str:
    first, second = (f"{chance.choice(VERBS)} {_thing(chance)}" for _ in range(2))
    return f"{chance.choice(REQUESTS)} {first} and {second}"


# Kind of sentence, its last character, and its share of all. Unrelated words are there so that
# the sounds and not the grammar carry the text.
_Kind = tuple[Callable[[Random], str], str]
_SHARES: list[tuple[_Kind, float]] = [
    ((lambda chance: chance.choice(PHRASES), "."), 0.08),
    ((_report, "."), 0.22),
    ((_intention, "."), 0.12),
    ((_asked, "?"), 0.10),
    ((lambda chance: f"{chance.choice(QUESTIONS)} {_thing(chance)}{_where_and_when(chance)}", "?"),
     0.08),
    ((_description, "."), 0.10),
    ((_amount, "."), 0.10),
    ((_request, "."), 0.06),
    ((lambda chance: " ".join(_number(chance) for _ in range(chance.randint(2, 6))), "."), 0.04),
    ((lambda chance: " ".join(chance.choices(LOOSE_WORDS, k=chance.randint(3, 8))), "."), 0.10),
]  # fmt: skip
_KINDS = [kind for kind, _ in _SHARES]
_WEIGHTS = [share for _, share in _SHARES]
