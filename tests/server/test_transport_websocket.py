import asyncio
import re

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from served import Client, Serve, Served, until
from vivace.server.frame_wire import HEADER
from vivace.server.settings import Limits, ServerSettings


def grey(client_frame) -> int:
    return round(float(client_frame.pixels.mean()))


def test_frames_go_in_and_come_out_edited_with_their_times(served: Served):
    async def talk() -> None:
        async with served.client(served.open("grey 50")) as client:
            assert (await client.hear("welcome"))["may_control"]
            await client.show(5)
            frames = await client.see(5)
            assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
            assert [frame.captured_us for frame in frames] == [62_500 * index for index in range(5)]
            assert [grey(frame) for frame in frames] == pytest.approx([50] * 5, abs=2)
            assert {frame.prompt_id for frame in frames} == {1}

    asyncio.run(talk())


def test_a_prompt_counts_from_a_chunk_border_and_the_client_hears_which_frame(served: Served):
    async def talk() -> None:
        async with served.client(served.open("grey 50")) as client:
            await client.show(5)
            await client.see(5)
            await client.say("set_prompt", prompt="grey 200")
            accepted = await client.hear("prompt_accepted")
            await client.show(4)
            reached = await client.hear("prompt_reached")
            assert reached == {
                "type": "prompt_reached",
                "prompt_id": accepted["prompt_id"],
                "prompt": "grey 200",
                "frame": 5,
            }
            frames = await client.see(4)
            assert [(one.index, one.prompt_id) for one in frames] == [(5 + i, 2) for i in range(4)]
            assert grey(frames[0]) == pytest.approx(200, abs=2)

    asyncio.run(talk())


def test_a_scheduled_prompt_waits_on_the_timeline_and_can_be_cancelled(served: Served):
    async def talk() -> None:
        opened = served.open("grey 50")
        async with served.client(opened) as client:
            await client.say("schedule_prompt", prompt="grey 99", in_s=1.0)
            await client.say("schedule_prompt", prompt="grey 10", in_s=0.5)
            first = await client.hear("prompt_accepted")
            await client.hear("prompt_accepted")
            timeline = served.get(f"/sessions/{opened['session']}").json()["timeline"]
            assert [one["prompt"] for one in timeline] == ["grey 10", "grey 99"]
            await client.say("cancel_prompt", prompt_id=first["prompt_id"])
            assert (await client.hear("prompt_cancelled"))["prompt_id"] == first["prompt_id"]
            await client.show(21)
            frames = await client.see(21)
            assert [grey(one) for one in frames[:5]] == pytest.approx([50] * 5, abs=2)
            assert grey(frames[-1]) == pytest.approx(10, abs=2)
            await client.say("cancel_prompt", prompt_id=99)
            assert (await client.hear("error"))["code"] == "not_possible"

    asyncio.run(talk())


def test_a_prompt_that_cannot_be_used_leaves_the_session_as_it_was(served: Served):
    async def talk() -> None:
        async with served.client(served.open("grey 50")) as client:
            await client.say("set_prompt", prompt="unreadable")
            assert "cannot be read" in (await client.hear("prompt_failed"))["sentence"]
            await client.say("set_prompt", prompt="a" * 301)
            assert (await client.hear("error"))["code"] == "bad_prompt"
            await client.show(1)
            assert grey((await client.see(1))[0]) == pytest.approx(50, abs=2)

    asyncio.run(talk())


def test_pause_rewind_and_controls_are_told_to_everybody(served: Served):
    async def talk() -> None:
        opened = served.open("grey 50")
        async with served.client(opened) as client, served.client(opened, watch=True) as watcher:
            await client.show(9)
            await client.see(9)
            await client.say("rewind", seconds=0.25)
            rewound = await watcher.hear("rewound")
            assert rewound["seconds"] == pytest.approx(0.25)
            assert rewound["frame"] == 5
            await client.show(4)
            assert [one.index for one in await client.see(4)] == [5, 6, 7, 8]
            await client.say("pause")
            assert (await watcher.hear("pause_changed"))["is_paused"]
            await client.say("resume")
            assert not (await watcher.hear("pause_changed"))["is_paused"]
            await client.say("set_controls", steps=2, seed=9)
            anew = {"type": "controls_set", "steps": 2, "seed": 9, "strength": 1.0, "is_anew": True}
            assert await watcher.hear("controls_set") == anew
            await client.show(1)
            assert (await client.see(1))[0].index == 9
            assert served.engine.sessions[-1].settings.num_denoising_steps == 2

    asyncio.run(talk())


