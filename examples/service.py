"""A service of one's own: ``uvicorn service:app``, then ``curl -F scan=@scan.nii.gz 127.0.0.1:8000/predict``.

`liquidlens serve` has budgets for whole requests, passwords and a queue as well; this is where to begin without it.
"""

import shutil
from pathlib import Path
from tempfile import NamedTemporaryFile

from fastapi import FastAPI, HTTPException, UploadFile

from liquidlens import LiquidLensError, Predictor, read_safely

app, predictor = FastAPI(), Predictor("vessel")


@app.post("/predict")
def predict(scan: UploadFile) -> dict:
    with NamedTemporaryFile(suffix="".join(Path(scan.filename or "").suffixes[-2:])) as file:
        shutil.copyfileobj(scan.file, file)
        file.flush()
        try:
            return predictor.predict(read_safely(file.name), name="the upload").to_json()
        except LiquidLensError as error:
            raise HTTPException(422, str(error)) from None
