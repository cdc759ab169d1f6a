"""Which files a repository of the hub has."""

from huggingface_hub import get_hf_file_metadata, hf_hub_url

from densebench.backbones.weights.hub import in_cache, revision
from densebench.cards import WeightsSource


def is_known_missing(source: WeightsSource) -> bool:
    """Whether the repository was seen to have no such file, when it was last asked."""
    found = in_cache(source, str(source.file))
    return found is not None and not isinstance(found, str)


def is_there(source: WeightsSource) -> bool:
    """Whether the repository has the file; where that cannot be asked, it is not said to."""
    url = hf_hub_url(str(source.repo), str(source.file), revision=revision(source))
    try:
        get_hf_file_metadata(url)
    except Exception:  # whatever it is, it is told when the file is fetched
        return False
    return True