def test_steps_and_strength_change_without_a_new_stream(served: Served):
    async def talk() -> None:
        async with served.client(served.open("grey 200", strength=0.5)) as client:
            assert (await client.hear("welcome"))["strength"] == 0.5
            await client.show(5)
            assert grey((await client.see(5))[4]) == pytest.approx(100, abs=2)
            num_opened = served.engine.num_opened
            await client.say("set_controls", steps=3)
            first = {"type": "controls_set", "steps": 3, "seed": 0, "strength": 0.5, "is_anew": False}
            assert await client.hear("controls_set") == first
            await client.say("set_controls", strength=1.0)
            assert await client.hear("controls_set") == {**first, "strength": 1.0}
            await client.show(4)
            frames = await client.see(4)
            assert grey(frames[0]) == pytest.approx(200, abs=2)
            assert [one.index for one in frames] == [5, 6, 7, 8]
            assert served.engine.num_opened == num_opened
            assert served.engine.sessions[-1].controls.num_denoising_steps == 3

    asyncio.run(talk())


def test_frames_name_the_change_they_follow_also_after_another_seed(served: Served):
    async def talk() -> None:
        async with served.client(served.open("grey 50")) as client:
            await client.show(1)
            await client.say("set_prompt", prompt="grey 60")
            first = (await client.hear("prompt_accepted"))["prompt_id"]
            await client.show(4)
            await client.say("set_prompt", prompt="grey 60")
            second = (await client.hear("prompt_accepted"))["prompt_id"]
            await client.show(4)
            assert [one.prompt_id for one in await client.see(9)] == [1] + 4 * [first] + 4 * [second]
            await client.say("set_controls", seed=5)
            await client.hear("controls_set")
            await client.show(1)
            assert (await client.see(1))[0].prompt_id == second

    asyncio.run(talk())


def test_nothing_to_rewind_to_is_one_sentence(served: Served):
    async def talk() -> None:
        async with served.client(served.open()) as client:
            await client.say("rewind", seconds=5)
            assert (await client.hear("error"))["code"] == "not_possible"

    asyncio.run(talk())


def test_who_has_no_key_may_watch_but_not_touch(served: Served):
    async def talk() -> None:
        opened = served.open()
        async with served.client(opened) as owner, served.client(opened, watch=True) as watcher:
            assert not (await watcher.hear("welcome"))["may_control"]
            await watcher.say("set_prompt", prompt="grey 1")
            assert (await watcher.hear("error"))["code"] == "not_allowed"
            await watcher.show(1)
            assert (await watcher.hear("error"))["code"] == "not_allowed"
            await owner.show(1)
            assert (await watcher.see(1))[0].index == 0

    asyncio.run(talk())


