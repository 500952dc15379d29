"""Brings decoded sound into the one form that sessions know: 48 kHz stereo."""

import av

from vivace.server.sound import NUM_CHANNELS, RATE_HZ, Samples


class ToStereo:
    """Brings sound of any rate and layout to 48 kHz stereo, with the time of each piece."""

    def __init__(self) -> None:
        self._resampler = av.AudioResampler("s16", "stereo", RATE_HZ)
        self._form: tuple[str, str, int] | None = None

    def __call__(self, frame: av.AudioFrame) -> list[tuple[Samples, float]]:
        """The pieces that a frame gives."""
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form != self._form:
            # a resampler is made for one form; publishers may switch
            self._form = form
            self._resampler = av.AudioResampler("s16", "stereo", RATE_HZ)
        fitted = self._resampler.resample(frame)
        return [(one.to_ndarray().reshape(-1, NUM_CHANNELS), one.time or 0.0) for one in fitted]
