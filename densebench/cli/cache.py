"""`densebench cache`: the kept features."""

from typing import Annotated

import typer

from densebench.cli.app import Group, app

cache_app = typer.Typer(cls=Group, help="Look at or clear the feature cache.", no_args_is_help=True)
app.add_typer(cache_app, name="cache")


@cache_app.command("list")
def cache_list() -> None:
    """List the kept features, the ones used last first."""
    from densebench.features.cache import age, feature_cache
    from densebench.host.console import one_line
    from densebench.host.memory import gigabytes

    kept = feature_cache()
    entries = kept.entries()
    for entry in entries:
        view = entry.spec["view"]
        images = f"{entry.filled}/{entry.images} images"
        view_told = f"{view['transform']} {view['size']}"
        names = (entry.about.get(key) for key in ("backbone", "dataset"))
        of = " on ".join(one_line(str(name)) for name in names if name) or "of an older version"
        size = gigabytes(entry.n_bytes)
        print(f"{entry.key[:12]}  {size:>10}  {of}  {images}  {view_told}  {age(entry.used)}")
    total = gigabytes(sum(entry.n_bytes for entry in entries))
    print(f"{len(entries)} entries, {total} of {gigabytes(kept.limit)} in {kept.folder}")


@cache_app.command("clear")
def cache_clear(
    keys: Annotated[list[str] | None, typer.Argument(help="Keys, or how they begin [all].")] = None,
) -> None:
    """Remove kept features."""
    from densebench.features.cache import feature_cache
    from densebench.host.memory import gigabytes

    print(f"freed {gigabytes(feature_cache().clear(keys))}")
