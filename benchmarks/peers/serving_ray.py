"""Ray Serve with a model that does nothing, through its Python proxy: SETTING PORT."""

import json
import signal
import sys
import threading
from pathlib import Path

import ray
from ray import serve

ANSWER = [0.1, 0.2, 0.3, 0.4, 0.5]
SETTINGS = json.loads((Path(__file__).parent / "serving_settings.json").read_text())["ray"]  # who starts this sets their "env"


class Nothing:
    async def __call__(self, request):
        await request.json()
        return {"answer": ANSWER}


if __name__ == "__main__":
    options = {key: value for key, value in SETTINGS[sys.argv[1]].items() if key != "env"}
    stop = threading.Event()
    ray.init(num_cpus=2, include_dashboard=False, configure_logging=False, log_to_driver=False)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})
    serve.run(serve.deployment(Nothing, num_replicas=1, **options).bind(), route_prefix="/")
    stop.wait()
    serve.shutdown()
    ray.shutdown()
