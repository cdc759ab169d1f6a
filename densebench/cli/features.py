"""`densebench extract` and `densebench predict`: features and labels of images."""

from pathlib import Path
from typing import Annotated, Any

import typer

from densebench.cli.app import app
from densebench.cli.shared import (
    BackboneName,
    Device,
    Layers,
    Offline,
    RandomWeights,
    WeightsFile,
    layer_numbers,
)
from densebench.host.console import clean_stdout


@app.command()
def extract(
    backbone: BackboneName,
    image: Annotated[Path, typer.Option(help="An image, or a folder of images.")],
    size: Annotated[int, typer.Option(help="Side of the square input in pixels.", min=1)],
    out: Annotated[Path, typer.Option(help="File to write: patches (n, h, w, D) and names.")],
    weights: WeightsFile = None,
    random_weights: RandomWeights = None,
    layers: Layers = None,
    device: Device = "auto",
    offline: Offline = False,
) -> None:
    """Write the patch features of images to an .npz file."""
    with clean_stdout() as stdout:
        from densebench.features.arrays import extract_images

        how: dict[str, Any] = {"weights": weights, "device": device, "offline": offline}
        how["random_weights"] = random_weights
        shape = extract_images(backbone, image, size, out, layers=layer_numbers(layers), **how)
        print(f"{out}: patches {'x'.join(map(str, shape))}", file=stdout)


@app.command()
def predict(
    backbone: BackboneName,
    head: Annotated[Path, typer.Option(help="A head that a linear run left.", exists=True)],
    image: Annotated[Path, typer.Option(help="The image.")],
    out: Annotated[
        Path,
        typer.Option(help="PNG to write, of the image's size: classes, or depth in millimetres."),
    ],
    weights: WeightsFile = None,
    device: Device = "auto",
    offline: Offline = False,
) -> None:
    """Label an image with a trained head, or tell how far away each pixel is."""
    with clean_stdout() as stdout:
        from densebench.learners.depth_file import is_depth_head
        from densebench.run.predict import predict_image
        from densebench.run.predict_depth import predict_depth

        if is_depth_head(head):
            metres = predict_depth(
                backbone, head, image, out, weights=weights, device=device, offline=offline
            )
            named = ", ".join(f"{name} {value:.2f} m" for name, value in metres.items())
            print(f"{out}: {named}", file=stdout)
            return
        shares = predict_image(
            backbone, head, image, out, weights=weights, device=device, offline=offline
        )
        named = ", ".join(f"{name} {100 * share:.1f}%" for name, share in shares.items())
        print(f"{out}: {named}", file=stdout)
