import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vivace.catalog.model_folder import BUNDLED
from vivace.core.errors import InputError, WeightsError
from vivace.models.prompt_encoder import PromptEncoder
from vivace.models.streaming_dit import StreamingDit
from vivace.recipes.instructed_editor import InstructedEditor
from vivace.recipes.mean_weights import Arguments, main, mean_weights
from vivace.recipes.tiny_edit import tiny_edit_spec


def editor(seed: int, dim: int = 32) -> InstructedEditor:
    torch.manual_seed(seed)
    prompts = PromptEncoder.load(BUNDLED / "prompt_encoder").float()
    made = InstructedEditor(
        StreamingDit(replace(tiny_edit_spec(48, prompts.spec.dim), dim=dim, num_heads=2)), prompts
    )
    with torch.no_grad():
        for weights in made.parameters():
            weights.add_(0.01 * torch.randn_like(weights))
    return made


def test_the_average_lies_between_and_loads_as_a_stage(tmp_path: Path):
    pair = editor(1), editor(2)
    for made, name in zip(pair, "ab"):
        made.export(made.state_dict(), tmp_path / name)
    main(Arguments(first=tmp_path / "a", second=tmp_path / "b", out=tmp_path / "c", share=0.75))
    a, b, mean = (InstructedEditor.load(tmp_path / name).state_dict() for name in "abc")
    assert mean.keys() == a.keys()
    for name, value in mean.items():
        wanted = 0.25 * a[name] + 0.75 * b[name]
        # stored in bf16 (the DiT), fp16 (the prompt encoder) or fp32 (the head)
        assert torch.allclose(value, wanted, atol=1e-6, rtol=2**-8), name
    assert not torch.equal(mean["family_head.weight"], a["family_head.weight"])


def test_the_ends_are_the_editors():
    first, second = editor(1), editor(2)
    for share, whole in ((0.0, first), (1.0, second)):
        mean = mean_weights(first, second, share)
        assert all(torch.equal(mean[name], value) for name, value in whole.state_dict().items())


def test_what_cannot_be_averaged_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"got a share of 1\.5"):
        mean_weights(editor(1), editor(1), 1.5)
    with pytest.raises(WeightsError, match="differ in architecture"):
        mean_weights(editor(1), editor(1, dim=64), 0.5)
    command = [
        sys.executable,
        "-m",
        "vivace.recipes.mean_weights",
        "--first",
        str(tmp_path / "no"),
        "--second",
    ]
    done = subprocess.run([*command, "no", "--out", str(tmp_path / "c")], capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "c").exists()
