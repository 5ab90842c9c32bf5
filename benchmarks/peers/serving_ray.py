"""Ray Serve with a model that does nothing, through its Python proxy: SETTING PORT."""

import signal
import sys
import threading

import ray
from ray import serve

ANSWER = [0.1, 0.2, 0.3, 0.4, 0.5]
SETTINGS = {  # the environment's variables are set by who starts this
    "as it comes": {},
    "more at once": {"max_ongoing_requests": 1000},
    "throughput optimized": {"max_ongoing_requests": 1000, "env": {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}},
    "one loop, no access log": {
        "max_ongoing_requests": 1000,
        "logging_config": {"enable_access_log": False},
        "env": {"RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0", "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0"},
    },
}


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
