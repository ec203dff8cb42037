"""What the name of a function says, as far as it can be told without guessing."""

import re
from collections.abc import Sequence

PREDICATES = ("is", "has", "can", "should", "was", "needs", "contains", "exists")
"""Words that begin the names of what answers with yes or no."""

_VERBS = frozenset(
    """accept add allow append apply ask assert begin bind build cache calculate call cancel
    change check choose clean clear close collect combine compare compile compute configure
    connect convert copy count create decode delete deliver deny describe deserialize detect
    disable discard display drop dump emit enable encode end ensure escape evaluate execute
    expand export extend extract fail fetch fill filter find finish fit flatten flush format
    forward freeze generate get give group guess handle hash hide ignore import increment
    initialize insert install invoke iterate join keep launch list load lock log login logout
    lookup make map mark match merge migrate move normalize notify open order pack parse pass
    pick place plot pop predict prepare print process publish pull push put query quote raise
    read receive record redirect reduce refresh refund register reject release reload remove
    rename render repeat replace report request reset resolve restart restore resume retry
    return reverse rewrite rotate round run save scan schedule score search select send
    serialize serve set ship show shuffle shut sign skip sleep slugify solve sort split start
    stop store strip submit subscribe sum swap sync take tell test toggle trace train
    transform translate trim truncate try unlock unpack unregister update upload upsert use
    validate verify visit wait walk warn watch wrap write yield""".split()  # noqa: SIM905  # a list of two hundred words
)
_NOUNS = frozenset(
    """account address amount angle answer area argument array attribute author average balance
    base body boolean bound box branch bucket buffer bytes callback category cell center char
    child children choice class client cluster code color colour column command comment commit
    component cost count counter country currency customer cycle data database date day default
    degree delay delta depth detail dict diff digest directory discount distance document domain
    edge element email end entry environment epoch error event exception extension factor failure
    field file filename flag folder form frame frequency function gap graph grid group handler
     header height history host hour hypotenuse icon id identifier image index info input
    instance integer interest interval invoice issue item iterator job json key kind label
    language layer layout  length level limit line link list location log mail map margin
    mass matrix maximum mean median member message metadata method minimum minute
    mode model module month name neighbour neighbor node number object offset option order origin
    output owner page pair panel parameter parent part password path payload payment percentage
    percentile period person pixel plan point pointer port position power prefix price priority
    probability process product profile profit project property query queue quota radius range
    rank rate ratio reason record rectangle region report request resource response result
    role root row salary sample schema scope score second seed sequence series server session
    setting settings shape sign signature size slope slot slug speed spread stack start state
    statistics status step stock string subject subtotal suffix sum summary surface symbol
    system table tag target task tax team temperature template text threshold time timeout
    timestamp title token tolerance  topic total tree type unit url usage user username value
    variance vector velocity version view volume wait week weight width window word year
    zone""".split()  # noqa: SIM905  # a list of three hundred words
)
_NOUN_ENDINGS = ("tion", "sion", "ment", "ness", "ity", "ance", "ence", "ship", "ture", "logy")
_CONNECTING = frozenset(
    """of by for in per with from at on and or as under over after before""".split()  # noqa: SIM905  # as above
)
_CONVERTING = re.compile(r"([a-z]+)2([a-z]+)")


def words_of(name: str) -> list[str]:
    """The words of a name in snake case or camel case, in lower case."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return [word for word in spaced.lower().split("_") if word]


def is_verb(word: str) -> bool:
    """Whether functions are told by it what to do."""
    return word in _VERBS


def is_noun(words: Sequence[str]) -> bool:
    """Whether these words surely name a thing, such as `total price` or `users by name`."""
    at = next((at for at, word in enumerate(words) if word in _CONNECTING), len(words))
    if not words or at == 0 or "to" in words or words[-1] in _CONNECTING:
        return False
    head = words[at - 1]
    singular = head[:-1] if head.endswith("s") and not head.endswith("ss") else head
    singular = f"{head[:-3]}y" if head.endswith("ies") else singular
    if {head, singular} & _NOUNS:
        return True
    return singular.endswith(_NOUN_ENDINGS) and not is_verb(singular)


def conversion(words: Sequence[str]) -> tuple[str, str] | None:
    """What is turned into what by the name `a_to_b` or `a2b`."""
    if len(words) == 1 and (short := _CONVERTING.fullmatch(words[0])):
        return short[1], short[2]
    if words.count("to") != 1 or words[0] == "to" or words[-1] == "to":
        return None
    at = list(words).index("to")
    return " ".join(words[:at]), " ".join(words[at + 1 :])
