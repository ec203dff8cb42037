"""A found secret must not travel on in what tells of it: its middle is masked, wherever quoted."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from sutazai.analysis.findings import RawFinding
from sutazai.analysis.source import Source

_START = 4
_MOST_SHOWN = 4


def masked(secret: str) -> str:
    """The secret with asterisks for all but a few characters at its ends; as long as before."""
    shown = min(_MOST_SHOWN, len(secret) // 8)
    return secret[:shown] + "*" * (len(secret) - 2 * shown) + secret[len(secret) - shown :]


class Redactor:
    """Masks all secrets found in one file. Lengths stay, so columns do too."""

    def __init__(self, source: Source, raws: Sequence[RawFinding]) -> None:
        self._source = source
        self._secrets = {secret for raw in raws for secret in raw.secrets if len(secret) >= _START}
        # By their first characters, so that the cost does not grow with the number of secrets.
        lengths: dict[str, set[int]] = defaultdict(set)
        for secret in self._secrets:
            lengths[secret[:_START]].add(len(secret))
        self._lengths = {start: sorted(found, reverse=True) for start, found in lengths.items()}
        self._lines: dict[int, str] = {}

    def line(self, number: int) -> str:
        """Line `number` (from 1); empty where there is none."""
        if not 1 <= number <= len(self._source.lines):
            return ""
        if number not in self._lines:
            self._lines[number] = self.text(self._source.lines[number - 1])
        return self._lines[number]

    def text(self, text: str) -> str:
        """Any text about the file."""
        if not self._secrets:
            return text
        pieces = []
        kept, at = 0, 0
        while at <= len(text) - _START:
            secret = self._secret_at(text, at)
            if secret is None:
                at += 1
                continue
            pieces += [text[kept:at], masked(secret)]
            at += len(secret)
            kept = at
        return "".join([*pieces, text[kept:]])

    def _secret_at(self, text: str, at: int) -> str | None:
        lengths: Iterable[int] = self._lengths.get(text[at : at + _START], ())
        candidates = (text[at : at + length] for length in lengths)
        return next((one for one in candidates if one in self._secrets), None)
