"""Which way of sharing a GPU bears the most live sessions: one row for each variant, in one process.

    python benchmarks/live_variants.py --seconds 6 all/1/32 all/8/8/0 off/1/4 --out rows.jsonl

A variant is GRAPHS/BATCH/SESSIONS[/STAGGER[/SWITCH_MS]]: what is replayed from CUDA graphs, how many sessions
may share a model call, how many there are, the seconds over which they start, and Python's switch interval.
"""

import argparse
import gc
import json
import sys
import time
from pathlib import Path

from vivace.bench.live_speed import LiveSpeedSettings, measure_live
from vivace.bench.live_sweep import sweep_table
from vivace.catalog.editor import Editor, open_editor
from vivace.engine.warm_up import warm_up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("variants", nargs="+", metavar="VARIANT")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    editors: dict[str, Editor] = {}
    for variant in chosen.variants:
        words = variant.split("/")
        graphs, batch, sessions, stagger, switch_ms = words + ["0.25", "5"][len(words) - 3 :]
        if graphs not in editors:
            editors[graphs] = open_editor(device=chosen.device, num_threads=1, graphs=graphs)
            began_s = time.perf_counter()
            warm_up(editors[graphs].pipeline, editors[graphs].defaults)
            print(f"warm-up of {graphs}: {time.perf_counter() - began_s:.2f} s", flush=True)
            gc.collect()
            gc.freeze()
        sys.setswitchinterval(float(switch_ms) / 1000)
        settings = LiveSpeedSettings(
            num_sessions=int(sessions),
            duration_s=chosen.seconds,
            stagger_s=float(stagger),
            max_batch=int(batch),
        )
        speed = measure_live(editors[graphs], settings)
        print(variant, sweep_table([speed]).splitlines()[-1], flush=True)
        if chosen.out is not None:
            with chosen.out.open("a") as out:
                out.write(json.dumps({"variant": variant, **speed.to_json()}) + "\n")


if __name__ == "__main__":
    main()
