"""What another order of messages decides is neither a time nor drawn by chance: it is compared."""

import pytest

from chaosharness import Kafka, SQLite, System, explore

SCHEMA = """
CREATE TABLE tracks (id TEXT PRIMARY KEY, seq INT, place INT);
CREATE TABLE held (id TEXT, seq INT, step INT, PRIMARY KEY (id, seq));
"""


def moves(*, holds: bool) -> System:
    """Add up numbered steps that lie in two log partitions: what comes early is held, or dropped.

    With two replicas, a restart of both or a later start hands the steps out in another order.
    """
    system = System("moves")
    bus = system.add(Kafka("bus", topics={"moves": 2}))
    store = system.add(SQLite("db", SCHEMA))

    @system.service("tracker", replicas=2)
    def tracker(env):
        db = env.connect(store)

        def on_move(move):
            with db:
                db.execute("BEGIN IMMEDIATE")
                db.execute("INSERT OR IGNORE INTO tracks VALUES (?, 0, 0)", (move["id"],))
                one = "SELECT seq, place FROM tracks WHERE id = ?"
                seq, place = db.execute(one, (move["id"],)).fetchone()
                if move["seq"] <= seq:
                    return
                if holds:
                    row = (move["id"], move["seq"], move["step"])
                    db.execute("INSERT OR IGNORE INTO held VALUES (?, ?, ?)", row)
                step, found = "SELECT step FROM held WHERE id = ? AND seq = ?", (move["step"],)
                if holds or move["seq"] > seq + 1:
                    found = db.execute(step, (move["id"], seq + 1)).fetchone()
                while found:
                    seq, place = seq + 1, place + found[0]
                    done = (move["id"], seq)
                    db.execute("DELETE FROM held WHERE id = ? AND seq = ?", done)
                    found = db.execute(step, (move["id"], seq + 1)).fetchone()
                db.execute("UPDATE tracks SET seq = ?, place = ?", (seq, place))

        env.consume(bus, "moves", on_move, on_error="dead-letter", retries_max=20)

    @system.entry(examples=["t1"])
    def move(env, one):
        for seq, step in enumerate((5, -2, 7), 1):
            env.publisher(bus)("moves", {"id": one, "seq": seq, "step": step})

    return system


@pytest.mark.parametrize("holds", [True, False], ids=["held", "dropped"])
def test_a_step_that_comes_early_is_held_or_it_is_told(holds):
    campaign = explore(moves(holds=holds), faults_max=1, runs_max=300)
    found = {one.findings[0].place for one in campaign.counterexamples}
    if holds:
        assert not found and not campaign.questions
    else:
        assert any(place.startswith("db.tracks.place") for place in found)
