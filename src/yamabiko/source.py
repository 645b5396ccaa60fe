"""A document that an answer was made from."""

from __future__ import annotations

from dataclasses import dataclass, field

from yamabiko.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Source:
    """Evidence: which document stood behind an answer, and in which state.

    ``uri`` names the document and is never empty. ``digest`` says what it held when it was read (a hash, an ETag), in
    whichever words the one who says that it changed will use; empty where nobody knows. ``version``: what its store
    calls that state. ``base``: the knowledge base that it was found in. ``labels``: the permissions that a caller must
    hold, all of them, to be told what is in it (``Request.permissions``).

    Raises ``InvalidRequest``.
    """

    uri: str = field(repr=False)
    digest: str = ""
    version: str = ""
    base: str = ""
    labels: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        for text in (self.uri, self.digest, self.version, self.base):
            if not isinstance(text, str):
                raise InvalidRequest(f"what a source says of itself must be texts, not {type(text).__name__}")
        if not self.uri:
            raise InvalidRequest("a source needs a uri that names the document")
        if self.labels != ():
            object.__setattr__(self, "labels", labels_of(self.labels, "the labels of a source"))

    @property
    def is_plain(self) -> bool:
        """Whether nothing but the uri is known."""
        return not (self.digest or self.version or self.base or self.labels)


def labels_of(labels: object, what: str) -> tuple[str, ...]:
    """Permission labels as a set is written: sorted, each once. Raises ``InvalidRequest`` unless all are texts."""
    if isinstance(labels, str) or not isinstance(labels, (tuple, list, set, frozenset)):
        raise InvalidRequest(f"{what} must be a list of texts, not {type(labels).__name__}")
    if not all(isinstance(label, str) and label for label in labels):
        raise InvalidRequest(f"{what} must be texts, none of them empty")
    return tuple(sorted(set(labels)))


def sources_of(given: tuple[Source | str, ...]) -> tuple[Source, ...]:
    """Sources, where a plain text stands for the document of this uri; an empty one for none."""
    return tuple([Source(uri=one) if isinstance(one, str) else one for one in given if one])
