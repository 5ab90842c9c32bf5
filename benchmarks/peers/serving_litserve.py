"""LitServe with a model that does nothing: SETTING PORT."""

import json
import sys
from pathlib import Path

import litserve

ANSWER = [0.1, 0.2, 0.3, 0.4, 0.5]


class Nothing(litserve.LitAPI):
    def setup(self, device):
        pass

    def decode_request(self, request):
        return request["inputs"][0]

    def predict(self, asked):
        return ANSWER

    def encode_response(self, output):
        return {"answer": output}


class Batched(Nothing):
    def batch(self, inputs):
        return inputs

    def predict(self, asked):
        return [ANSWER] * len(asked)

    def unbatch(self, output):
        return output


SETTINGS = json.loads((Path(__file__).parent / "serving_settings.json").read_text())["litserve"]

if __name__ == "__main__":
    options = SETTINGS[sys.argv[1]].copy()
    servers = options.pop("num_api_servers", 1)
    batching = {key: options.pop(key) for key in ("max_batch_size", "batch_timeout") if key in options}
    api = (Batched if batching else Nothing)(**batching, api_path="/predict")
    server = litserve.LitServer(api, accelerator="cpu", **options)
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), num_api_servers=servers, log_level="warning",
        generate_client_file=False, access_log=False, loop="uvloop", http="httptools",
    )  # fmt: skip
