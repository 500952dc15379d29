"""A model is pulled from a hub in its official layout: whole or not at all, and never twice."""

import errno
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

pytest.importorskip("huggingface_hub")

from huggingface_hub import constants, file_download

from fake_hub import FakeHub, fake_hub
from tiny_ltx2 import tiny_vae
from tiny_sana import DIT_FILE, VAE_FOLDER, as_pth, official_dit, sana_repositories, tiny_dit, tiny_entry
from vivace.catalog import pull as pull_module
from vivace.catalog.entries import TINY_EDIT
from vivace.catalog.pull import PullOutcome, PullPlan, pull
from vivace.catalog.pulled import read_record
from vivace.core.errors import InputError, WeightsError
from vivace.models.adapters import ltx2_vae
from vivace.models.adapters.checkpoint import UnknownTensorWarning

SANA, GEMMA = "Efficient-Large-Model/SANA-Streaming", "Efficient-Large-Model/gemma-2-2b-it"
VAE_FILE = f"{VAE_FOLDER}/diffusion_pytorch_model.safetensors"


class Watch:
    """Counts bytes; `stop_at` of them are as far as it gets."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.plan: PullPlan | None = None
        self.num_bytes = 0
        self.stages: list[str] = []
        self.stop_at = stop_at

    def begins(self, plan: PullPlan) -> None:
        self.plan = plan

    def advances(self, num_bytes: int) -> None:
        self.num_bytes += num_bytes
        if self.stop_at is not None and self.num_bytes >= self.stop_at:
            raise KeyboardInterrupt

    def works_on(self, stage: str) -> None:
        self.stages.append(stage)


@pytest.fixture
def hub(gemma_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    # retries wait a second each, and bodies come in pieces of 10 MB
    monkeypatch.setattr(file_download.time, "sleep", lambda _: None)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 50_000)
    with fake_hub() as hub:
        hub.repositories = sana_repositories(gemma_folder)
        yield hub


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def go(hub: FakeHub, home: Path, watch: Watch | None = None) -> PullOutcome:
    return pull(tiny_entry(), home, watch or Watch(), endpoint=hub.endpoint)


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_pull_writes_our_tensors_and_says_where_they_came_from(hub, home):
    watch = Watch()
    outcome = go(hub, home, watch)
    assert outcome.folder == home / "models" / "sana-streaming"
    assert not outcome.was_there
    stored = load_file(outcome.folder / "dit" / "dit-00001-of-00001.safetensors")
    wanted = tiny_dit().state_dict()
    assert stored.keys() == wanted.keys()
    assert all(torch.equal(stored[name], wanted[name]) for name in wanted)
    vae = load_file(outcome.folder / "video_vae" / "ltx2_vae-00001-of-00001.safetensors")
    assert all(torch.equal(vae[name], tensor) for name, tensor in tiny_vae(3).state_dict().items())
    text = outcome.folder / "prompt_encoder"
    assert (text / "config.json").read_bytes() == hub.repositories[GEMMA].files["config.json"]
    assert not (text / "README.md").exists()
    assert {source.path for source in outcome.record.sources} >= {DIT_FILE, VAE_FILE, "tokenizer.json"}
    assert any("apache-2.0" in line for line in outcome.record.licences)
    assert any("gemma" in line for line in outcome.record.licences)
    assert watch.plan is not None
    assert watch.num_bytes == watch.plan.num_bytes == watch.plan.num_missing_bytes
    assert len(watch.stages) == 3


def test_official_files_that_were_converted_do_not_take_room_twice(hub, home):
    go(hub, home)
    weights = home / "models" / "sana-streaming" / "prompt_encoder" / "model.safetensors"
    shared = [path for path in (home / "downloads").iterdir() if path.samefile(weights)]
    assert len(shared) == 1
    assert not [path for path in (home / "downloads").iterdir() if path.stat().st_size > 100_000]


def test_a_second_pull_says_that_it_is_there_without_a_network(hub, home):
    first = go(hub, home)
    second = pull(tiny_entry(), home, Watch(), endpoint="http://127.0.0.1:9")
    assert second.was_there
    assert second.record == first.record


def test_a_model_that_was_damaged_on_disk_is_pulled_again(hub, home):
    folder = go(hub, home).folder
    weights = folder / "dit" / "dit-00001-of-00001.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    assert read_record(folder) is None
    hub.served.clear()
    assert not go(hub, home).was_there
    assert weights.read_bytes() == whole
    # the text encoder was still there
    assert hub.bytes_served("model.safetensors") == 0


def test_an_interrupted_pull_goes_on_where_it_was(hub, home):
    size = len(hub.repositories[SANA].files[DIT_FILE])
    with pytest.raises(KeyboardInterrupt):
        go(hub, home, Watch(stop_at=200_000))
    assert not (home / "models" / "sana-streaming").exists()
    (part,) = (home / "downloads").glob("*.part")
    kept = part.stat().st_size
    assert 150_000 <= kept < size
    hub.served.clear()
    watch = Watch()
    go(hub, home, watch)
    assert [(start, num) for name, start, num in hub.served if name == DIT_FILE] == [(kept, size - kept)]
    assert watch.plan is not None
    assert watch.num_bytes == watch.plan.num_bytes
    assert watch.plan.num_missing_bytes == watch.plan.num_bytes - kept


def test_a_broken_connection_is_taken_up_again_by_itself(hub, home):
    hub.broken_after = {DIT_FILE: 300_000}
    go(hub, home)
    assert [start for name, start, _ in hub.served if name == DIT_FILE] == [0, 300_000]


def test_a_server_that_cannot_resume_sends_everything_and_nothing_is_doubled(hub, home):
    with pytest.raises(KeyboardInterrupt):
        go(hub, home, Watch(stop_at=200_000))
    hub.ignores_ranges = True
    watch = Watch()
    go(hub, home, watch)
    assert watch.plan is not None
    assert watch.num_bytes == watch.plan.num_bytes


def test_a_file_that_arrives_damaged_is_thrown_away(hub, home):
    content = bytearray(hub.repositories[SANA].files[DIT_FILE])
    content[-100] ^= 255
    hub.replaced = {DIT_FILE: bytes(content)}
    with pytest.raises(InputError, match=r"sana_streaming_ar\.pth .*arrived damaged.*pull again"):
        go(hub, home)
    assert not list((home / "downloads").glob("*.part"))
    hub.replaced = {}
    go(hub, home)


def test_a_file_that_is_cut_off_is_kept_for_the_next_time(hub, home):
    content = hub.repositories[SANA].files[DIT_FILE]
    hub.replaced = {DIT_FILE: content[:100_000]}
    with pytest.raises(InputError, match=r"could not be fetched whole.*what was fetched is kept"):
        go(hub, home)
    hub.replaced = {}
    hub.served.clear()
    go(hub, home)
    assert (DIT_FILE, 100_000, len(content) - 100_000) in hub.served


def test_a_gated_repository_is_told_before_anything_is_fetched(hub, home):
    hub.repositories[GEMMA].is_gated = True
    with pytest.raises(InputError, match=rf"{GEMMA} is gated: accept its licence at .*hf auth login"):
        go(hub, home)
    assert hub.served == []
    hub.repositories[GEMMA].is_gated = False
    go(hub, home)


def test_what_is_not_there_is_named(hub, home):
    gemma = hub.repositories.pop(GEMMA)
    with pytest.raises(InputError, match=rf"no repository {GEMMA} at http.*or it is private"):
        go(hub, home)
    hub.repositories[GEMMA] = gemma
    vae = hub.repositories[SANA].files.pop(VAE_FILE)
    with pytest.raises(InputError, match=rf"{SANA} has no file {VAE_FOLDER}/\*\.safetensors"):
        go(hub, home)
    hub.repositories[SANA].files[VAE_FILE] = vae
    hub.statuses = {DIT_FILE: 503}
    with pytest.raises(InputError, match=r"answered 503 .*pull again later"):
        go(hub, home)
    assert hub.served == []


def test_no_network_is_one_sentence(home):
    with pytest.raises(InputError, match=r"cannot reach http://127\.0\.0\.1:9 .*check the network") as caught:
        pull(tiny_entry(), home, Watch(), endpoint="http://127.0.0.1:9")
    assert "\n" not in str(caught.value)


def test_a_disk_without_room_is_told_before_anything_is_fetched(hub, home, monkeypatch):
    usage = shutil.disk_usage(home.parent)
    monkeypatch.setattr(pull_module.shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    with pytest.raises(InputError, match=r"needs 0\.2 GB of free disk space .*has 0\.0 GB.*VIVACE_HOME"):
        go(hub, home)
    assert hub.served == []


def test_a_disk_that_fills_up_leaves_no_half_model(hub, home, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "dit-00001-of-00001.safetensors")

    with monkeypatch.context() as patch:
        patch.setattr("vivace.catalog.convert.write_shards", full)
        with pytest.raises(InputError, match=r"the disk became full while writing dit-.*pull again"):
            go(hub, home)
    assert list((home / "models").iterdir()) == []
    hub.served.clear()
    go(hub, home)
    # nothing that had arrived was lost
    assert hub.served == []


def test_an_interrupted_conversion_leaves_no_half_model(hub, home, monkeypatch):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pull_module, "convert_ltx2_vae", stop)
        with pytest.raises(KeyboardInterrupt):
            go(hub, home)
    assert list((home / "models").iterdir()) == []
    go(hub, home)


def test_a_folder_that_cannot_be_written_is_named(hub, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="set VIVACE_HOME to a folder that you may write to"):
        go(hub, tmp_path / "file")


def test_only_one_process_pulls_at_a_time(hub, home):
    from filelock import FileLock

    home.mkdir()
    with FileLock(home / "pull.lock"), pytest.raises(InputError, match="another process is pulling"):
        go(hub, home)


@pytest.mark.parametrize("wrapped", ["generator", "state_dict", "both", "plain"])
def test_checkpoints_are_unwrapped_and_prefixes_stripped(hub, home, wrapped):
    tensors = {f"model.{name}": tensor for name, tensor in official_dit().items()}
    content: object = {
        "generator": {"generator": tensors, "critic": {"x": torch.zeros(1)}},
        "state_dict": {"state_dict": tensors},
        "both": {"generator": {"state_dict": tensors}},
        "plain": tensors,
    }[wrapped]
    hub.repositories[SANA].files[DIT_FILE] = as_pth(content)
    folder = go(hub, home).folder
    stored = load_file(folder / "dit" / "dit-00001-of-00001.safetensors")
    assert torch.equal(stored["final.weight"], tiny_dit().final.weight)


def test_the_precision_of_the_checkpoint_is_kept(hub, home):
    tensors = {name: tensor.bfloat16() for name, tensor in official_dit().items()}
    hub.repositories[SANA].files[DIT_FILE] = as_pth(tensors)
    stored = load_file(go(hub, home).folder / "dit" / "dit-00001-of-00001.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}


def test_checkpoints_that_do_not_fit_are_refused_and_leave_nothing(hub, home):
    files = hub.repositories[SANA].files
    whole = official_dit()
    missing = {name: tensor for name, tensor in whole.items() if not name.startswith("blocks.1.mlp")}
    shorter = {**whole, "t_block.1.bias": torch.zeros(5)}
    names = {**whole, "t_block.1.bias": torch.zeros(288, dtype=torch.long)}
    cases = [
        (as_pth(missing), r"lacks blocks\.1\.feed_forward.* tensors are missing"),
        (as_pth(shorter), r"shared_modulation\.bias has shape \[5\], expected \[288\]"),
        (as_pth(names), r"holds torch\.int64"),
        (as_pth({"state_dict": whole})[:200_000], "is damaged or no PyTorch checkpoint"),
        (b"<html>please log in</html>", "is damaged or no PyTorch checkpoint"),
        (as_pth({"config": Path("x"), **whole}), "more than tensors"),
        (as_pth([1, 2]), "holds no named tensors"),
    ]
    for content, sentence in cases:
        files[DIT_FILE] = content
        with pytest.raises(WeightsError, match=sentence) as caught:
            go(hub, home)
        assert "\n" not in str(caught.value)
        assert list((home / "models").iterdir()) == []


def test_unknown_tensors_warn_and_are_left_out(hub, home):
    hub.repositories[SANA].files[DIT_FILE] = as_pth({**official_dit(), "lora.weight": torch.zeros(2)})
    with pytest.warns(UnknownTensorWarning, match=r"lora\.weight"):
        go(hub, home)


def test_a_vae_may_come_in_several_files_or_as_a_checkpoint(hub, home, tmp_path):
    files = hub.repositories[SANA].files
    tensors = {n: t.contiguous() for n, t in ltx2_vae.to_official(tiny_vae(3).state_dict()).items()}
    names = sorted(tensors)
    del files[VAE_FILE]
    files[f"{VAE_FOLDER}/a.safetensors"] = save({name: tensors[name] for name in names[::2]})
    files[f"{VAE_FOLDER}/b.safetensors"] = save({name: tensors[name] for name in names[1::2]})
    # the same weights once more in a second format are not fetched
    files[f"{VAE_FOLDER}/vae.pth"] = as_pth(tensors)
    go(hub, home)
    assert hub.bytes_served(f"{VAE_FOLDER}/vae.pth") == 0
    del files[f"{VAE_FOLDER}/a.safetensors"], files[f"{VAE_FOLDER}/b.safetensors"]
    folder = go(hub, tmp_path / "other").folder
    stored = load_file(folder / "video_vae" / "ltx2_vae-00001-of-00001.safetensors")
    assert torch.equal(stored["latent_mean"], tiny_vae(3).latent_mean)


def test_names_from_the_hub_cannot_leave_the_store(hub, home, monkeypatch):
    monkeypatch.setattr("fake_hub._git_sha1", lambda _: "../../escaped")
    with pytest.raises(InputError, match=r"does not say how .* can be checked"):
        go(hub, home)
    assert not files_in(home) - {"pull.lock"}


def test_a_bundled_model_needs_no_pull(home):
    with pytest.raises(InputError, match="nothing to pull"):
        pull(TINY_EDIT, home, Watch())


def test_the_record_can_be_read_by_people(hub, home):
    folder = go(hub, home).folder
    record = json.loads((folder / "pulled.json").read_text())
    assert record["name"] == "sana-streaming"
    assert all(len(source["digest"]) in (40, 64) for source in record["sources"])
