FROM python:3.11-slim

RUN useradd --system --uid 10001 --home-dir /data --create-home resop
WORKDIR /app
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1 HOST=0.0.0.0 PORT=3000 DATA_DIR=/data

# The dependencies first, in a layer that changes only with them.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; \
print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
        > /tmp/dependencies \
    && pip install --constraint constraints.txt setuptools --requirement /tmp/dependencies \
    && rm /tmp/dependencies

# The source stands once, in /app, where nothing that runs may write.
COPY . .
RUN pip install --no-deps --no-build-isolation --editable .

USER resop
VOLUME /data
EXPOSE 3000
ENTRYPOINT ["resop"]