def test_two_sessions_do_not_see_each_other(served: Served):
    async def talk() -> None:
        one, two = served.open("grey 20"), served.open("grey 220")
        async with served.client(one) as first, served.client(two) as second:
            await first.show(5)
            await second.show(5)
            assert {grey(frame) // 10 for frame in await first.see(5)} <= {1, 2}
            assert {grey(frame) // 10 for frame in await second.see(5)} <= {21, 22}
        crossed = {**one, "key": two["key"]}
        async with served.client(crossed) as stranger:
            assert (await stranger.hear("error"))["code"] == "not_allowed"

    asyncio.run(talk())


def test_a_client_that_comes_back_finds_its_session(served: Served):
    async def talk() -> None:
        opened = served.open("grey 50")
        async with served.client(opened) as client:
            await client.show(5)
            await client.see(5)
        async with served.client(opened) as client:
            assert (await client.hear("welcome"))["next_frame"] == 5
            await client.show(4)
            assert (await client.see(4))[0].index == 5

    asyncio.run(talk())


def test_the_newest_source_takes_over(served: Served):
    async def talk() -> None:
        opened = served.open()
        async with served.client(opened) as old, served.client(opened) as new:
            await old.show(1)
            await old.see(1)
            await new.show(4)
            assert "took over" in (await old.hear("error"))["sentence"]
            await old.show(8)
            await new.see(5)
            assert len(served.engine.sessions[-1].pushed) == 5

    asyncio.run(talk())


def test_a_session_that_is_not_there_says_so(served: Served):
    async def talk() -> None:
        async with served.client({"session": "nobody", "key": "k"}) as client:
            assert (await client.hear("error"))["code"] == "unknown_session"
            with pytest.raises(ConnectionClosed) as closed:
                await client.see(1)
            assert closed.value.rcvd.code == 4404

    asyncio.run(talk())


@pytest.mark.parametrize("first", ["{}", '{"type":"pause"}', '{"type":"hello","v":9}', "x" * 20_000])
def test_whoever_does_not_begin_with_a_hello_is_cut_off(served: Served, first):
    async def talk() -> None:
        address = f"{served.address.replace('http', 'ws')}/sessions/{served.open()['session']}/socket"
        async with connect(address, proxy=None) as socket:
            await socket.send(first)
            assert '"error"' in await socket.recv()
            with pytest.raises(ConnectionClosed):
                await socket.recv()

    asyncio.run(talk())


def test_damaged_frames_are_refused_and_too_many_end_the_connection_only(served: Served):
    async def talk() -> None:
        opened = served.open()
        async with served.client(opened) as client:
            await client.socket.send(b"\0" * HEADER.size)
            assert (await client.hear("error"))["code"] == "unknown_version"
            await client.show(1)
            await client.see(1)
            for _ in range(20):
                await client.socket.send(b"no frame")
            with pytest.raises(ConnectionClosed):
                await client.see(1)
        assert served.get(f"/sessions/{opened['session']}").status_code == 200

    asyncio.run(talk())


def test_a_frame_larger_than_allowed_is_refused_undecoded(serve: Serve):
    served = serve(ServerSettings(limits=Limits(max_pixels=64 * 48)))

    async def talk() -> None:
        async with served.client(served.open()) as client:
            await client.show(1, size=(64, 49))
            assert (await client.hear("error"))["code"] == "too_large"

    asyncio.run(talk())


def test_a_failing_model_ends_its_own_session_and_says_why(served: Served):
    async def talk() -> None:
        good, bad = served.open("grey 50"), served.open("explode")
        async with served.client(good) as healthy, served.client(bad) as doomed:
            await doomed.show(1)
            assert "no numbers" in (await doomed.hear("ended"))["reason"]
            await healthy.show(5)
            await healthy.see(5)

    asyncio.run(talk())


def test_a_flood_of_messages_is_slowed_down(serve: Serve):
    served = serve(ServerSettings(limits=Limits(max_messages_per_s=5)))

    async def talk() -> None:
        async with served.client(served.open()) as client:
            for nonce in range(30):
                await client.say("ping", nonce=nonce)
            assert (await client.hear("error"))["code"] == "busy"
            assert (await client.hear("pong"))["nonce"] == 0

    asyncio.run(talk())


def test_there_is_a_limit_to_viewers(serve: Serve):
    served = serve(ServerSettings(limits=Limits(num_viewers=1)))

    async def talk() -> None:
        opened = served.open()
        async with served.client(opened) as client:
            await client.hear("welcome")
            async with served.client(opened, watch=True) as second:
                assert (await second.hear("error"))["code"] == "busy"
            async with served.client(opened, watch=True, frames="none") as listener:
                await listener.hear("welcome")

    asyncio.run(talk())


def test_there_is_a_limit_to_connections_that_only_listen(serve: Serve):
    served = serve(ServerSettings(limits=Limits(num_listeners=2)))

    async def talk() -> None:
        opened = served.open("grey 50")
        hub = served.parts.lobby.find(opened["session"])
        async with served.client(opened, frames="none") as first:
            await first.hear("welcome")
            async with served.client(opened, frames="none") as second:
                await second.hear("welcome")
                async with served.client(opened, frames="none") as third:
                    refused = await third.hear("error")
                    assert refused["code"] == "busy"
                    assert "2 connections" in refused["sentence"]
                    with pytest.raises(ConnectionClosed):
                        await third.hear("welcome")
            # one that has left makes room
            await asyncio.to_thread(until, lambda: len(hub.audience._listeners) == 1)
            async with served.client(opened, frames="none") as fourth:
                await fourth.hear("welcome")
            await first.say("ping", nonce=1)
            assert (await first.hear("pong"))["nonce"] == 1

    asyncio.run(talk())


def test_a_viewer_that_reads_nothing_holds_nobody_up(served: Served):
    async def talk() -> None:
        opened = served.open("grey 50", width_px=640, height_px=480)
        address = f"{served.address.replace('http', 'ws')}/sessions/{opened['session']}/socket"
        async with served.client(opened) as client, connect(address, proxy=None, max_queue=1) as sleeper:
            await Client(sleeper).say("hello", v=1)
            await client.show(121)
            # a busy machine may drop frames on the way to this client too; the last one always comes
            while (await client.see(1))[-1].index < 120:
                pass
            sleeper.transport.abort()

    asyncio.run(talk())


def test_clients_that_vanish_in_the_middle_leave_no_viewer_behind(served: Served):
    async def talk() -> None:
        opened = served.open()
        for _ in range(20):
            async with served.client(opened) as client:
                await client.show(2)
                client.socket.transport.abort()
        hub = served.parts.lobby.find(opened["session"])
        await asyncio.to_thread(until, lambda: not hub.audience.has_clients)
        assert hub.audience.num_viewers == 0

    asyncio.run(talk())


def test_statistics_come_by_themselves_and_on_demand(served: Served):
    async def talk() -> None:
        async with served.client(served.open()) as client:
            await client.show(5)
            await client.see(5)
            await client.say("get_stats")
            stats = await client.hear("stats")
            while stats["frames_out"] < 5:
                stats = await client.hear("stats")
            assert stats["frames_in"] == 5
            assert stats["state_bytes"] == 12_345
            assert stats["delay_ms"] >= stats["buffering_ms"] >= 0
            assert stats["delay_p99_ms"] >= stats["held_ms"] >= 0
        counted = dict(re.findall(r"vivace_(\w+)_seconds_count (\S+)", served.get("/metrics").text))
        assert float(counted["held"]) == float(counted["delay"]) >= 5

    asyncio.run(talk())
