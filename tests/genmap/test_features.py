"""genmap.features: a net that is trained once, the same each time, and kept; what it sees; and refusals."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from genmap import data, features


def forget() -> None:
    features.digits.cache_clear()
    features.glyphs.cache_clear()


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache folder, and short training."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(features, "STEPS", 20)
    forget()
    yield tmp_path / "genmap"
    forget()


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    """The net for glyphs of 16 pixels, trained in full."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        forget()
        yield features.glyphs(16)
    forget()


@pytest.fixture(scope="module")
def glyphs():
    return data.glyphs(16)


def weights(net) -> bytes:
    return b"".join(value.numpy().tobytes() for value in net.state_dict().values())


def test_the_net_for_glyphs_knows_real_ones(judge, glyphs):
    assert judge.accuracy >= 0.98
    seen = judge(glyphs.validation.x)
    assert seen.features.shape == (len(glyphs.validation.x), 64)
    assert seen.probabilities.shape == (len(glyphs.validation.x), 36)
    assert np.allclose(seen.probabilities.sum(1), 1)
    assert (seen.labels == glyphs.validation.y).mean() >= 0.98
    assert np.abs(seen.features.mean(0)).max() < 0.1
    assert np.abs(seen.features.std(0) - 1).max() < 0.1


def test_real_against_real_is_as_good_as_it_gets(judge, glyphs):
    real, other = glyphs.test, glyphs.validation
    figures = judge.compare(other.x, other.y, real.x, real.y)
    assert figures["diversity"] == pytest.approx(1, abs=0.05)
    assert figures["precision"] > 0.9
    assert figures["recall"] > 0.9
    assert figures["frechet"] < 0.3
    assert abs(figures["kid"]) < 0.05


def test_one_style_a_class_is_found_out(judge, glyphs):
    """A generator that draws each character in one style only: precise, neither diverse nor complete."""
    real, pool = glyphs.test, glyphs.train
    one = pool.style == pool.y % 12
    figures = judge.compare(pool.x[one], pool.y[one], real.x, real.y)
    assert figures["class_accuracy"] > 0.95
    assert figures["precision"] > 0.8
    assert figures["diversity"] < 0.4
    assert figures["recall"] < 0.3


def test_noise_is_found_out(judge, glyphs):
    real, other = glyphs.test, glyphs.validation
    noisy = other.x + 0.3 * np.random.default_rng(0).normal(size=other.x.shape)
    clean = judge.compare(other.x, other.y, real.x, real.y)
    figures = judge.compare(noisy, other.y, real.x, real.y)
    assert figures["class_accuracy"] < 0.8
    assert figures["precision"] < 0.5
    assert figures["frechet"] > 10 * clean["frechet"]


def test_the_wrong_character_is_found_out(judge, glyphs):
    real, other = glyphs.test, glyphs.validation
    assert judge.compare(other.x, (other.y + 1) % 36, real.x, real.y)["class_accuracy"] < 0.05


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_images_of_every_precision_and_layout_are_taken(judge, glyphs, dtype):
    x = torch.tensor(glyphs.test.x[:50]).round().to(dtype)
    wide = torch.cat([x, x], dim=-1)[..., :16]
    expected = judge(glyphs.test.x[:50].round()).features
    assert np.array_equal(judge(x.requires_grad_()).features, expected)
    assert np.array_equal(judge(wide).features, expected), "not contiguous"
    assert np.array_equal(judge(x[:, 0]).features, expected)
    assert np.allclose(judge(x[:1]).features, expected[:1], atol=1e-4)
    assert np.array_equal(judge(3 * x.double() - 1).features, expected), "clipped to 0 and 1"


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (np.full((2, 1, 16, 16), np.nan), "2 of 2 images hold values that are not finite"),
        (np.full((2, 16, 16), np.inf), "2 of 2 images"),
        (np.zeros((2, 1, 28, 28)), "images of 28x28, this net knows 16x16"),
        (np.zeros((0, 1, 16, 16)), "no images"),
        (np.zeros((2, 3, 16, 16)), "the shape is"),
        (np.full((1, 16, 16), 255, np.uint8), "whole numbers up to 255"),
        ([["text"]], "an array of real numbers"),
    ],
)
def test_refusals_are_one_line(judge, images, says):
    with pytest.raises(ValueError, match=says) as error:
        judge(images)
    assert "\n" not in str(error.value)


