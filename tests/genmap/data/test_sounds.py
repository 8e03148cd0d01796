"""Plucks and melodies: what they sound like is what their labels say."""

import numpy as np
import pytest

from genmap import data


def fundamental(sound):
    """Hertz: the shortest lag at which a sound is like itself, by autocorrelation and a parabola's top."""
    sound = sound.astype(float) - sound.mean()
    spectrum = np.abs(np.fft.rfft(sound, 2 * len(sound))) ** 2
    likeness = np.fft.irfft(spectrum)[:90] / (len(sound) - np.arange(90))
    tops = [k for k in range(8, 89) if likeness[k - 1] < likeness[k] >= likeness[k + 1]]
    lag = next(k for k in tops if likeness[k] > 0.9 * max(likeness[top] for top in tops))
    a, b, c = likeness[lag - 1 : lag + 2]
    return 8000 / (lag + (a - c) / (2 * (a - 2 * b + c)))


def test_pitch_is_the_label_within_a_hundredth():
    part = data.plucks().train
    off = [fundamental(x[400:]) / f - 1 for x, f in zip(part.x, data.frequency(part.pitch), strict=True)]
    assert np.abs(off).max() < 0.01
    assert np.median(np.abs(off)) < 0.003


def test_frequencies():
    assert data.frequency(69) == 440
    assert data.frequency(60) == pytest.approx(261.6256, abs=1e-4)
    assert np.allclose(data.frequency([57, 81]), [220, 880])


def test_notes_are_of_all_pitches_evenly_and_fade():
    splits = data.plucks()
    assert [part.x.shape for part in splits] == [(1000, 4000), (100, 4000), (100, 4000)]
    for part, each in zip(splits, (40, 4, 4), strict=True):
        assert np.bincount(part.pitch)[48:].tolist() == [each] * 25
        assert np.allclose(np.abs(part.x).max(1), 0.9, atol=1e-5)
        early, late = ((part.x[:, i : i + 800].astype(float) ** 2).mean(1) for i in (0, 3200))
        assert (late < 0.7 * early).all() and (late > 0).all()
        assert np.abs(part.x.mean(1)).max() < 0.05
    assert data.plucks(100, each=1).train.x.shape == (25, 100)


def test_melodies_sound_as_their_steps_say():
    part = data.melodies(n=60).train
    assert part.x.shape == (60, 16_000) and part.pitch.shape == (60, 16)
    assert np.abs(part.x).max() <= 0.9
    assert (part.pitch[:, 0] > 0).all()
    assert set(part.pitch.ravel() % 12) - {0} <= {2, 4, 7, 9}
    assert set(part.pitch[part.pitch > 0]) <= set(range(48, 73))
    off = [
        fundamental(x[1000 * step + 100 : 1000 * step + 960]) / data.frequency(p) - 1
        for x, tune in zip(part.x, part.pitch, strict=True)
        for step, p in enumerate(tune)
        if p
    ]
    assert len(off) > 400
    assert (np.abs(off) < 0.02).mean() > 0.99  # on 860 samples the measurement is rougher
    steps = [np.diff(tune[tune > 0]) for tune in part.pitch]
    assert np.abs(np.concatenate(steps)).mean() < 8
    assert 0.4 < (part.pitch > 0).mean() < 0.8
