"""The device and the settings: what is chosen where, and one clear line for a wrong choice."""

import subprocess
import sys

import pytest
import torch

import genmap
from genmap.device import number_format


@pytest.fixture(autouse=True)
def no_setting(monkeypatch):
    monkeypatch.delenv("GENMAP_SETTING", raising=False)


def have(monkeypatch, *, cuda, mps):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "device", "setting"),
    [
        (True, True, "cuda", "full"),
        (True, False, "cuda", "full"),
        (False, True, "mps", "quick"),
        (False, False, "cpu", "quick"),
    ],
)
def test_the_fastest_device_and_its_setting(monkeypatch, cuda, mps, device, setting):
    have(monkeypatch, cuda=cuda, mps=mps)
    assert genmap.device() == torch.device(device)
    assert genmap.setting() == setting


@pytest.mark.parametrize("name", ["smoke", "quick", "full"])
@pytest.mark.parametrize("cuda", [True, False])
def test_the_environment_decides_over_the_device(monkeypatch, name, cuda):
    have(monkeypatch, cuda=cuda, mps=False)
    monkeypatch.setenv("GENMAP_SETTING", name)
    assert genmap.setting() == name


@pytest.mark.parametrize(
    ("kind", "has_bf16", "short"),
    [
        ("cuda", True, torch.bfloat16),
        ("cuda", False, torch.float16),
        ("mps", False, None),
        ("cpu", True, None),
    ],
)
def test_the_number_format_is_the_chips(monkeypatch, kind, has_bf16, short):
    asked = {}
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **how: asked.update(how) or has_bf16)
    device = torch.device(kind)
    assert number_format(device) is short
    assert not asked.get("including_emulation", False), "an emulated format is slower than float16"
    have(monkeypatch, cuda=kind == "cuda", mps=False)  # torch looks before it enables a scaler
    assert genmap.grad_scaler(device).is_enabled() == (short is torch.float16)


def test_on_a_cpu_a_step_with_autocast_and_scaler_is_the_plain_step():
    x, nets = torch.randn(6, 3), [torch.nn.Linear(3, 1) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    plain, scaled = (torch.optim.SGD(net.parameters(), lr=0.1) for net in nets)
    nets[0](x).square().mean().backward()
    plain.step()
    device = torch.device("cpu")
    scaler = genmap.grad_scaler(device)
    with genmap.autocast(device):
        loss = nets[1](x).square().mean()
    assert loss.dtype == torch.float32
    scaler.scale(loss).backward()
    scaler.step(scaled)
    scaler.update()
    assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True))


def test_an_empty_variable_is_an_unset_one(monkeypatch):
    have(monkeypatch, cuda=False, mps=False)
    monkeypatch.setenv("GENMAP_SETTING", "")
    assert genmap.setting() == "quick"


@pytest.mark.parametrize("name", ["qiuck", "Quick", " quick", "1"])
def test_a_misspelt_setting_names_the_right_ones_in_one_line(monkeypatch, name):
    monkeypatch.setenv("GENMAP_SETTING", name)
    with pytest.raises(ValueError, match="smoke, quick, full") as caught:
        genmap.setting()
    assert repr(name) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number, name", [(0, "smoke"), (1, "quick"), (2, "full")])
def test_settings_are_those_of_the_active_name(monkeypatch, capsys, number, name):
    monkeypatch.setenv("GENMAP_SETTING", name)
    active = genmap.settings(steps=(2, 500, 9_000), counts=((1, 2), (1, 2, 3), ()))
    assert vars(active) == {"steps": (2, 500, 9_000)[number], "counts": ((1, 2), (1, 2, 3), ())[number]}
    said = capsys.readouterr().out
    assert said.count("\n") == (name == "smoke"), "one line where numbers and text do not match"
    assert ("Numbers and text do not match" in said) == (name == "smoke")


@pytest.mark.parametrize("values", [(1, 2), (1, 2, 3, 4), [1, 2, 3], 5, "abc", None])
def test_settings_demand_three_values_of_every_name(monkeypatch, values):
    monkeypatch.setenv("GENMAP_SETTING", "quick")
    with pytest.raises(ValueError, match=r"'width' is .*give it three values, smoke, quick, full"):
        genmap.settings(steps=(1, 2, 3), width=values)


def test_a_notebook_begun_earlier_gives_its_settings_as_three_mappings(monkeypatch):
    monkeypatch.setenv("GENMAP_SETTING", "quick")
    sets = {name: {"steps": n, "width": 8} for n, name in enumerate(("smoke", "quick", "full"))}
    assert vars(genmap.settings(**sets)) == {"steps": 1, "width": 8}
    del sets["full"]["width"]
    with pytest.raises(ValueError, match="'full' lacks width"):
        genmap.settings(**sets)


def test_importing_genmap_imports_nothing_slow():
    slow = ("torch", "sklearn", "IPython", "matplotlib.pyplot", "tqdm", "scipy", "autograde")
    code = (
        "import sys; from genmap import data, plot, progress, selfcheck; import genmap; "
        f"print([name for name in {slow} if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
