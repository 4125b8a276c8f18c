FROM python:3.11-slim

RUN useradd --system --uid 10001 --home-dir /data --create-home resop
WORKDIR /app
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1 HOST=0.0.0.0 PORT=3000 DATA_DIR=/data

# The dependencies first, in a layer that changes only with them; a file with another digest than the
# listed ones is refused.
COPY deploy/requirements.txt ./
RUN pip install --require-hashes --requirement requirements.txt && rm requirements.txt

# The only copy of the source is in /app, which no process of the service may change.
COPY . .
RUN pip install --no-deps --no-build-isolation --editable .

USER resop
VOLUME /data
EXPOSE 3000
ENTRYPOINT ["resop"]
