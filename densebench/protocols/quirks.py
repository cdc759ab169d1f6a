"""The quirks of a published code, each of which can be had alone."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self, TypeVar

from densebench.protocols.base import Protocol, ProtocolParams

AUTO: Final = "auto"
P = TypeVar("P", bound=ProtocolParams)


class QuirkyParams(ProtocolParams):
    """Parameters with ``quirks``: the names of those that are kept.

    ``auto`` is all of them in ``reference`` and none in every other variant. A subclass says in its
    annotation which there are.
    """

    LATER: ClassVar[Mapping[str, Any]] = {**ProtocolParams.LATER, "quirks": AUTO}

    quirks: Any = AUTO

    def has(self, quirk: str, variant: str) -> bool:
        """Whether a quirk is kept in a variant."""
        return variant == "reference" if self.quirks == AUTO else quirk in self.quirks

    def settled(self, known: tuple[str, ...], variant: str) -> Self:
        """Each quirk named once, in one order; ``auto`` where these are the variant's own."""
        if self.quirks == AUTO:
            return self
        kept = tuple(quirk for quirk in known if quirk in self.quirks)
        own = known if variant == "reference" else ()
        return self.model_copy(update={"quirks": AUTO if kept == own else kept})


class QuirkyProtocol(Protocol):
    """A protocol of whose ``QUIRKS`` any may be kept."""

    QUIRKS: ClassVar[tuple[str, ...]]

    @classmethod
    def resolve(cls, params: P, variant: str) -> P:
        """Also which quirks there are, so that one choice has one name."""
        resolved = super().resolve(params, variant)
        assert isinstance(resolved, QuirkyParams)
        return resolved.settled(cls.QUIRKS, variant)

    def has(self, quirk: str) -> bool:
        """Whether a quirk of the published code is kept."""
        kept: bool = self.params.has(quirk, self.setting.variant)
        return kept
