"""Sounds of plucked strings at 8 kHz: single notes, and melodies."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from genmap.data.fetched import RATE
from genmap.data.splits import Splits, streams, whole

LOWEST = 48  # MIDI number: C3, 131 Hz
HIGHEST = 72  # C5, 523 Hz
SCALE = (0, 2, 4, 7, 9)  # of melodies: the major pentatonic, in semitones above C
HELD_OUT_EACH = 4  # notes of each pitch in validation, and as many in test
STEP_SAMPLES = RATE // 8  # of a melody's step
STEPS = 16  # of a melody
HELD_OUT_MELODIES = 50  # in validation, and as many in test
_STRIDES = (0.05, 0.15, 0.3, 0.3, 0.15, 0.05)  # how often -3, -2, -1, 1, 2 and 3 notes of the scale
GAIN = 0.995  # the part of its amplitude that a string keeps each period; the low pass takes more
FADE_SAMPLES = 40  # in which a note ends when the next begins


class Notes(NamedTuple):
    """Sounds with their pitch.

    x: float32 (N, T), 8,000 samples a second, from -1 to 1.
    pitch: int64 in MIDI numbers, 69 being 440 Hz: (N,) for notes; (N, 16) for melodies, for each step the
        note that begins there, or 0 where none does.
    """

    x: npt.NDArray[np.float32]
    pitch: npt.NDArray[np.int64]


def frequency(pitch: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the frequency of MIDI numbers in hertz: 440 * 2 ** ((pitch - 69) / 12).

    >>> frequency([57, 69]).tolist()
    [220.0, 440.0]
    """
    return 440.0 * 2.0 ** ((np.asarray(pitch, np.float64) - 69) / 12)


def plucks(samples: int = 4000, seed: int = 0, each: int = 40) -> Splits[Notes]:
    """Return notes of a plucked string, C3 to C5; by default 1,000 in train, 100 in the other parts.

    The string is plucked at another place, softly or hard, every time.

    samples: the length of each, 100 to 80,000 samples.
    seed: of the training notes.
    each: training notes of each of the 25 pitches; the other parts have 4.

    Raises ValueError for values other than these.

    >>> plucks(100, each=1).train.x.shape
    (25, 100)

    Source: K. Karplus and A. Strong, Digital Synthesis of Plucked-String and Drum Timbres, 1983; tuned
    after D. Jaffe and J. Smith, Extensions of the Karplus-Strong Plucked-String Algorithm, 1983.
    """
    samples, each = whole("samples", samples, 100, 10 * RATE), whole("each", each, 1)
    counts = (each, HELD_OUT_EACH, HELD_OUT_EACH)
    return Splits(*(_notes(rng, samples, n) for rng, n in zip(streams("plucks", seed), counts, strict=True)))


def melodies(n: int = 400, seed: int = 0) -> Splits[Notes]:
    """Return melodies of two seconds on one plucked string; n of them in train, 50 in the other parts.

    Each has 16 steps of an eighth of a second. A note begins on the first, and later on every other step or
    so; it rings until the next. The notes are of C major pentatonic, C3 to C5, mostly a step or two apart.

    n: training melodies.
    seed: of the training melodies.

    Raises ValueError where n is below 1 or seed no whole number.
    """
    counts = (whole("n", n, 1), HELD_OUT_MELODIES, HELD_OUT_MELODIES)
    return Splits(*(_melodies(rng, m) for rng, m in zip(streams("melodies", seed), counts, strict=True)))


def _notes(rng: np.random.RandomState, samples: int, each: int) -> Notes:
    pitch = rng.permutation(np.repeat(np.arange(LOWEST, HIGHEST + 1), each))
    x = np.stack([pluck(rng, p, samples) for p in pitch])
    return Notes(x.astype(np.float32), pitch.astype(np.int64))


def pluck(rng: np.random.RandomState, pitch: int, samples: int) -> npt.NDArray[np.float64]:
    """Return one note: a bent string's shape and noise, round and round through two filters.

    The string is bent at a random place; noise alone lacks the fundamental now and then. The loop delays by
    a whole number of samples, its low pass (1 + 1/z) / 2 by half a sample more, its all pass
    (c + 1/z) / (1 + c/z) by the fraction that is missing to the period. High notes fade sooner.

    rng: draws the place, and how rough the pluck is.
    pitch: its MIDI number.
    samples: its length.
    """
    from scipy.signal import lfilter

    period = RATE / float(frequency(pitch))
    delay = int(period - 0.5 - 0.1)  # the all pass delays by 0.1 to 1.1 samples, where it is steady
    c = _all_pass(period - 0.5 - delay, 2 * np.pi / period)
    loop = np.zeros(delay + 3)
    loop[:2] = 1, c
    loop[delay:] -= GAIN * np.convolve([0.5, 0.5], [c, 1])
    around = np.arange(delay + 1) / period
    place = rng.uniform(0.1, 0.5)
    rough = rng.uniform(0.1, 0.8)
    burst = np.minimum(around / place, (1 - around) / (1 - place)) + rough * rng.uniform(-1, 1, delay + 1)
    x = lfilter([1, c], loop, np.append(burst - burst.mean(), np.zeros(samples - delay - 1)))
    return np.asarray(0.9 * x / np.abs(x).max())


def _all_pass(delay: float, omega: float) -> float:
    """Return c of the all pass that delays the frequency omega (radians a sample) by `delay` samples."""
    return float(np.sin((1 - delay) * omega / 2) / np.sin((1 + delay) * omega / 2))


def _melodies(rng: np.random.RandomState, n: int) -> Notes:
    pitch = np.stack([_tune(rng) for _ in range(n)])
    x = np.stack([_play(rng, tune) for tune in pitch])
    return Notes(x.astype(np.float32), pitch)


def _tune(rng: np.random.RandomState) -> npt.NDArray[np.int64]:
    """Return the 16 steps of a melody: a random walk over the scale that turns back at its ends."""
    notes = [p for p in range(LOWEST, HIGHEST + 1) if (p - LOWEST) % 12 in SCALE]
    walk = rng.randint(len(notes)) + np.cumsum(rng.choice([-3, -2, -1, 1, 2, 3], STEPS, p=_STRIDES))
    turned = np.abs((walk + len(notes) - 1) % (2 * len(notes) - 2) - len(notes) + 1)
    begins = rng.random_sample(STEPS) < 0.6
    begins[0] = True
    return np.where(begins, np.array(notes)[turned], 0).astype(np.int64)


def _play(rng: np.random.RandomState, tune: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the sound of a melody's steps."""
    x = np.zeros(STEPS * STEP_SAMPLES)
    begins = np.append(np.flatnonzero(tune), STEPS) * STEP_SAMPLES
    for start, end in pairwise(begins):
        note = rng.uniform(0.5, 1) * pluck(rng, int(tune[start // STEP_SAMPLES]), end - start)
        note[-FADE_SAMPLES:] *= np.linspace(1, 0, FADE_SAMPLES)
        x[start:end] = note
    return x
