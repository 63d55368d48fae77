# The API and all consumers in one image; docker-compose.yml says which is which.
#
#   docker build -t stt-backend .                       with speaker labels' packages (torch: large)
#   docker build -t stt-backend --build-arg EXTRAS= .   without them
ARG BASE=python:3.11-slim

# --- whisper-cli, for any 64-bit processor of this kind (on x86: with AVX2), not only this one
FROM ${BASE} AS whisper
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc g++ make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY requirements.txt ./
RUN pip install --no-cache-dir --constraint requirements.txt cmake
COPY scripts/build_whisper.py scripts/
RUN python scripts/build_whisper.py --portable --out whisper-cli

# --- Python packages, at the versions of requirements.txt
FROM ${BASE} AS packages
RUN pip install --no-cache-dir uv==0.13.8
WORKDIR /build
COPY pyproject.toml requirements.txt ./
# One of pyproject.toml's optional dependencies, or empty.
ARG EXTRAS=diarization
ENV VIRTUAL_ENV=/opt/venv UV_COMPILE_BYTECODE=1 UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never
RUN uv venv "$VIRTUAL_ENV" \
    && uv pip install -r pyproject.toml ${EXTRAS:+--extra "$EXTRAS"} -c requirements.txt

# --- what runs
FROM ${BASE}
# libgomp is whisper-cli's; ffmpeg comes with the Python packages (imageio-ffmpeg).
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 1000 stt \
    && useradd --uid 1000 --gid stt --create-home stt \
    # A link, so that a volume on /models that an older image filled gets this image's demo model.
    && install -d -o stt -g stt /data /models \
    && ln -s /app/models/demo /models/demo
COPY --from=packages /opt/venv /opt/venv
COPY --from=whisper /build/whisper-cli /usr/local/bin/whisper-cli
WORKDIR /app
COPY models/demo models/demo
COPY main.py ./
COPY cmd cmd
COPY core core
COPY repositories repositories
COPY services services
COPY internal internal
COPY worker worker

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DATA_DIR=/data \
    MODELS_DIR=/models \
    # Pipelines that were fetched from Hugging Face stay, on the volume.
    HF_HOME=/models/huggingface
USER stt
VOLUME ["/data", "/models"]
EXPOSE 8000
# For the API; consumers have none of their own (docker-compose.yml gives them one).
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ.get('API_PORT') or 8000}/health/live\", timeout=4)"]
ENTRYPOINT ["python", "main.py"]
CMD ["start", "--host", "0.0.0.0"]
