"""LitServe with the artifact's own model file: SETTING (JSON) PORT."""

import json
import sys

import litserve
import orjson
import serving_model
from starlette.responses import Response

asked = json.loads(sys.argv[1])


class Embed(litserve.LitAPI):
    def setup(self, device):
        self.encoder = serving_model.opened()

    def decode_request(self, request):
        return request["text"]

    def predict(self, text):
        return self.encoder([text])[0]

    def encode_response(self, output):
        if asked.get("orjson"):
            return Response(orjson.dumps({"answer": output}, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")
        return {"answer": output.tolist()}


class Batched(Embed):
    def batch(self, inputs):
        return inputs

    def predict(self, texts):
        return self.encoder(texts)

    def unbatch(self, output):
        return list(output)


if __name__ == "__main__":
    batching = {"max_batch_size": asked["batch"], "batch_timeout": asked["delay_s"]} if asked["batch"] > 1 else {}
    api = (Batched if batching else Embed)(**batching, api_path="/predict")
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=asked["workers"], fast_queue=asked.get("fast_queue", False),
        timeout=asked.get("timeout_s", 30),
    )  # fmt: skip
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), num_api_servers=1, log_level="warning",
        generate_client_file=False, access_log=False, loop="uvloop", http="httptools",
    )  # fmt: skip