def test_one_class_is_enough_and_one_image_is_not(judge, glyphs):
    real = glyphs.test
    zeros = real.y == 0
    figures = judge.compare(glyphs.train.x[glyphs.train.y == 0], np.zeros(480, int), real.x, real.y)
    assert figures["class_accuracy"] > 0.8
    with pytest.raises(ValueError, match="precision_recall: k is 3 and a set has 1 points"):
        judge.compare(real.x[:1], real.y[:1], real.x[zeros], real.y[zeros])


def test_the_net_is_trained_once_and_the_same_each_time(cache):
    first = features.digits()
    (path,) = cache.iterdir()
    kept = path.read_bytes()
    assert features.digits() is first
    forget()
    stamp = path.stat().st_mtime_ns
    again = features.digits()
    assert path.stat().st_mtime_ns == stamp, "read, not trained"
    assert weights(again.net) == weights(first.net)
    assert again.accuracy == first.accuracy
    path.unlink()
    forget()
    assert weights(features.digits().net) == weights(first.net)
    assert [each.name for each in cache.iterdir()] == [path.name]
    assert len(path.read_bytes()) == len(kept)


def test_neither_the_callers_settings_count_nor_are_they_changed(cache):
    expected = weights(features.digits().net)
    (path,) = cache.iterdir()
    path.unlink()
    forget()
    torch.manual_seed(5)
    numbers, threads = torch.rand(3), torch.get_num_threads()
    torch.manual_seed(5)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            judge = features.digits()
            seen = judge(data.digits().test.x)
    finally:
        torch.set_default_dtype(torch.float32)
    assert weights(judge.net) == expected
    assert np.array_equal(seen.features, judge(data.digits().test.x).features)
    assert torch.equal(torch.rand(3), numbers)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("name", ["STEPS", "RATE", "WIDTH", "CHANNELS"])
def test_another_recipe_is_another_net(cache, monkeypatch, name):
    features.digits()
    monkeypatch.setattr(features, name, {"STEPS": 10, "RATE": 1e-3, "WIDTH": 32, "CHANNELS": 8}[name])
    forget()
    features.digits()
    assert len(list(cache.iterdir())) == 2


def test_other_data_are_another_net(cache, monkeypatch):
    features.digits()
    splits = data.digits()
    splits.train.x[0, 0, 3, 3] += 1 / 16
    monkeypatch.setattr(data, "digits", lambda: splits)
    forget()
    features.digits()
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:5_000] + bytes(100) + whole[5_100:],
        lambda whole: b"<html>not found</html>",
    ],
    ids=["empty", "cut off", "flipped", "something else"],
)
def test_a_damaged_file_is_replaced(cache, damage):
    expected = weights(features.digits().net)
    (path,) = cache.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    forget()
    assert weights(features.digits().net) == expected
    forget()
    stamp = path.stat().st_mtime_ns
    features.digits()
    assert path.stat().st_mtime_ns == stamp, "the file is whole again"


def test_another_nets_weights_are_not_taken(cache):
    expected = weights(features.digits().net)
    (path,) = cache.iterdir()
    np.savez(path, **{"body.0.weight": np.zeros((16, 1, 3, 3), np.float32)})
    forget()
    assert weights(features.digits().net) == expected


def test_without_a_cache_it_works_and_says_so(tmp_path, monkeypatch, cache):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="not kept, and trained again next time") as said:
        judge = features.digits()
    assert len(said) == 1
    assert judge(data.digits().test.x[:3]).features.shape == (3, 64)


def test_a_full_disk_leaves_nothing_behind(cache, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.warns(UserWarning, match="No space left"):
        features.digits()
    assert list(cache.iterdir()) == []


SCRIPT = """
from genmap import features
features.STEPS = {steps}
print("ready", flush=True)
judge = features.digits()
print(hash(tuple(judge.net.state_dict()["heads.0.bias"].tolist())), judge.accuracy)
"""


def start(cache: Path, steps: int) -> subprocess.Popen:
    env = {**os.environ, "XDG_CACHE_HOME": str(cache.parent), "PYTHONHASHSEED": "0"}
    code = SCRIPT.format(steps=steps)
    return subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True)


def test_two_processes_at_once_end_with_one_whole_file(cache):
    both = [start(cache, 50) for _ in range(2)]
    said = {process.communicate(timeout=1200)[0] for process in both}
    assert len(said) == 1
    assert all(process.returncode == 0 for process in both)
    assert len(list(cache.iterdir())) == 1


def test_killed_while_training_it_starts_again(cache):
    process = start(cache, 100_000)
    assert process.stdout.readline() == "ready\n"
    time.sleep(2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not cache.exists() or not list(cache.glob("*.npz"))
    assert features.digits().accuracy > 0
