"""The asyncio face."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from live_sessions import FPS, SETTINGS, FaultyPipeline, edited_alone, film, pixels_of
from vivace.core.errors import InputError
from vivace.engine.engine import Engine
from vivace.engine.terms import SessionEndedError, SessionSettings


async def edit(engine: Engine, frames: np.ndarray, settings=SETTINGS) -> np.ndarray:
    async with engine.open(settings) as session:
        for index, frame in enumerate(frames):
            await session.push(frame, index / FPS)
        session.finish()
        return pixels_of([frame async for frame in session.frames()])


def test_two_sessions_in_one_loop_get_their_own_frames(toy_editor):
    async def both() -> list[np.ndarray]:
        with Engine(toy_editor.pipeline, toy_editor.defaults) as engine:
            other = replace(SETTINGS, seed=5, prompt="make it snow")
            edited = await asyncio.gather(edit(engine, film(9)), edit(engine, film(9, seed=2), other))
            assert engine.num_sessions == 0
            return list(edited)

    first, second = asyncio.run(both())
    assert np.array_equal(first, edited_alone(toy_editor, film(9)))
    other = replace(SETTINGS, seed=5, prompt="make it snow")
    assert np.array_equal(second, edited_alone(toy_editor, film(9, seed=2), other))


def test_an_instruction_is_enough_to_open_a_session(toy_editor):
    async def talk() -> None:
        with Engine(toy_editor.pipeline, toy_editor.defaults) as engine:
            async with engine.open(prompt="make it snow") as session:
                assert session.sync.settings == SessionSettings(prompt="make it snow")
            for given in ({}, {"settings": SETTINGS, "prompt": "make it snow"}):
                with pytest.raises(InputError, match="settings or a prompt"):
                    engine.open(**given)

    asyncio.run(talk())


def test_prompts_and_rewinds_are_awaited(toy_editor):
    async def talk() -> None:
        with Engine(toy_editor.pipeline, toy_editor.defaults) as engine:
            async with engine.open(SETTINGS) as session:
                frames = session.frames()
                for index, frame in enumerate(film(5)):
                    await session.push(frame, index / FPS)
                for _ in range(5):
                    await anext(frames)
                change = asyncio.create_task(session.set_prompt("make it snow"))
                later = asyncio.create_task(session.schedule_prompt(99.0, "make it rain"))
                await asyncio.sleep(0)
                session.pause()
                await session.push(film(1)[0], 0.5)
                session.resume()
                while not all(one.is_ready for one in session.sync.upcoming_prompts):
                    await asyncio.sleep(0.001)
                for index, frame in enumerate(film(4)):
                    await session.push(frame, 0.6 + index / FPS)
                assert (await change).frame_index == 5
                assert (await anext(frames)).prompt_words == "make it snow"
                landed = await session.rewind(0.0)
                assert landed.frame_index in (5, 9)
            with pytest.raises(SessionEndedError, match="closed by its user"):
                await later
            with pytest.raises(SessionEndedError):
                await session.push(film(1)[0], 9.0)

    asyncio.run(talk())


def test_entering_with_a_prompt_that_cannot_be_used_raises_and_frees_the_slot(toy_editor):
    async def enter() -> None:
        with Engine(toy_editor.pipeline, toy_editor.defaults) as engine:
            with pytest.raises(InputError):
                async with engine.open(replace(SETTINGS, prompt="")):
                    pass
            assert engine.num_sessions == 0

    asyncio.run(enter())


def test_who_awaits_frames_of_a_session_that_fails_is_told_why(toy_editor):
    def fault(works):
        if works[0][1].chunk.index == 1:
            raise RuntimeError("out of memory")

    async def watch() -> list[int]:
        seen = []
        with Engine(FaultyPipeline(toy_editor.pipeline, fault), toy_editor.defaults) as engine:
            async with engine.open(SETTINGS) as session:
                for index, frame in enumerate(film(5)):
                    await session.push(frame, index / FPS)
                frames = session.frames()
                seen.append((await anext(frames)).frame_index)
                with pytest.raises(SessionEndedError, match="out of memory"):
                    await anext(frames)
        return seen

    assert asyncio.run(watch()) == [0]


def test_leaving_while_frames_are_awaited_ends_the_wait(toy_editor):
    async def leave() -> int:
        with Engine(toy_editor.pipeline, toy_editor.defaults) as engine:
            async with engine.open(SETTINGS) as session:
                await session.push(film(1)[0], 0.0)

                async def watch() -> int:
                    return len([frame async for frame in session.frames()])

                watching = asyncio.create_task(watch())
                while not session.sync.figures().figures.counts.frames_out:
                    await asyncio.sleep(0.001)
            return await watching

    assert asyncio.run(leave()) == 1
