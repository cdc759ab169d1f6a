"""What a repository has not is remembered, and asked where it is not known."""

import pytest
from huggingface_hub.errors import EntryNotFoundError

from densebench.backbones.weights import hub, on_hub
from densebench.cards import WeightsSource

SOURCE = WeightsSource(repo="org/model", file="config.json")


@pytest.mark.parametrize(("found", "wanted"), [(None, False), ("a/path", False), (object(), True)])
def test_the_hubs_own_mark(found: object, wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *asked, **revision: found)
    assert on_hub.is_known_missing(SOURCE) == wanted


def test_a_file_is_there_where_the_hub_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(on_hub, "get_hf_file_metadata", asked.append)
    assert on_hub.is_there(SOURCE)
    assert asked[0].endswith("/org/model/resolve/main/config.json")

    def missing(url: str) -> None:
        raise EntryNotFoundError(url)

    monkeypatch.setattr(on_hub, "get_hf_file_metadata", missing)
    assert not on_hub.is_there(SOURCE)
