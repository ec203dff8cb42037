"""Templates by drain3: entries that say the same but for their values."""

import re
from array import array
from collections import Counter

import msgspec

from sutazai.analysis.logs.entries import Entry, Level

_MOST_TEMPLATES = 2_000
# Clusters that drain3 has forgotten and found again have new numbers: there may be more of them.
_MOST_KEPT = 10_000
_OTHERS = 0
_MOST_IDS = 100_000
_MOST_TEMPLATES_AN_ID = 12
_MOST_SAMPLES = 3
_MOST_FOLLOWED = 300_000
# Applied in this order; each is bounded, so that masking a line is linear in its length.
_MASKS = (
    (r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b", "UUID"),
    (r"\b[a-z][a-z0-9+.-]{1,15}://[^\s\"'<>]{1,500}", "URL"),
    (r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}\b", "EMAIL"),
    (r"\b(?:\d{1,3}\.){3}\d{1,3}(?::\d{1,5})?\b", "IP"),
    (r"\b(?:[0-9a-fA-F]{1,4}:){3,7}[0-9a-fA-F]{1,4}\b", "IP"),
    (r"\b0x[0-9a-fA-F]{1,32}\b", "HEX"),
    (r"\b(?=[0-9a-f]{0,63}\d)(?=\d{0,63}[a-f])[0-9a-f]{8,64}\b", "HEX"),
    (r"\"[^\"]{0,300}\"", "TEXT"),
    (r"(?<![\w'])'[^']{0,300}'(?!\w)", "TEXT"),
    (r"(?<![\w.])/(?:[\w.@%+-]{1,100}/){1,30}[\w.@%+-]{0,100}", "PATH"),
    (r"(?<![\w.])[-+]?\d+(?:\.\d+)*(?=(?:ms|s|m|h|us|ns|kb|mb|gb|b|%)?\b)", "NUM"),
)
_ID = re.compile(
    r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"
    r"|(?:request|req|trace|correlation|session|transaction|job|task|order|user|span)"
    r"[-_ ]?id[\"']?[=: ]{1,3}[\"']?([\w.-]{3,64})"
    r"|\b(?:req|trace|job|task|exec|order|msg|session)-([\w.-]{4,64})\b",
    re.IGNORECASE,
)


class Seen(msgspec.Struct, kw_only=True):
    """One occurrence that is quoted."""

    file: str
    line: int
    time: float | None
    text: str


class Template(msgspec.Struct, kw_only=True):
    """All entries of one form. `times` has those that say when, in their order."""

    id: int
    text: str
    count: int = 0
    levels: Counter[int] = msgspec.field(default_factory=Counter)
    first: Seen | None = None
    last: Seen | None = None
    samples: list[Seen] = []
    times: "array[float]" = msgspec.field(default_factory=lambda: array("d"))

    @property
    def level(self) -> Level:
        """The worst level that it was seen with."""
        return Level(max(self.levels, default=0))


class Miner:
    """Takes entries one by one; what is kept does not grow with their number but for the times."""

    def __init__(self) -> None:
        from drain3.masking import MaskingInstruction
        from drain3.template_miner import TemplateMiner
        from drain3.template_miner_config import TemplateMinerConfig

        # Without `load`, so that no file steers it; without a handler, so that nothing is written.
        config = TemplateMinerConfig()
        config.drain_max_clusters = _MOST_TEMPLATES
        config.drain_sim_th = 0.5
        config.masking_instructions = [MaskingInstruction(*mask) for mask in _MASKS]
        self._miner = TemplateMiner(config=config)
        self.templates: dict[int, Template] = {}
        self.order: array[int] = array("l")
        """The templates of the entries, in their order; -1 where another file begins."""
        self.moments: array[float] = array("d")
        self.by_id: dict[str, dict[int, None]] = {}
        self.failures: dict[tuple[str, str], tuple[int, Seen, str]] = {}
        self.entries = 0
        self.folded = 0

    def begin(self) -> None:
        """Another file begins: what comes first there follows nothing."""
        if len(self.order) < _MOST_FOLLOWED:
            self.order.append(-1)
            self.moments.append(0.0)

    def add(self, entry: Entry) -> None:
        """Take one entry in."""
        self.entries += 1
        self.folded += entry.folded
        mined = self._miner.add_log_message(entry.message)
        number: int = mined["cluster_id"]
        if number not in self.templates and len(self.templates) >= _MOST_KEPT:
            number, mined = _OTHERS, {"template_mined": "(others, too many to be told apart)"}
        template = self.templates.setdefault(number, Template(id=number, text=""))
        template.text = mined["template_mined"]
        template.count += 1
        template.levels[entry.level] += 1
        seen = Seen(file=entry.file, line=entry.line, time=entry.time, text=entry.text)
        if template.first is None:
            template.first = seen
        template.last = seen
        if len(template.samples) < _MOST_SAMPLES:
            template.samples.append(seen)
        if entry.time is not None:
            template.times.append(entry.time)
        if len(self.order) < _MOST_FOLLOWED:
            self.order.append(number)
            self.moments.append(entry.time if entry.time is not None else -1.0)
        self._note_ids(entry, number)
        if entry.failure is not None:
            key = (entry.failure.type, entry.failure.frame)
            count, first, message = self.failures.get(key, (0, seen, entry.failure.message))
            self.failures[key] = (count + 1, first, message)

    def _note_ids(self, entry: Entry, number: int) -> None:
        text = f"{entry.message} {entry.extra}" if entry.extra else entry.message
        for found in _ID.finditer(text):
            name = found[1] or found[2] or found[0]
            templates = self.by_id.get(name)
            if templates is None:
                if len(self.by_id) >= _MOST_IDS:
                    continue
                templates = self.by_id[name] = {}
            if len(templates) < _MOST_TEMPLATES_AN_ID:
                templates[number] = None
