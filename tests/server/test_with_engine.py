"""The server with the real engine and a random model: what the fake one cannot show."""

import asyncio
from collections.abc import Iterator

import pytest
import torch

from served import Served, serving
from toy_model import write_toy_model
from vivace.catalog.editor import open_editor
from vivace.engine.engine import Engine
from vivace.server.settings import Limits, ServerSettings


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    threads = torch.get_num_threads()
    editor = open_editor(write_toy_model(tmp_path_factory.mktemp("toy")), dtype="fp32", num_threads=1)
    settings = ServerSettings(native_fps=30, limits=Limits(max_queued_frames=64))
    with Engine(editor.pipeline, editor.defaults) as engine, serving(engine, settings) as (address, parts):
        yield Served(address, parts, engine)  # pyright: ignore[reportArgumentType]
    torch.set_num_threads(threads)


async def shown(client, num_frames: int) -> list:
    """Hand in frames at the model's rate and take what comes back."""

    client.period_us = 33_333

    async def hand_in() -> None:
        for _ in range(num_frames):
            await client.show(1)
            await asyncio.sleep(1 / 30)

    showing = asyncio.create_task(hand_in())
    frames = await client.see(num_frames // 2)
    await showing
    return frames


def test_frames_come_back_edited_and_a_prompt_changes_the_picture(live: Served):
    async def talk() -> None:
        async with live.client(live.open("make it snow", width_px=64, height_px=48)) as client:
            before = await shown(client, 40)
            await client.say("set_prompt", prompt="turn it into a pencil sketch")
            after = await shown(client, 40)
            reached = (await client.hear("prompt_reached"))["frame"]
            # frames from before the change are still on their way
            while after[-1].prompt_id == 1:
                after += await client.see(1)
            assert before[0].pixels.shape == (48, 64, 3)
            assert {one.prompt_id for one in before} == {1}
            assert next(one.index for one in after if one.prompt_id == 2) == reached
            indices = [one.index for one in before + after]
            assert indices == sorted(set(indices))

    asyncio.run(talk())


def test_a_rewind_goes_back_to_a_frame_that_was_shown(live: Served):
    async def talk() -> None:
        async with live.client(live.open("make it snow", width_px=64, height_px=48)) as client:
            frames = await shown(client, 40)
            await client.say("rewind", seconds=0.3)
            rewound = await client.hear("rewound")
            assert 0 < rewound["frame"] <= frames[-1].index + 21
            assert rewound["seconds"] > 0
            await shown(client, 20)

    asyncio.run(talk())


def test_sessions_that_end_free_their_slots(live: Served):
    for _ in range(8):
        opened = live.open("make it snow")
        key = {"authorization": f"Bearer {opened['key']}"}
        assert live.delete(f"/sessions/{opened['session']}", headers=key).status_code == 204
    assert live.parts.lobby.num_sessions <= 2
