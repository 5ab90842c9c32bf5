"""FastAPI under uvicorn with a model that does nothing: SETTING PORT."""

import json
import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

ANSWER = [0.1, 0.2, 0.3, 0.4, 0.5]


class Asked(BaseModel):
    inputs: list[list[int]]


app = FastAPI(openapi_url=None)


@app.post("/model")
async def model(asked: Asked) -> dict[str, list[float]]:
    return {"answer": ANSWER}


@app.post("/model_sync")
def model_sync(asked: Asked) -> dict[str, list[float]]:
    return {"answer": ANSWER}


@app.post("/raw")
async def raw(request: Request) -> Response:
    """No validation, no model of the answer: as near to Starlette as FastAPI goes."""
    json.loads(await request.body())
    return Response(json.dumps({"answer": ANSWER}), media_type="application/json")


SETTINGS = json.loads((Path(__file__).parent / "serving_settings.json").read_text())["fastapi"]

if __name__ == "__main__":
    options = {key: value for key, value in SETTINGS[sys.argv[1]].items() if key != "path"}
    chosen = {"loop": "uvloop", "http": "httptools", "log_level": "warning", "access_log": False} | options
    uvicorn.run("serving_fastapi:app", host="127.0.0.1", port=int(sys.argv[2]), **chosen)
