"""What the views share: the address, tables and their CSV, the records."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Reader = Any  # who reads the page; see conftest.py
VIEW = "tiny_retrieval, reference"
ALL = "All tasks, reference"


class TestAddress:
    def seen(self, reader: Reader) -> dict[str, Any]:
        """All that a reader sees, in every part."""
        parts = reader.ask("return VIEWS.filter((v) => !byId(v.id).hidden).map((v) => v.id)")
        for part in parts:
            reader.see(part)
        fields = reader.ask(
            "return [...document.querySelectorAll('select, input')].map((e) => [e.id, e.value])"
        )
        pressed = reader.ask(
            "return [...document.querySelectorAll('[aria-pressed=true]')]"
            ".map((e) => e.title || e.ariaLabel)"
        )
        sorts = reader.ask(
            "return [...document.querySelectorAll('#results th')].map((e) => e.ariaSort)"
        )
        text = {part: reader.texts(f"#{part}") for part in parts}
        return {"fields": fields, "pressed": pressed, "sorts": sorts, "text": text}

    def again(self, reader: Reader) -> dict[str, Any]:
        """What somebody sees to whom the address was sent."""
        address = reader.driver.current_url
        reader.driver.get("about:blank")
        reader.driver.get(address)
        assert reader.driver.current_url == address
        return self.seen(reader)

    def test_what_one_sees_can_be_sent(self, reader: Reader) -> None:
        reader.open()
        before = self.seen(reader)
        reader.choose("task", VIEW)
        reader.choose("baseline", "hog_s14")
        reader.click("#sort-other-pixel_accuracy")
        reader.click("#sort-other-pixel_accuracy")
        reader.click("#filter")
        reader.press("_", "s", "1")
        reader.see("classes")
        reader.choose("classes-numbers", "difference")
        reader.see("examples")
        reader.click("#examples-images button:nth-child(2)")
        reader.click(".pick button:nth-child(2)")
        reader.see("versus")
        reader.choose("versus-first", "hog_s14")
        seen = self.seen(reader)
        assert seen != before
        assert self.again(reader) == seen
        keys = [part.split("=")[0] for part in reader.driver.current_url.split("&")[1:]]
        wanted = ["baseline", "filter", "image", "numbers", "pair", "patch", "sort"]
        assert sorted(keys) == wanted

    def test_so_can_what_one_sees_of_all_tasks(self, reader: Reader) -> None:
        reader.open(ALL)
        reader.click("#sort-task-1")
        reader.click("#filter")
        reader.press("s", "1", "4")
        seen = self.seen(reader)
        assert self.again(reader) == seen

    def test_a_link_leads_to_a_task_and_back(self, reader: Reader) -> None:
        reader.open(ALL)
        reader.click("#filter")
        reader.press("h", "o", "g")
        reader.click("#results thead a[aria-label='Task another, reference']")
        assert reader.texts("#results-title") == ["another, reference"]
        assert reader.texts("#told") == ["Shown: another, reference"]
        assert reader.ask("return document.activeElement.id") == "results"
        assert reader.texts("#results .empty") == ["No backbone of that name."]
        reader.driver.back()
        assert reader.texts("#results-title") == [ALL]
        assert reader.names() == ["hog_s14"]

    @pytest.mark.parametrize("address", ["%", "%E0%A4%A&sort", "nothing&sort=x,y&patch=9,9&image="])
    def test_what_is_no_address_opens_the_page(self, reader: Reader, address: str) -> None:
        reader.open(address)
        assert reader.texts("#results-title") == [ALL]
        assert len(reader.names()) == 4


class TestTables:
    def copied(self, reader: Reader, button: str) -> str:
        grant = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
        reader.driver.execute_cdp_cmd("Browser.grantPermissions", grant)
        reader.click(button)
        return reader.driver.execute_async_script(
            "const done = arguments[0]; setTimeout(() =>"
            " navigator.clipboard.readText().then(done, (e) => done(String(e))), 50);"
        )

    def test_a_table_is_copied_as_it_is_seen(self, reader: Reader, hostile: str) -> None:
        reader.open()
        reader.click("#sort-label")
        lines = self.copied(reader, "#results-copy").splitlines()
        assert lines[0].startswith("Backbone,mIoU %,Better than,Worse than,Low,High,")
        assert [line.split(",")[0] for line in lines[1:]] == reader.names()
        (tuned,) = [line.split(",") for line in lines if line.startswith("tuned")]
        assert tuned[1:6] == ["62", "", "", "60", "64"]
        assert any(line.startswith(hostile) for line in lines)
        assert reader.texts("#told") == ["Copied: 4 rows"]
        reader.see("classes")
        head, *lines = self.copied(reader, "#classes-copy").splitlines()
        assert head == "Backbone,red,green,blue" and "tuned,90,10," in lines
        reader.open(ALL)
        head, *lines = self.copied(reader, "#results-copy").splitlines()
        assert 'another,"another, low"' in head
        assert lines[0].startswith("rgb_s14,60,")

    def test_no_cell_is_a_formula(self, reader: Reader) -> None:
        reader.open()
        cells = ["=1+1", "+a", "-a", "@x", '"a",b', "-1.5", "plain"]
        made = [reader.ask("return csvCell(arguments[0])", cell) for cell in cells]
        assert made == ["'=1+1", "'+a", "'-a", "'@x", '"""a"",b"', "-1.5", "plain"]

    def test_all_tasks_are_as_rich_as_one(self, reader: Reader) -> None:
        reader.open(ALL)
        first = reader.texts("#results tbody tr:first-child td")
        assert first[0] == "60.00"
        assert first[1].split("\n") == ["70.00", "68.00 to 72.00"]
        assert reader.ask("return document.querySelectorAll('#results .best').length") == 3
        missing = reader.texts("#results tbody tr:nth-child(2) td.missing")
        assert missing == ["1 of 2 tasks", "not run"]
        for part in ("tradeoff", "tasks"):
            reader.see(part)
        assert reader.texts("#tradeoff-title") == ["Mean mIoU against cost"]
        assert reader.ask("return document.querySelectorAll('#tasks circle').length") == 5
        reader.click("#filter")
        reader.press("h", "o", "g")
        reader.see("tasks")
        assert reader.ask("return document.querySelectorAll('#tasks circle').length") == 1
        assert "so none has a mean" in reader.texts("#tradeoff .empty")[0]

    def test_a_wide_table_says_that_it_goes_on(self, reader: Reader) -> None:
        reader.open(width=390)
        assert reader.texts("#results .sideways") == ["The table goes on: scroll it sideways."]
        body = "const body = document.getElementById('results-body');"
        shadows = body + "return [...body.classList].filter((c) => c.startsWith('more'))"
        assert reader.ask(shadows) == ["more-right"]
        assert reader.ask(body + "return body.tabIndex") == 0
        reader.driver.execute_async_script(
            body
            + "body.scrollLeft = 1e4; requestAnimationFrame(() => setTimeout(arguments[0], 50))"
        )
        assert reader.ask(shadows) == ["more-left"]
        reader.open(ALL, width=1600)
        assert not reader.ask(shadows)
        assert reader.ask("return document.querySelector('#results .sideways').hidden")


class TestRecords:
    def test_a_number_opens_its_record_in_the_page(
        self, read: Callable[[Path], Reader], page: Path, tmp_path: Path, board: Path
    ) -> None:
        alone = tmp_path / "sent.html"
        alone.write_bytes(page.read_bytes())  # without the records' folder
        reader = read(alone).open()
        assert not reader.ask(
            "return [...document.querySelectorAll('a[href]')].filter((a) =>"
            " !a.getAttribute('href').startsWith('#')).length"
        )
        reader.reach("#results tbody button.number")
        reader.press("ENTER")
        assert reader.texts("#record-title") == ["Record of tuned"]
        (name,) = reader.texts("#record-name")
        reader.driver.execute_async_script(
            "const wait = () => byId('record-text').textContent ? arguments[0]()"
            " : setTimeout(wait, 10); wait();"
        )
        text = reader.ask("return byId('record-text').textContent")
        assert text == (page.parent / name).read_text(encoding="utf-8")
        assert json.loads(text)["backbone"]["name"] == "tuned"
        reader.press("ESCAPE")
        assert reader.ask("return document.activeElement.className") == "number"
