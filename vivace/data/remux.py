"""Rewrites a fragmented file as an ordinary one without touching its pictures or sound."""

from pathlib import Path

import av


def remux(part: Path, finished: Path, ffmpeg_format: str) -> None:
    """Copy every packet of `part` into `finished`, with the index in front so that it plays while loading.

    Raises:
        FFmpegError: If either cannot be read or written.
    """
    with (
        av.open(f"file:{part}", format=ffmpeg_format) as source,
        av.open(
            f"file:{finished}", "w", format=ffmpeg_format, container_options={"movflags": "faststart"}
        ) as output,
    ):
        output.metadata.update(source.metadata)
        written = {}
        for stream in source.streams:
            copy = output.add_stream_from_template(stream, opaque=True)
            copy.metadata.update(stream.metadata)
            if stream.codec_context.codec.canonical_name == "hevc":
                # Apple's players know HEVC by this tag only.
                copy.codec_context.codec_tag = "hvc1"
            written[stream.index] = copy
        for packet in source.demux():
            if packet.dts is not None:
                stream = packet.stream
                if not packet.duration and stream.duration:
                    # Fragments of VP9 carry none. Only the last packet's counts: it lasts to the track's end.
                    packet.duration = (stream.start_time or 0) + stream.duration - (packet.pts or 0)
                packet.stream = written[packet.stream_index]
                output.mux(packet)
