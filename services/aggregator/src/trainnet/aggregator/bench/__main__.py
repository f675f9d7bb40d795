"""`kernel` measures the arithmetic alone. The others take the store's settings from the environment: `store` puts what
a merge reads there and prints its MergeWork as JSON, which `fold` and `merge` take on standard input."""

import argparse
import json
import os
import sys

# As the service sets it, before numpy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from google.protobuf import json_format

from trainnet.aggregator import kernels
from trainnet.aggregator.bench.fold import measure
from trainnet.aggregator.bench.kernel import kernel_bytes_per_s
from trainnet.aggregator.bench.policies import rules, strategies
from trainnet.aggregator.bench.stored import AliasedStore, merge_work
from trainnet.aggregator.bench.updates import CODECS
from trainnet.aggregator.bench.whole import measure_merge
from trainnet.aggregator.memory import return_freed_buffers
from trainnet.runtime import log
from trainnet.runtime.settings import StoreSettings
from trainnet.runtime.store import ObjectStore
from trainnet.v1.merge_pb2 import MergeWork


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m trainnet.aggregator.bench", description=__doc__)
    parser.add_argument("what", choices=["kernel", "fold", "store", "merge"])
    parser.add_argument("--updates", type=int, default=4, help="of kernel and store")
    parser.add_argument("--strategy", default="fedavg", choices=strategies(), help="of kernel and store")
    parser.add_argument("--rule", default="mean", choices=rules(), help="of kernel and store")
    parser.add_argument("--codec", default="fp32", choices=list(CODECS), help="of kernel and store")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1.0, help="of kernel")
    parser.add_argument("--slice-bytes", type=int, default=8 << 20, help="of fold and merge")
    parser.add_argument("--params", type=int, default=100_000_000, help="of store")
    parser.add_argument("--most-bytes", type=int, default=20_000_000_000, help="to store at most")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines for people")
    options = parser.parse_args()
    log.configure("aggregator", level="warning")  # to stderr: stdout is for results
    result: dict[str, float]
    if options.what == "kernel":
        rate = kernel_bytes_per_s(
            updates=options.updates,
            threads=options.threads,
            seconds=options.seconds,
            strategy=options.strategy,
            codec=options.codec,
            rule=options.rule,
        )
        facts = {"updates": options.updates, "threads": options.threads, "block": kernels.BLOCK}
        result = {"kernel_bytes_per_s": rate, **facts}
    elif options.what == "store":
        with ObjectStore.from_settings(StoreSettings.load()) as store:
            work = merge_work(
                store,
                params=options.params,
                updates=options.updates,
                strategy=options.strategy,
                rule=options.rule,
                codec=options.codec,
                most_bytes=options.most_bytes,
            )
        print(json_format.MessageToJson(work))
        return 0
    else:
        return_freed_buffers()
        work = json_format.Parse(sys.stdin.read(), MergeWork())
        measured = measure if options.what == "fold" else measure_merge
        with AliasedStore.from_settings(StoreSettings.load()) as store:
            result = measured(store, work, threads=options.threads, slice_bytes=options.slice_bytes)
    if options.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:20} {value / 1e9:.2f} GB/s" if name.endswith("per_s") else f"{name:20} {value:.4g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
