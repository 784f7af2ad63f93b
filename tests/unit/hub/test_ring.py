from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_sse.hub.ring import Frame, Ring, encode_records, join_frames
from django_sse.log.base import Kind, Record
from django_sse.wire import Decoder, make_epoch
from django_sse.wire.cursor import NO_TAG, tag_of

EPOCH = make_epoch()
NONCE = 2**62 + 12345

sizes = st.lists(st.integers(0, 40), max_size=40)


def frame(seq: int, size: int = 10) -> Frame:
    """A frame whose bytes say which one it is; one of size 0 is a redacted event's."""
    return Frame(seq, tag(seq), (b"%d," % seq).ljust(size, b".")[:size], 0, terminal=False)


def tag(seq: int) -> str:
    """The tag of the event ``seq`` here: no two events have the same."""
    return tag_of(seq) if seq else NO_TAG


def encoded(record: Record) -> Frame:
    (made,) = encode_records(EPOCH, [record])
    return made


def frames(first: int, last: int, size: int = 10) -> list[Frame]:
    return [frame(seq, size) for seq in range(first, last + 1)]


def held(ring: Ring) -> list[Frame]:
    return list(ring.frames(ring.start))


def sliced(ring: Ring, after: int, limit: int = 100) -> tuple[bytes, int, str]:
    """The slice for a client whose position is of this log."""
    found = ring.slice(after, tag(after), limit)
    assert found is not None
    return found


def ring_of(*, tail: int = 0, max_bytes: int = 1 << 20, max_events: int = 1000) -> Ring:
    return Ring(tail, tag(tail), max_bytes=max_bytes, max_events=max_events)


# -- frames


def test_a_record_becomes_a_frame_that_a_client_reads_back() -> None:
    made = encoded(Record(7, "tick", "one\ntwo", Kind.EVENT, NONCE))
    (event,) = Decoder().feed(made.data)
    assert (event.type, event.data, event.last_event_id) == (
        "tick",
        "one\ntwo",
        f"{EPOCH}-7-{tag_of(NONCE)}",
    )
    assert (made.seq, made.terminal) == (7, False)


def test_the_body_is_the_frame_without_its_id() -> None:
    made = encoded(Record(7, "", "text", Kind.EVENT, NONCE))
    assert made.body == b"data: text\n\n"
    assert made.data == f"id: {EPOCH}-7-{tag_of(NONCE)}\n".encode() + made.body


def test_events_of_several_transactions_have_their_own_tags() -> None:
    nonces = [NONCE, NONCE, NONCE + 1, NONCE]
    records = [Record(seq, "", "text", Kind.EVENT, each) for seq, each in enumerate(nonces, 1)]
    made = encode_records(EPOCH, records)
    assert [each.tag for each in made] == [tag_of(nonce) for nonce in nonces]
    ids = [event.last_event_id for each in made for event in Decoder().feed(each.data)]
    assert ids == [f"{EPOCH}-{seq}-{tag_of(each)}" for seq, each in enumerate(nonces, 1)]


def test_a_terminal_record_is_a_terminal_frame() -> None:
    assert encoded(Record(7, "close", "[DONE]", Kind.TERMINAL, NONCE)).terminal


def test_a_redacted_record_is_an_empty_frame() -> None:
    made = encoded(Record(7, "", "", Kind.REDACTED, NONCE))
    assert (made.seq, made.tag, made.data, made.body) == (7, tag_of(NONCE), b"", b"")


# -- joining


def test_frames_are_joined_up_to_the_limit() -> None:
    data, last = join_frames(frames(1, 5), 30)
    assert (data, last) == (b"".join(each.data for each in frames(1, 3)), frame(3))


def test_a_frame_larger_than_the_limit_goes_alone() -> None:
    assert join_frames([frame(1, 50), frame(2)], 30) == (frame(1, 50).data, frame(1, 50))


def test_joining_nothing_gives_nothing() -> None:
    assert join_frames([], 30) == (b"", None)


