"""The loop: its curve, its checkpoints, its ends."""

from densebench.posttrain.journal import read_journal


def test_smoke(make_trainer):
    t = make_trainer(training__steps=2)
    import time

    s = time.time()
    t.run()
    print(time.time() - s)
    print(read_journal(t.place.folder / "log.jsonl"))
