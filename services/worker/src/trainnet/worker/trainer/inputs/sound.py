"""Sound to log-mel features, as Whisper takes them (Radford et al. 2022, arXiv:2212.04356, section 2.2)."""

from __future__ import annotations

import io
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainnet.worker.errors import TaskError

_ZEROS = 6
"""Zero crossings of the low-pass filter to each side."""
_ROLLOFF = 0.99
_HALF_STEP = 200.0 / 3.0
"""Hertz of a mel below 1 kHz on Slaney's scale; above, 27 mels are a factor of 6.4."""


def decode_sound(data: bytes | None, rate: int, max_seconds: float, row: int) -> Tensor:
    """(samples,) float32 at `rate`, channels mixed. Raises TaskError naming the row."""
    import soundfile  # only speech needs it

    try:
        with soundfile.SoundFile(io.BytesIO(data or b"")) as file:
            seconds = file.frames / file.samplerate
            if seconds > max_seconds:
                raise TaskError(
                    "TASK",
                    f"the sound in row {row} has {seconds:.1f} s, the model takes {max_seconds:g} s: "
                    "raise max_seconds, or cut the recording",
                )
            samples = file.read(dtype="float32", always_2d=True).mean(axis=1)
            found = file.samplerate
    except (soundfile.SoundFileError, OSError, ValueError) as error:
        raise TaskError("TASK", f"the sound in row {row} cannot be decoded ({error}): mend or remove it") from error
    return resample(torch.from_numpy(samples), found, rate)


def resample(samples: Tensor, before: int, after: int) -> Tensor:
    """Band-limited interpolation by a windowed sinc (https://ccrma.stanford.edu/~jos/resample/)."""
    if before == after:
        return samples
    divisor = math.gcd(before, after)
    before, after = before // divisor, after // divisor
    cutoff = min(before, after) * _ROLLOFF
    width = math.ceil(_ZEROS * before / cutoff)
    # Row p of the filter makes the p-th of the `after` samples that stand for `before` old ones.
    phases = -torch.arange(after, dtype=torch.float64).unsqueeze(1) / after
    taps = torch.arange(-width, width + before, dtype=torch.float64) / before
    times = ((phases + taps) * cutoff).clamp(-_ZEROS, _ZEROS)
    filters = torch.special.sinc(times) * torch.cos(times * math.pi / _ZEROS / 2) ** 2 * (cutoff / before)
    padded = nn.functional.pad(samples, (width, width + before)).view(1, 1, -1)
    found = nn.functional.conv1d(padded, filters.float().unsqueeze(1), stride=before)
    return found[0].T.reshape(-1)[: math.ceil(after * len(samples) / before)]


def log_mel(samples: Tensor, filters: Tensor, n_fft: int, hop: int) -> Tensor:
    """(mels, samples / hop): the logarithm of the power in each band, the loudest 80 dB of it."""
    spectrum = torch.stft(samples, n_fft, hop, window=torch.hann_window(n_fft), return_complex=True)
    power = (filters @ (spectrum[:, :-1].abs() ** 2).contiguous()).clamp(min=1e-10).log10()
    return (power.maximum(power.max() - 8.0) + 4.0) / 4.0


def mel_filters(mels: int, n_fft: int, rate: int) -> Tensor:
    """(mels, n_fft / 2 + 1): triangles of equal area from 0 to 8 kHz, evenly spaced on Slaney's mel scale."""
    edges = _hertz(np.linspace(0.0, _mel(8000.0), mels + 2))
    frequencies = np.linspace(0.0, rate // 2, 1 + n_fft // 2)
    slopes = edges[:, np.newaxis] - frequencies
    widths = np.diff(edges)[:, np.newaxis]
    triangles = np.maximum(0.0, np.minimum(-slopes[:-2] / widths[:-1], slopes[2:] / widths[1:]))
    return torch.from_numpy(triangles * (2.0 / (edges[2:] - edges[:-2]))[:, np.newaxis]).float()


def _mel(hertz: float) -> float:
    return hertz / _HALF_STEP if hertz < 1000.0 else 15.0 + 27.0 * math.log(hertz / 1000.0) / math.log(6.4)


def _hertz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mels < 15.0, mels * _HALF_STEP, 1000.0 * np.exp(math.log(6.4) / 27.0 * (mels - 15.0)))