# -- the ring


def test_what_does_not_follow_the_tail_is_refused() -> None:
    ring = ring_of(tail=5)
    for seq in (4, 5, 7):
        with pytest.raises(ValueError, match=f"frame {seq} does not follow frame 5"):
            ring.append([frame(seq)])
    assert (ring.start, ring.tail) == (5, 5)


def test_the_oldest_frames_go_when_the_bytes_are_too_many() -> None:
    ring = ring_of(max_bytes=35)
    ring.append(frames(1, 5))
    assert held(ring) == frames(3, 5)


def test_the_oldest_frames_go_when_their_count_is_too_high() -> None:
    ring = ring_of(max_events=2)
    ring.append(frames(1, 5))
    assert held(ring) == frames(4, 5)


def test_the_newest_frame_stays_however_large_it_is() -> None:
    ring = ring_of(max_bytes=35)
    ring.append([*frames(1, 3), frame(4, 100)])
    assert held(ring) == [frame(4, 100)]
    ring.append([frame(5)])
    assert held(ring) == [frame(5)]


def test_a_restarted_ring_holds_nothing_and_goes_on_after_the_new_tail() -> None:
    ring = ring_of(max_bytes=35)
    ring.append(frames(1, 3))
    sliced(ring, 0)
    ring.restart(50, tag(50))
    assert (ring.start, ring.tail) == (50, 50)
    ring.append(frames(51, 53))
    assert held(ring) == frames(51, 53)


def test_there_is_no_slice_at_the_tail() -> None:
    ring = ring_of()
    ring.append(frames(1, 3))
    with pytest.raises(ValueError, match="no frame after 3"):
        sliced(ring, 3)


def test_clients_at_one_place_share_one_slice() -> None:
    ring = ring_of()
    ring.append(frames(1, 3))
    assert sliced(ring, 1)[0] is sliced(ring, 1)[0]


def test_a_client_whose_position_is_of_another_log_gets_no_slice() -> None:
    ring = ring_of()
    ring.append(frames(1, 3))
    assert sliced(ring, 1)
    assert ring.slice(1, tag(7), 100) is None


def test_a_slice_that_was_taken_before_an_append_is_not_served_after_it() -> None:
    ring = ring_of()
    ring.append(frames(1, 2))
    assert sliced(ring, 0)[1] == 2
    ring.append(frames(3, 3))
    assert sliced(ring, 0)[1] == 3


def test_a_redacted_frame_moves_the_cursor_and_sends_nothing() -> None:
    ring = ring_of()
    ring.append([frame(1), frame(2, 0), frame(3)])
    assert sliced(ring, 0) == (frame(1).data + frame(3).data, 3, tag(3))
    assert sliced(ring, 1, 5) == (b"", 2, tag(2))


def test_older_frames_are_put_in_front() -> None:
    ring = ring_of(tail=10)
    ring.append(frames(11, 12))
    ring.prepend(tag(4), frames(5, 10))
    assert held(ring) == frames(5, 12)


def test_of_older_frames_the_newest_come_in_as_far_as_there_is_room() -> None:
    ring = ring_of(tail=10, max_bytes=40)
    ring.append(frames(11, 12))
    ring.prepend(tag(4), frames(5, 10))
    assert held(ring) == frames(9, 12)
    ring = ring_of(tail=10, max_events=3)
    ring.append(frames(11, 12))
    ring.prepend(tag(4), frames(5, 10))
    assert held(ring) == frames(10, 12)


def test_older_frames_with_a_hole_come_in_up_to_the_hole() -> None:
    ring = ring_of(tail=10)
    ring.prepend(tag(4), [*frames(5, 7), *frames(9, 10)])
    assert held(ring) == frames(9, 10)


def test_older_frames_that_do_not_reach_the_start_stay_out() -> None:
    ring = ring_of(tail=10)
    ring.prepend(tag(4), frames(5, 9))
    assert held(ring) == []


# -- tags


