from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from densebench.backbones import card_for, load_backbone
from densebench.host.errors import DensebenchError

GOOD = """
import sys
import torch
from torch import nn

print("reading")

class Patches(nn.Module):
    patch_size = 8

    def __init__(self):
        super().__init__()
        self.proj = nn.Conv2d(3, 5, 8, stride=8)

    def forward(self, images):
        print("forward", self.training)
        return self.proj(images).permute(0, 2, 3, 1)

def patches():
    print("building")
    torch.manual_seed(3)
    return Patches()
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    """A plug-in file, as the target of its function ``build``."""

    def target(code: str, function: str = "build") -> str:
        path = tmp_path / "mine.py"
        path.write_text("import torch\nfrom torch import nn\n" + code, encoding="utf-8")
        return f"{path}:{function}"

    return target


def test_a_plug_in_is_a_backbone(
    write: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    target = write(GOOD, "patches")
    backbone = load_backbone(target)
    assert (backbone.patch_size, backbone.embed_dim, backbone.name) == (8, 5, target)
    assert backbone.mean == (0.485, 0.456, 0.406)
    assert backbone.std == (0.229, 0.224, 0.225)
    assert not backbone.training
    images = torch.randn(2, 3, 16, 40)
    features = backbone(images)
    assert features.shape == (2, 2, 5, 5)
    torch.testing.assert_close(features, backbone.module.proj(images).permute(0, 2, 3, 1))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.split() == ["reading", "building", *["forward", "False"] * 2]
    assert card_for(target) is None


def test_what_it_states_is_taken(write: Callable[..., str]) -> None:
    stated = GOOD.replace(
        "patch_size = 8",
        "patch_size = 8; embed_dim = 5; mean = [0.1, 0.2, 0.3]; std = torch.tensor([1.0, 2, 4])",
    )
    backbone = load_backbone(write(stated.replace("print", "len"), "patches"))
    assert (backbone.mean, backbone.std) == ((0.1, 0.2, 0.3), (1.0, 2.0, 4.0))
    assert backbone.embed_dim == 5


def test_the_fingerprint_is_of_weights_and_code(write: Callable[..., str], tmp_path: Path) -> None:
    first = load_backbone(write(GOOD, "patches")).fingerprint
    assert load_backbone(write(GOOD, "patches")).fingerprint == first
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    moved = (tmp_path / "mine.py").rename(elsewhere / "other.py")
    assert load_backbone(f"{moved}:patches").fingerprint == first
    changed = GOOD.replace("self.proj(images)", "self.proj(images).relu()")
    assert load_backbone(write(changed, "patches")).fingerprint != first


def test_weights_for_a_plug_in(write: Callable[..., str], tmp_path: Path) -> None:
    target = write(GOOD, "patches")
    trained = load_backbone(target)
    with torch.no_grad():
        trained.module.proj.weight += 1
    save_file(trained.state_dict(), tmp_path / "trained.safetensors")
    save_file(trained.module.state_dict(), tmp_path / "bare.safetensors")
    for name in ("trained", "bare"):
        again = load_backbone(target, weights=tmp_path / f"{name}.safetensors")
        assert again.fingerprint == trained.fingerprint
    save_file({"proj.weight": torch.zeros(5, 3, 8, 8)}, tmp_path / "part.safetensors")
    with pytest.raises(DensebenchError, match=r"keys missing: proj.bias \(1 in all\)"):
        load_backbone(target, weights=tmp_path / "part.safetensors")


def test_files_beside_it_can_be_imported(write: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "beside_it.py").write_text("SIZE = 4\n", encoding="utf-8")
    code = GOOD.replace("import sys", "import sys, beside_it").replace(
        "patch_size = 8", "patch_size = 2 * beside_it.SIZE"
    )
    assert load_backbone(write(code, "patches")).patch_size == 8


BAD = [
    ("def build(:\n", r"SyntaxError.*invalid syntax"),
    ("import no_such_package\n", r"ModuleNotFoundError at line 3: No module named"),
    ("def build():\n    return 1 / 0\n", r"ZeroDivisionError at line 4: division by zero"),
    ("def build():\n    raise SystemExit('no\\nlicence')\n", r"SystemExit at line 4: no licence"),
    ("def build(size):\n    return size\n", r"TypeError: build\(\) missing 1 required"),
    ("def build():\n    return 3\n", "gives int, not an nn.Module"),
    ("def built():\n    return 3\n", r"no function 'build' in .*mine.py \(did you mean 'built'"),
    ("build = 3\n", "no function 'build'"),
    ("def build():\n    return nn.Identity()\n", "needs patch_size, .* not None"),
    ("def build():\n    m = nn.Identity(); m.patch_size = 0; return m\n", "not 0"),
    ("def build():\n    m = nn.Identity(); m.patch_size = 8.0; return m\n", r"not 8\.0"),
    (
        "def build():\n    m = nn.Identity(); m.patch_size = 8; m.mean = 0.5; return m\n",
        r"mean must be three numbers, not 0\.5",
    ),
    (
        "def build():\n    m = nn.Identity(); m.patch_size = 8; m.std = (1, 0, 1); return m\n",
        "std must be above 0",
    ),
    (
        "def build():\n    m = nn.Flatten(); m.patch_size = 8; return m\n",
        r"forward gives 1x150528 for one 224x224 image",
    ),
    (
        "class M(nn.Module):\n    patch_size = 8\n    def forward(self, x):\n        return x[9]\n"
        "def build():\n    return M()\n",
        r"\w+Error at line 6: ",
    ),
]


@pytest.mark.parametrize(("code", "message"), BAD)
def test_errors_are_one_line_with_file_and_function(
    write: Callable[..., str], code: str, message: str
) -> None:
    target = write(code)
    with pytest.raises(DensebenchError, match=message) as caught:
        load_backbone(target)
    assert str(caught.value).startswith(f"plug-in '{target}': ")
    assert "\n" not in str(caught.value)


def test_errors_of_the_forward_pass_are_told(write: Callable[..., str]) -> None:
    code = GOOD.replace("patch_size = 8", "patch_size = 8; embed_dim = 5").replace(
        'print("forward", self.training)', "assert images.shape[-1] < 100, 'too wide'"
    )
    backbone = load_backbone(write(code, "patches"))
    with pytest.raises(DensebenchError, match=r"AssertionError at line 18: too wide"):
        backbone(torch.zeros(1, 3, 104, 104))
    out_of_memory = code.replace("assert", "raise torch.OutOfMemoryError('full')  #")
    with pytest.raises(torch.OutOfMemoryError):
        load_backbone(write(out_of_memory, "patches"))(torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize(
    ("name", "message"),
    [("none.py:build", "no file none.py"), ("none.py", "FUNCTION"), ("none.py:", "FUNCTION")],
)
def test_no_such_file(name: str, message: str) -> None:
    with pytest.raises(DensebenchError, match=message):
        load_backbone(name)


def test_a_card_may_name_a_plug_in(
    write: Callable[..., str], write_card: Callable[..., Path]
) -> None:
    write(GOOD, "patches")
    path = write_card(source="python", patch_size=8, embed_dim=5, mean=[0.5, 0.5, 0.5])
    text = path.read_text().replace('id = "test_vit"', 'id = "mine.py:patches"')
    path.write_text(text, encoding="utf-8")
    backbone = load_backbone(path)
    assert (backbone.name, backbone.mean) == ("tiny", (0.5, 0.5, 0.5))
    path.write_text(text.replace("patch_size = 8", "patch_size = 16"), encoding="utf-8")
    with pytest.raises(DensebenchError, match=r"card tiny: patch_size is 16, but mine.py:patches"):
        load_backbone(path)
