"""Each class of bad input has its forty cases; what a later protocol or reader adds joins one."""

import re

import pytest

LEAST = 40
# How the cases of a class are named, those in brackets included.
CLASSES = {
    "files of somebody else's": r"somebody_elses",
    "images": r"test_no_image",
    "masks and depth": r"test_no_(mask|depth)",
    "locks": r"in_place_of_a_lock",
    "pages made of records": r"strange_names",
    "panels": r"test_no_panel",
    "edited records": r"edited_record\[.*edited",
    "not a number in records": r"edited_record\[.*nan",
    "weights": r"test_no_weights",
    "plug-ins that end, or are none": r"test_no_plug_in",
    "cards among others": r"bad_card_among",
    "cards": r"test_no_(card|toml)",
    "nothing left to fit": r"left_out_leaves_a_mark",
    "pipes and devices": r"\[.*(pipe|zero|urandom)",
    "heads": r"\[head-|tensors_of_a_head",
    "unfinished epochs": r"unfinished",
    "kept features": r"\[cache",
    "hashes": r"\[hashes",
    "checkpoints": r"\[checkpoint|another_checkpoint",
    "logs of trainings": r"\[log-",
    "counts": r"\[counts|other_counts",
    "indexes of panels": r"\[(panels|page)-",
    "deep nesting": r"\[.*(deep|nested|\[\[\[)",
    "numbers": r"test_no_number|value_of_a_parameter",
    "more classes than colours": r"more_classes",
    "names": r"test_no_name\[.*(latin|umlaut|line|delete|escape|long)",
    "addresses and ids": r"place_of_weights",
    "users that are not": r"\[.*(nobody|nouser)",
    "beyond memory": r"beyond_memory",
    "plug-ins of wrong parts": r"that_is_no_backbone",
    "settings": r"test_no_setting",
    "signals": r"test_a_signal",
    "killed, and again": r"killed",
    "nobody reads": r"nobody_reads",
    "full disks": r"full_disks",
    "results and caches that are read-only": r"that_is_read_only",
    "homes": r"without_a_home",
    "umask": r"obeys_the_umask",
    "folders of any name": r"folder_of_any_name",
    "several at once": r"at_once\[",
    "redirects": r"unsafe_redirect",
    "strangers in the working directory": r"takes_none_of_them",
    "two endings": r"under_two_endings",
    "lists": r"test_no_list",
    "released kinds": r"released_kind",
    "datasets of one's own": r"init_is_asked|no_folder_of_data",
    "ladders": r"test_no_ladder",
    "edited ladders": r"edited_ladder",
    "modules from Python": r"test_evaluate\[(forward|layer|model)",
    "options from Python": r"test_evaluate\[how|test_extract",
    "parameters of protocols": r"test_protocols.py::test_no_value",
    "archives": r"damaged_(archive|index)",
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_has_forty_cases(cases: list[str], name: str) -> None:
    if len({case.partition("::")[0] for case in cases}) < 3:
        pytest.skip("only some of the cases were collected")
    found = [case for case in cases if re.search(CLASSES[name], case)]
    assert len(set(found)) >= LEAST