def test_the_ring_knows_the_tags_of_its_frames_and_of_the_event_before_them() -> None:
    ring = ring_of(tail=10, max_events=4)
    ring.append(frames(11, 12))
    assert [ring.tag(seq) for seq in range(9, 14)] == [None, tag(10), tag(11), tag(12), None]
    ring.append(frames(13, 16))
    assert [ring.tag(seq) for seq in range(11, 17)] == [None, *map(tag, range(12, 17))]
    ring = ring_of(tail=10)
    ring.prepend(tag(7), frames(8, 10))
    assert [ring.tag(seq) for seq in range(6, 11)] == [None, *map(tag, range(7, 11))]


def test_an_event_with_another_tag_is_of_another_log() -> None:
    ring = ring_of(tail=10)
    ring.append(frames(11, 12))
    for seq in (10, 11, 12):
        assert ring.follows(seq, tag(seq))
        assert ring.follows(seq, None)
        assert not ring.follows(seq, tag(100))
    # The ring cannot refuse a position that it does not know.
    assert ring.follows(9, tag(100))
    assert ring.follows(13, tag(100))


def test_older_frames_of_another_log_stay_out() -> None:
    ring = ring_of(tail=10)
    other = [each._replace(tag=tag(100)) for each in frames(5, 10)]
    ring.prepend(tag(4), other)
    assert held(ring) == []


@given(st.lists(sizes, max_size=6), st.integers(1, 200), st.integers(1, 20))
def test_the_bounds_hold_and_nothing_goes_that_they_would_keep(
    batches: list[list[int]], max_bytes: int, max_events: int
) -> None:
    ring = ring_of(max_bytes=max_bytes, max_events=max_events)
    made: list[Frame] = []
    for batch in batches:
        added = [frame(len(made) + n, size) for n, size in enumerate(batch, start=1)]
        ring.append(added)
        made += added
        kept = held(ring)
        assert kept == made[len(made) - len(kept) :]
        assert ring.tail == len(made)

        def fits(some: list[Frame]) -> bool:
            size = sum(len(each.data) for each in some)
            return len(some) <= 1 or (size <= max_bytes and len(some) <= max_events)

        assert fits(kept)
        assert bool(kept) == bool(made)
        assert kept == made or not fits(made[len(made) - len(kept) - 1 :])


@given(sizes, sizes, st.integers(1, 200), st.integers(1, 20))
def test_what_is_put_in_front_leaves_the_bounds_and_the_order_alone(
    old: list[int], new: list[int], max_bytes: int, max_events: int
) -> None:
    before = [frame(seq, size) for seq, size in enumerate(old, start=1)]
    after = [frame(len(old) + n, size) for n, size in enumerate(new, start=1)]
    ring = ring_of(tail=len(old), max_bytes=max_bytes, max_events=max_events)
    ring.append(after)
    there = held(ring)
    ring.prepend(NO_TAG, before)
    kept = held(ring)
    assert kept == (before + after)[len(before) + len(after) - len(kept) :]
    assert kept[len(kept) - len(there) :] == there
    if len(kept) > 1:
        assert sum(len(each.data) for each in kept) <= max_bytes
        assert len(kept) <= max_events


@given(sizes, st.integers(1, 100), st.data())
def test_slices_from_any_cursor_give_every_frame_once(
    given_sizes: list[int], limit: int, data: st.DataObject
) -> None:
    ring = ring_of()
    made = [frame(seq, size) for seq, size in enumerate(given_sizes, start=1)]
    ring.append(made)
    first = cursor = data.draw(st.integers(ring.start, ring.tail))
    received = b""
    while cursor < ring.tail:
        before = cursor
        chunk, cursor, its_tag = sliced(ring, before, limit)
        assert its_tag == tag(cursor)
        assert before < cursor <= ring.tail
        assert len(chunk) <= limit or sum(bool(f.data) for f in made[before:cursor]) == 1
        received += chunk
    assert received == b"".join(each.data for each in made[first:])
