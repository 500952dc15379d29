import asyncio

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from fake_engine import FakeEngine
from served import Serve, Served, until
from vivace.server.app import create_app
from vivace.server.settings import IceServer, Limits, ServerSettings

TOKEN = "a-long-enough-token"


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def test_the_page_and_all_it_loads_are_served_with_their_types(served: Served):
    page = served.get("/")
    assert 'script type="module" src="static/app.js"' in page.text
    types = {"app.js": "javascript", "link.js": "javascript", "style.css": "css", "icon.svg": "svg"}
    for name, kind in types.items():
        answer = served.get(f"/static/{name}")
        assert answer.status_code == 200
        assert kind in answer.headers["content-type"]
    assert "view.js" in served.get(f"/view/{'x' * 24}").text


def test_pages_may_load_nothing_from_elsewhere(served: Served):
    policy = served.get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert served.get("/docs").status_code == 404


def test_a_path_out_of_the_page_folder_is_not_served(served: Served):
    for way in ("..", "%2e%2e", "..%2f"):
        assert served.get(f"/static/{way}/app.py").status_code == 404


def test_health_readiness_and_metrics_say_what_is_there(serve: Serve):
    engine = FakeEngine()
    served = serve(ServerSettings(limits=Limits(num_sessions=1)), engine)
    assert served.get("/healthz").json() == {"status": "ok"}
    assert served.get("/readyz").json()["ready"]
    served.open()
    assert served.get("/readyz").status_code == 503
    assert "vivace_sessions 1.0" in served.get("/metrics").text
    assert "vivace_denoising_steps 0.0" in served.get("/metrics").text
    engine.is_open = False
    assert served.get("/healthz").status_code == 200


def test_the_api_describes_itself(served: Served):
    paths = served.get("/openapi.json").json()["paths"]
    for path in ("/sessions", "/whip/{session}", "/whep/{session}", "/metrics", "/readyz"):
        assert path in paths


def test_a_session_is_opened_described_and_ended(served: Served):
    opened = served.open("grey 5", width_px=70, height_px=50, seed=3)
    assert (opened["width_px"], opened["height_px"], opened["fps"]) == (64, 48, 16.0)
    described = served.get(f"/sessions/{opened['session']}").json()
    assert described["prompt"] == "grey 5"
    assert described["seed"] == 3
    assert "key" not in described
    assert served.delete(f"/sessions/{opened['session']}", headers=bearer("wrong")).status_code == 401
    assert served.delete(f"/sessions/{opened['session']}", headers=bearer(opened["key"])).status_code == 204
    assert served.get(f"/sessions/{opened['session']}").status_code == 404


