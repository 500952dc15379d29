import asyncio
import json

import av
import numpy as np

from served import Serve, Served
from vivace.server.settings import Limits, ServerSettings
from vivace.server.take_writer import with_badge


def test_a_recording_plays_and_says_how_it_was_made(served: Served, tmp_path):
    async def talk() -> str:
        async with served.client(served.open("grey 50", width_px=64, height_px=48)) as client:
            await client.say("start_recording")
            assert (await client.hear("recording_changed"))["is_recording"]
            await client.say("start_recording")
            assert (await client.hear("error"))["code"] == "not_possible"
            await client.show(5)
            await client.see(5)
            await client.say("set_prompt", prompt="grey 200")
            for _ in range(2):  # chunk by chunk: a reader with more before it may miss frames
                await client.show(4)
                await client.see(4)
            await client.say("stop_recording")
            return (await client.hear("recording_changed"))["recording"]

    name = asyncio.run(talk())
    answer = served.get(f"/recordings/{name}")
    assert answer.headers["content-type"] == "video/mp4"
    path = tmp_path / "take.mp4"
    path.write_bytes(answer.content)
    with av.open(str(path)) as video:
        facts = json.loads(video.metadata["comment"])
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert facts["model"] == "fake"
    assert "generative" in facts["source"]
    assert facts["instructions"] == [
        {"prompt": "grey 50", "frame": 0},
        {"prompt": "grey 200", "frame": 5},
    ]
    assert len(frames) == 13
    assert frames[0].shape == (48, 64, 3)
    assert abs(frames[0].mean() - 50) < 4
    assert abs(frames[-1].mean() - 200) < 4


def test_nobody_gets_a_file_by_naming_it(served: Served):
    for name in ("x", "..%2fx", "%2e%2e", "vivace.mp4"):
        assert served.get(f"/recordings/{name}").status_code == 404


def test_without_a_folder_nothing_is_recorded(serve: Serve):
    served = serve()

    async def talk() -> None:
        async with served.client(served.open()) as client:
            await client.say("start_recording")
            assert (await client.hear("error"))["code"] == "not_possible"

    asyncio.run(talk())


def test_a_recording_ends_at_its_limit_and_old_ones_go(serve: Serve, tmp_path):
    limits = Limits(recording_s=0.3, num_recordings=2)
    served = serve(ServerSettings(recordings=tmp_path, limits=limits))

    async def talk() -> list[str]:
        names = []
        async with served.client(served.open()) as client:
            for _ in range(3):
                await client.say("start_recording")
                await client.hear("recording_changed")
                await client.show(4)
                names.append((await client.hear("recording_changed"))["recording"])
        return names

    names = asyncio.run(talk())
    assert [served.get(f"/recordings/{name}").status_code for name in names] == [404, 200, 200]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_badge_marks_the_corner_and_nothing_else():
    picture = np.full((96, 160, 3), 128, np.uint8)
    marked = with_badge(picture)
    changed = (marked != picture).any(axis=2)
    assert changed[80:, 100:].any()
    assert not changed[:60].any()
    assert not changed[:, :60].any()