def test_a_prompt_that_cannot_be_read_is_one_sentence_and_no_session(served: Served):
    before = len(served.engine.sessions)
    answer = served.post("/sessions", json={"prompt": "unreadable"})
    assert answer.status_code == 422
    assert answer.json()["sentence"] == "the instruction cannot be read"
    assert len(served.engine.sessions) == before


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"prompt": 5}', b'{"prompt": "a", "steps": 99}', b'{"prompt": "a", "file": "x"}'],
)
def test_a_body_that_does_not_fit_is_one_sentence(served: Served, body):
    answer = served.post("/sessions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["sentence"]


def test_a_long_body_is_refused_with_and_without_a_stated_length(served: Served):
    body = b'{"prompt": "' + b"a" * 100_000 + b'"}'
    headers = {"content-type": "application/json"}
    assert served.post("/sessions", content=body, headers=headers).status_code == 413
    pieces = served.post("/sessions", content=iter([body[:50_000], body[50_000:]]), headers=headers)
    assert pieces.status_code in (400, 413)


def test_a_long_prompt_is_refused(served: Served):
    answer = served.post("/sessions", json={"prompt": "a" * 301})
    assert answer.status_code == 422
    assert "300" in answer.json()["sentence"]


def test_no_more_sessions_are_opened_than_allowed_and_ended_ones_make_room(serve: Serve):
    served = serve(ServerSettings(limits=Limits(num_sessions=2)))
    first = served.open()
    served.open()
    refused = served.post("/sessions", json={"prompt": "a"})
    assert refused.status_code == 503
    assert refused.headers["retry-after"]
    served.delete(f"/sessions/{first['session']}", headers=bearer(first["key"]))
    served.open()


def test_a_full_engine_is_a_busy_server(serve: Serve):
    served = serve(engine=FakeEngine(num_slots=0))
    assert served.post("/sessions", json={"prompt": "a"}).status_code == 503


def test_without_the_token_nothing_is_opened(serve: Serve):
    served = serve(ServerSettings(token=TOKEN))
    for headers in ({}, bearer("wrong"), {"authorization": TOKEN}):
        assert served.post("/sessions", json={"prompt": "a"}, headers=headers).status_code == 401
        assert served.get("/metrics", headers=headers).status_code == 401
    assert served.post("/sessions", json={"prompt": "a"}, headers=bearer(TOKEN)).status_code == 201
    assert served.get("/").status_code == 200
    assert served.get("/healthz").status_code == 200


def test_an_address_that_others_reach_needs_a_token():
    with pytest.raises(Exception, match="no token"):
        ServerSettings(host="0.0.0.0")
    with pytest.raises(Exception, match="8 characters"):
        ServerSettings(host="0.0.0.0", token="short")
    assert ServerSettings(host="::1").token is None


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_pages_from_elsewhere_may_not_use_the_server(served: Served, origin):
    assert served.post("/sessions", json={"prompt": "a"}, headers={"origin": origin}).status_code == 403


def test_its_own_page_and_allowed_ones_may_use_the_server(serve: Serve):
    served = serve(ServerSettings(origins=("https://good.example",)))
    for origin in (served.address, "https://good.example"):
        assert served.post("/sessions", json={"prompt": "a"}, headers={"origin": origin}).status_code == 201


def test_a_name_that_was_pointed_at_loopback_by_somebody_else_is_refused(served: Served):
    assert served.get("/", headers={"host": "rebound.example"}).status_code == 403


def test_a_websocket_from_another_page_is_refused(served: Served):
    async def talk() -> None:
        address = f"{served.address.replace('http', 'ws')}/sessions/{served.open()['session']}/socket"
        with pytest.raises(InvalidStatus):
            async with connect(address, proxy=None, origin="https://evil.example"):
                pass

    asyncio.run(talk())


def test_ice_servers_reach_the_page(serve: Serve):
    turn = IceServer(url="turn:127.0.0.1:3478", username="u", credential="c")
    opened = serve(ServerSettings(ice_servers=(turn,))).open()
    assert opened["ice_servers"] == [{"urls": "turn:127.0.0.1:3478", "username": "u", "credential": "c"}]


def test_sessions_without_clients_are_ended_after_a_while(serve: Serve):
    served = serve(ServerSettings(limits=Limits(abandoned_s=0.2)))
    served.open()
    assert len(served.engine.sessions) == 1
    until(lambda: not served.engine.sessions)
    assert 'vivace_sessions_ended_total{reason="abandoned"} 1.0' in served.get("/metrics").text


def test_the_end_of_the_server_ends_every_session():
    async def live() -> None:
        engine = FakeEngine()
        app = create_app(engine, ServerSettings(), fit=lambda width, height: (width, height))  # pyright: ignore
        async with app.router.lifespan_context(app):
            parts = app.state.parts
            from vivace.server.bodies import OpenSession

            hub = await parts.lobby.open(OpenSession(prompt="a"))
            assert engine.sessions
        assert not engine.sessions
        assert hub.is_over

    asyncio.run(live())


def test_a_thousand_sessions_leave_nothing_behind():
    async def live() -> None:
        engine = FakeEngine()
        app = create_app(engine, ServerSettings(), fit=lambda width, height: (width, height))  # pyright: ignore
        async with app.router.lifespan_context(app):
            from vivace.server.bodies import OpenSession

            lobby = app.state.parts.lobby
            before = len(asyncio.all_tasks())
            for _ in range(1000):
                await lobby.end(await lobby.open(OpenSession(prompt="a")), "closed")
            assert engine.num_opened == 1000
            assert not engine.sessions
            assert lobby.num_sessions == 0
            assert len(asyncio.all_tasks()) == before

    asyncio.run(live())
